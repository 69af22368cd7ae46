//! Stores watch over each other, so that their quiet groups need no messages of their own.
//!
//! Each store tells those it shares shards with that it lives, as often as a leader would send heartbeats. One that was
//! not heard of for an election time-out is lost: where one of the two leads a quiet group of both, it wakes; what the lost one
//! led may campaign as if it had counted the silence itself. When it is back, all groups of both wake, since it may lack
//! what was written meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::{Send, Store, quarantine::contained_each};
use crate::{
    raft::Group,
    shard::KvMachine,
    types::{ShardId, StoreId},
};

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
            self.wake_shared_with(store, Why::Back);
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
            let tell = |to: &StoreId| Send::Alive { to: *to, without: self.quarantined_shared_with(*to) };
            let told: Vec<_> = self.watch.neighbours.iter().map(tell).collect();
            self.early.now.extend(told);
        }
        let silent = |store: &&StoreId| ticks - self.watch.heard_at.get(*store).copied().unwrap_or(ticks) > timeout;
        let lost: Vec<_> = self.watch.neighbours.iter().filter(silent).copied().collect();
        for store in lost {
            if self.watch.lost.insert(store) {
                self.wake_shared_with(store, Why::Lost);
            }
        }
    }

    fn look_up_neighbours(&mut self) {
        let shards = self.groups.values().filter_map(|group| group.machine()).map(|machine| machine.shard());
        let peers = shards.flat_map(|shard| shard.peers.iter().map(|peer| peer.store));
        let all = peers.chain(self.quarantine_neighbours());
        let neighbours: BTreeSet<_> = all.filter(|store| *store != self.id).collect();
        let ticks = self.watch.ticks;
        for store in &neighbours {
            self.watch.heard_at.entry(*store).or_insert(ticks);
        }
        self.watch.heard_at.retain(|store, _| neighbours.contains(store));
        self.watch.lost.retain(|store| neighbours.contains(store));
        self.watch.neighbours = neighbours;
    }

    /// Wakes the quiet groups that have a replica there and to which it matters.
    pub(super) fn wake_shared_with(&mut self, store: StoreId, why: Why) {
        let broken = contained_each(&mut self.groups, |shard, group| {
            if wake(group, store, why) {
                self.dirty.insert(shard);
            }
        });
        self.quarantine_all(broken);
    }

    /// One leader here was answered too late, so others may be: the quiet ones look.
    pub(super) fn doubt_leaderships(&mut self) {
        let broken = contained_each(&mut self.groups, |shard, group| {
            if group.is_quiet() && group.leads() {
                group.doubt();
                self.dirty.insert(shard);
            }
        });
        self.quarantine_all(broken);
    }

    /// That store lives; but its replicas of these shards do not, so they are no reason for quiet.
    pub(super) fn hear_alive(&mut self, store: StoreId, without: Vec<ShardId>) {
        self.hear_store(store);
        for shard in without {
            if self.with_group(shard, |group| wake(group, store, Why::Lost)) == Some(true) {
                self.dirty.insert(shard);
            }
        }
    }
}

/// Why quiet groups wake that have a replica on another store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It was not heard of for an election time-out, or has no such replica in service.
    Lost,
    /// A connection to it broke.
    Unreachable,
    /// It was lost, and is heard of again.
    Back,
}

/// Wakes a quiet group that has a replica there, to campaign if that one led and is lost. Whether it did. As long as neither
/// that replica nor the one here leads, it is for the leader to look: two followers that miss each other would both tick, hear
/// nothing of their quiet leader, and elect another one. But one that is back may be heard by a follower alone.
fn wake(group: &mut Group<KvMachine>, store: StoreId, why: Why) -> bool {
    let peer = group.machine().and_then(|machine| machine.shard().peer_on(store));
    let Some(peer) = peer.copied().filter(|_| group.is_quiet()) else { return false };
    let is_leader = group.leadership().0 == peer.replica;
    if !is_leader && !group.leads() && why != Why::Back {
        return false;
    }
    if is_leader && why == Why::Lost {
        group.wake_to_campaign();
    } else {
        group.wake();
    }
    true
}
