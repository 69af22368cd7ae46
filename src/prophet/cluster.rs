//! The cluster as checkers and schedulers see it: what is decided about stores, what was heard of them and of the shards,
//! and the rules. A value to look at; nothing in it changes while a question is answered.

use std::collections::{BTreeMap, BTreeSet};

use super::{ClusterView, ProphetConfig};
use crate::{
    types::{Instant, Peer, PeerRole, ReplicaId, Shard, ShardId, StoreId},
    wire::{ShardBeat, StoreInfo, StoreState},
};

/// Heartbeats that a store may miss before it is no place for a new replica.
pub(super) const BEATS_MISSED: u32 = 3;

/// A smaller replica's snapshot is no burden: it does not count for `max-snapshot-count`.
const SMALL_BYTES: u64 = 1 << 20;

/// All that a decision rests on.
#[derive(Clone, Copy)]
pub struct Cluster<'a> {
    /// The rules.
    pub config: &'a ProphetConfig,
    /// Stores as it is decided about them.
    pub stores: &'a BTreeMap<StoreId, StoreInfo>,
    /// What was heard.
    pub view: &'a ClusterView,
    /// The present.
    pub now: Instant,
}

impl Cluster<'_> {
    /// What is decided about a store.
    pub fn state(&self, store: StoreId) -> StoreState {
        self.stores.get(&store).map_or(StoreState::Removed, |store| store.state)
    }

    /// Whether the store was heard of lately.
    pub fn is_alive(&self, store: StoreId) -> bool {
        self.view.is_alive(store, self.now, self.config.store_beat * BEATS_MISSED)
    }

    /// Stores that are used and alive.
    pub fn usable(&self) -> impl Iterator<Item = StoreId> {
        self.stores.keys().copied().filter(|store| self.state(*store) == StoreState::Up && self.is_alive(*store))
    }

    /// Why the shard's replica `peer` cannot stay, if it cannot.
    pub fn trouble(&self, beat: &ShardBeat, peer: &Peer) -> Option<String> {
        let (replica, store) = (peer.replica, peer.store);
        match self.state(store) {
            StoreState::Down => Some(format!("{store} is down")),
            StoreState::Removed => Some(format!("{store} is removed")),
            StoreState::Draining => Some(format!("{store} is drained")),
            StoreState::Up if self.view.is_quarantined(beat.route.shard.id, peer) => {
                Some(format!("{replica} on {store} is quarantined"))
            }
            StoreState::Up => beat
                .silence(replica)
                .filter(|silent| *silent >= self.config.max_peer_down_time)
                .map(|silent| format!("{replica} on {store} has been silent for {silent:.1?}")),
        }
    }

    /// How full the disk of a store is, from 0 to 1; 0 where nobody knows.
    fn fullness(&self, store: StoreId) -> f64 {
        let Some(info) = self.view.stores.get(&store).map(|heard| &heard.info) else { return 0.0 };
        if info.capacity == 0 {
            return 0.0;
        }
        1.0 - info.available.min(info.capacity) as f64 / info.capacity as f64
    }

    /// How much a store carries: half by the number of its replicas, half by their size, in replicas of average size.
    /// What is on its way to it counts already, what is on its way from it no more.
    pub fn score(&self, store: StoreId) -> f64 {
        let load = self.view.load(store);
        let count = load.replicas as f64;
        let (coming, going) = (self.view.operators.coming(store) as f64, self.view.operators.going(store) as f64);
        (count + load.bytes as f64 / self.average_bytes()) / 2.0 + coming - going
    }

    /// What one replica of this size adds to a score.
    pub fn weight(&self, bytes: u64) -> f64 {
        (1.0 + bytes as f64 / self.average_bytes()) / 2.0
    }

    fn average_bytes(&self) -> f64 {
        let loads: Vec<_> = self.stores.keys().map(|store| self.view.load(*store)).collect();
        let replicas: u64 = loads.iter().map(|load| load.replicas).sum();
        let bytes: u64 = loads.iter().map(|load| load.bytes).sum();
        (bytes as f64 / replicas.max(1) as f64).max(1.0)
    }

    /// By how many location labels, the first one counting most, `store` is apart from the nearest of `others`.
    pub fn isolation(&self, store: StoreId, others: impl Iterator<Item = StoreId>) -> usize {
        let labels = &self.config.location_labels;
        let value = |store: StoreId, name: &str| {
            let labels = self.stores.get(&store).map(|info| &info.labels[..]).unwrap_or_default();
            labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
        };
        let apart = |other| {
            let same = labels.iter().take_while(|name| value(store, name) == value(other, name)).count();
            labels.len() - same
        };
        others.map(apart).min().unwrap_or(labels.len())
    }

    /// The best store for a new replica of `shard`, once `leaving` has gone; else why there is none.
    pub fn place(&self, shard: &Shard, leaving: Option<ReplicaId>) -> Result<StoreId, String> {
        let stay = || shard.peers.iter().filter(|peer| Some(peer.replica) != leaving).map(|peer| peer.store);
        let mut why = BTreeSet::new();
        let fit = self.stores.keys().copied().filter(|store| match self.unfit(shard, *store) {
            Some(reason) => {
                why.insert(reason);
                false
            }
            None => true,
        });
        let fit: Vec<_> = fit.collect();
        let is_roomy = |store: &StoreId| self.fullness(*store) <= self.config.high_space_ratio;
        let rank = |store: &StoreId| (self.isolation(*store, stay()), is_roomy(store));
        let best = fit.into_iter().max_by(|a, b| {
            let lighter = self.score(*b).total_cmp(&self.score(*a));
            rank(a).cmp(&rank(b)).then(lighter).then(b.cmp(a))
        });
        best.ok_or_else(|| format!("no store takes a replica of {}: {}", shard.id, join(&why)))
    }

    /// Whether `store` could have a new replica in place of the one that it has, which is out of service.
    pub fn can_renew(&self, store: StoreId) -> bool {
        self.state(store) == StoreState::Up && self.is_alive(store) && !self.is_full(store)
    }

    /// Whether a store without a replica of `shard` is likely to take one soon.
    pub fn is_place_likely(&self, shard: &Shard) -> bool {
        let mut others = self.stores.keys().filter(|store| shard.peer_on(**store).is_none());
        others.any(|store| self.state(*store) == StoreState::Up && !self.is_full(*store))
    }

    fn is_full(&self, store: StoreId) -> bool {
        self.fullness(store) > self.config.low_space_ratio
    }

    /// Replicas of at least `bytes` that are on their way to `store`, or there without having caught up.
    fn snapshots_to(&self, store: StoreId, bytes: u64) -> u64 {
        let is_sent = |shard: &ShardId, peer: &Peer| {
            let beat = self.view.shards.get(shard);
            let counts = beat.is_none_or(|beat| beat.size >= bytes && !beat.caught_up.contains(&peer.replica));
            peer.store == store && counts
        };
        let operators = self.view.operators.running();
        operators.filter(|(shard, operator)| operator.puts().is_some_and(|peer| is_sent(shard, peer))).count() as u64
    }

    /// Why `store` takes no new replica of `shard`, if it does not.
    pub fn unfit(&self, shard: &Shard, store: StoreId) -> Option<String> {
        let load = self.view.load(store);
        let pending = load.pending.max(self.snapshots_to(store, 0));
        let snapshots = self.snapshots_to(store, SMALL_BYTES);
        if shard.peer_on(store).is_some() {
            return Some(format!("{store} has one"));
        }
        if self.view.is_quarantined(shard.id, &Peer { replica: ReplicaId::NONE, store, role: PeerRole::Learner }) {
            return Some(format!("{store} has one that cannot be read, and has not destroyed it yet"));
        }
        match self.state(store) {
            StoreState::Up if !self.is_alive(store) => Some(format!("{store} is silent")),
            StoreState::Up if self.is_full(store) => Some(format!("{store} is full")),
            StoreState::Up if snapshots >= self.config.max_snapshots => {
                Some(format!("{store} is being sent {snapshots} snapshots already"))
            }
            StoreState::Up if pending >= self.config.max_pending_peers => {
                Some(format!("{store} has {pending} replicas that lag"))
            }
            StoreState::Up => None,
            other => Some(format!("{store} is {}", other.name())),
        }
    }
}

fn join(reasons: &BTreeSet<String>) -> String {
    if reasons.is_empty() {
        return "there is none".into();
    }
    reasons.iter().cloned().collect::<Vec<_>>().join(", ")
}
