//! What Prophet's leader knows of the living cluster: only what it heard itself, since it leads.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::operator::Operators;
use crate::{
    types::{Instant, Peer, PeerRole, ReplicaId, ShardId, ShardRoute, StoreId},
    wire::{ShardBeat, StoreBeat, StoreInfo},
};

/// What was heard of a store.
#[derive(Clone, Debug)]
pub struct HeardStore {
    /// Its last heartbeat.
    pub info: StoreInfo,
    /// Its replicas that are out of service, ascending; no id where the store itself cannot tell.
    pub quarantined: Vec<(ShardId, ReplicaId)>,
    /// When.
    pub at: Instant,
    saved: bool,
}

/// What the shards heard of have on a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Replicas.
    pub replicas: u64,
    /// Bytes of keys and values of those.
    pub bytes: u64,
    /// Replicas that lead.
    pub leaders: u64,
    /// Learners that have not caught up.
    pub pending: u64,
}

/// The living cluster as this leader heard of it.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// Since when this member leads.
    pub since: Instant,
    /// Stores by their last heartbeat.
    pub stores: BTreeMap<StoreId, HeardStore>,
    /// Shards by their leaders' last heartbeat.
    pub shards: BTreeMap<ShardId, ShardBeat>,
    /// What is wanted.
    pub operators: Operators,
    /// Why nothing is done about a shard that is not as it should be.
    pub blocked: BTreeMap<ShardId, String>,
    /// What was decided about stores and when, the latest first.
    pub decisions: VecDeque<(Instant, String)>,
    loads: BTreeMap<StoreId, Load>,
}

impl ClusterView {
    /// Nothing was heard yet.
    pub fn new(now: Instant) -> ClusterView {
        ClusterView { since: now, ..ClusterView::default() }
    }

    /// A store lives. Whether it says of other replicas than before that they are out of service.
    pub fn hear_store(&mut self, now: Instant, StoreBeat { info, mut quarantined }: StoreBeat) -> bool {
        quarantined.sort_unstable();
        let (id, told) = (info.id, quarantined.clone());
        let before = self.stores.insert(id, HeardStore { info, quarantined, at: now, saved: false });
        before.map(|heard| heard.quarantined).unwrap_or_default() != told
    }

    /// Whether that replica of the shard is out of service, as its store says.
    pub fn is_quarantined(&self, shard: ShardId, peer: &Peer) -> bool {
        let unknown = Peer { replica: ReplicaId::NONE, ..*peer };
        self.is_quarantined_known(shard, peer) || self.is_quarantined_known(shard, &unknown)
    }

    /// As [`Self::is_quarantined`], where the store says that it is this very one.
    pub fn is_quarantined_known(&self, shard: ShardId, peer: &Peer) -> bool {
        let heard = self.stores.get(&peer.store);
        heard.is_some_and(|heard| heard.quarantined.binary_search(&(shard, peer.replica)).is_ok())
    }

    /// A shard lives. False if this is older than what was heard before: its epoch or its term is.
    pub fn hear_shard(&mut self, beat: ShardBeat) -> bool {
        let id = beat.route.shard.id;
        if self.shards.get(&id).is_some_and(|known| is_stale(&beat.route, &known.route)) {
            return false;
        }
        self.weigh(&beat, u64::wrapping_add);
        if let Some(before) = self.shards.insert(id, beat) {
            self.weigh(&before, u64::wrapping_sub);
        }
        true
    }

    fn weigh(&mut self, beat: &ShardBeat, change: impl Fn(u64, u64) -> u64) {
        for peer in &beat.route.shard.peers {
            let load = self.loads.entry(peer.store).or_default();
            load.replicas = change(load.replicas, 1);
            load.bytes = change(load.bytes, beat.size);
            let leads = beat.route.leader.is_some_and(|leader| leader.replica == peer.replica);
            load.leaders = change(load.leaders, u64::from(leads));
            let lags = peer.role == PeerRole::Learner && !beat.caught_up.contains(&peer.replica);
            load.pending = change(load.pending, u64::from(lags));
        }
    }

    /// What the shards heard of have on `store`.
    pub fn load(&self, store: StoreId) -> Load {
        self.loads.get(&store).copied().unwrap_or_default()
    }

    /// Heartbeats that were not written down yet.
    pub fn heard_since_save(&mut self) -> Vec<StoreInfo> {
        let unsaved = self.stores.values_mut().filter(|store| !store.saved);
        unsaved
            .map(|store| {
                store.saved = true;
                store.info.clone()
            })
            .collect()
    }

    /// For how long the store has been silent: since its last heartbeat, or since this member leads.
    pub fn silence(&self, store: StoreId, now: Instant) -> Duration {
        now.since(self.stores.get(&store).map_or(self.since, |heard| heard.at.max(self.since)))
    }

    /// Whether the store was heard of within `patience`.
    pub fn is_alive(&self, store: StoreId, now: Instant, patience: Duration) -> bool {
        self.stores.get(&store).is_some_and(|heard| now.since(heard.at) <= patience)
    }
}

fn is_stale(new: &ShardRoute, known: &ShardRoute) -> bool {
    new.shard.epoch.is_older_than(known.shard.epoch) || new.shard.epoch == known.shard.epoch && new.term < known.term
}
