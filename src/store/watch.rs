//! Stores watch over each other, so that their quiet groups need no messages of their own.
//!
//! Each store tells those it shares shards with that it lives, as often as a leader would send heartbeats. One that was
//! not heard of for an election time-out is lost: the quiet groups that it shares with this one wake, and those that it
//! led may campaign as if they had counted the silence themselves. When it is back, they wake once more, since it may lack
//! what was written meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::{Send, Store};
use crate::types::StoreId;

/// How many times within an election time-out the neighbours are looked up anew.
const LOOK_UPS: u64 = 2;

/// The stores that this one shares shards with.
#[derive(Default)]
pub(super) struct Watch {
    /// Ticks of this store.
    pub ticks: u64,
    neighbours: BTreeSet<StoreId>,
    heard_at: BTreeMap<StoreId, u64>,
    /// Those that were not heard of for an election time-out.
    pub lost: BTreeSet<StoreId>,
}

impl Store {
    /// That store said something.
    pub(super) fn hear_store(&mut self, store: StoreId) {
        self.watch.heard_at.insert(store, self.watch.ticks);
        if self.watch.lost.remove(&store) {
            self.wake_shared_with(store, false);
        }
    }

    /// Says that this store lives, and looks who does not.
    pub(super) fn tick_watch(&mut self) {
        self.watch.ticks += 1;
        let (ticks, timeout) = (self.watch.ticks, self.config.group.election_ticks as u64);
        if ticks % (timeout / LOOK_UPS).max(1) == 0 {
            self.look_up_neighbours();
        }
        if ticks.is_multiple_of(self.config.group.heartbeat_ticks as u64) {
            self.early.now.extend(self.watch.neighbours.iter().map(|to| Send::Alive { to: *to }));
        }
        let silent = |store: &&StoreId| ticks - self.watch.heard_at.get(*store).copied().unwrap_or(ticks) > timeout;
        let lost: Vec<_> = self.watch.neighbours.iter().filter(silent).copied().collect();
        for store in lost {
            if self.watch.lost.insert(store) {
                self.wake_shared_with(store, true);
            }
        }
    }

    fn look_up_neighbours(&mut self) {
        let shards = self.groups.values().filter_map(|group| group.machine()).map(|machine| machine.shard());
        let peers = shards.flat_map(|shard| shard.peers.iter().map(|peer| peer.store));
        let neighbours: BTreeSet<_> = peers.filter(|store| *store != self.id).collect();
        let ticks = self.watch.ticks;
        for store in &neighbours {
            self.watch.heard_at.entry(*store).or_insert(ticks);
        }
        self.watch.heard_at.retain(|store, _| neighbours.contains(store));
        self.watch.lost.retain(|store| neighbours.contains(store));
        self.watch.neighbours = neighbours;
    }

    /// Wakes the quiet groups that have a replica there; if it is lost, those that it led may campaign.
    pub(super) fn wake_shared_with(&mut self, store: StoreId, is_lost: bool) {
        for (shard, group) in &mut self.groups {
            let peer = group.machine().and_then(|machine| machine.shard().peer_on(store));
            let Some(peer) = peer.copied().filter(|_| group.is_quiet()) else { continue };
            if is_lost && group.leadership().0 == peer.replica {
                group.wake_to_campaign();
            } else {
                group.wake();
            }
            self.dirty.insert(*shard);
        }
    }
}
