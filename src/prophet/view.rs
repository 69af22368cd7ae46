//! What Prophet's leader knows of the living cluster: only what it heard itself, since it leads.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    types::{Instant, Peer, ShardId, ShardRoute, StoreId},
    wire::{ShardBeat, StoreInfo},
};

/// A change that is wanted of a shard, repeated in the answers to its heartbeats until they show that it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The membership that it was decided on; with another one it is void.
    pub conf_ver: u64,
    /// The replica with the role that it is to have.
    pub change: Peer,
    /// Why.
    pub reason: String,
    /// When it was decided.
    pub since: Instant,
}

/// What was heard of a store.
#[derive(Clone, Debug)]
pub struct HeardStore {
    /// Its last heartbeat.
    pub info: StoreInfo,
    /// When.
    pub at: Instant,
    saved: bool,
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
    pub operators: BTreeMap<ShardId, Operator>,
}

impl ClusterView {
    /// Nothing was heard yet.
    pub fn new(now: Instant) -> ClusterView {
        ClusterView { since: now, ..ClusterView::default() }
    }

    /// A store lives.
    pub fn hear_store(&mut self, now: Instant, info: StoreInfo) {
        self.stores.insert(info.id, HeardStore { info, at: now, saved: false });
    }

    /// A shard lives. False if this is older than what was heard before: its epoch or its term is.
    pub fn hear_shard(&mut self, beat: ShardBeat) -> bool {
        let id = beat.route.shard.id;
        if self.shards.get(&id).is_some_and(|known| is_stale(&beat.route, &known.route)) {
            return false;
        }
        let conf_ver = beat.route.shard.epoch.conf_ver;
        if self.operators.get(&id).is_some_and(|operator| operator.conf_ver != conf_ver) {
            self.operators.remove(&id);
        }
        self.shards.insert(id, beat);
        true
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

    /// Whether the store was heard of within `patience`.
    pub fn is_alive(&self, store: StoreId, now: Instant, patience: Duration) -> bool {
        self.stores.get(&store).is_some_and(|heard| now.since(heard.at) <= patience)
    }

    /// How many replicas the shards heard of have on `store`, those that are under way included.
    pub fn replicas_on(&self, store: StoreId) -> usize {
        let there = self.shards.values().filter(|beat| beat.route.shard.peer_on(store).is_some()).count();
        let coming = self.operators.iter().filter(|(shard, operator)| {
            operator.change.store == store
                && self.shards.get(shard).is_none_or(|beat| beat.route.shard.peer_on(store).is_none())
        });
        there + coming.count()
    }
}

fn is_stale(new: &ShardRoute, known: &ShardRoute) -> bool {
    new.shard.epoch.is_older_than(known.shard.epoch) || new.shard.epoch == known.shard.epoch && new.term < known.term
}
