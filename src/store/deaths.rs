//! How replicas cease to be.
//!
//! A replica is destroyed when its own log says so, when a peer with a newer membership says so, when a message of such a
//! membership is meant for a later replica on this store, or when Prophet, asked, names a newer membership without it. Each
//! counts for one replica id, and only with a newer `conf_ver` than the one that this replica is known to be in.
//!
//! Invariants:
//! - log, hard state and row go in one batch with the promise ([`Table::Tomb`]) never to take back a replica of this id or
//!   an earlier one; the rows of the data follow in slices;
//! - what a message says about a shard that nobody here has a replica of destroys nothing.

use super::{Send, Store, StoreReady, budget::Budget};
use crate::{
    engine::{Batch, EngineError, Table, View, group_key},
    planted::{Bug, planted},
    types::{Fact, Instant, KeyRange, Peer, PeerRole, ReplicaId, ShardId},
    wire::{MembershipAsk, RaftMessage, Removal},
};

impl Store {
    pub(super) fn read_tombs(&mut self, view: &View) -> Result<(), EngineError> {
        for row in view.scan(Table::Tomb, &[], &[])? {
            let (key, value) = row?;
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes);
            let damaged = |_| EngineError::Damaged(format!("the row {key:?} of the tombs"));
            self.tombs.insert(ShardId(number(&key).map_err(damaged)?), ReplicaId(number(&value).map_err(damaged)?));
        }
        Ok(())
    }

    /// Whether a replica of this id was destroyed here, or came before one that was.
    pub(super) fn is_buried(&self, shard: ShardId, replica: ReplicaId) -> bool {
        self.tombs.get(&shard).is_some_and(|min_next| replica < *min_next) && !planted(Bug::ComeBack)
    }

    /// Somebody says that a replica is not a member any more.
    pub(super) fn removed(&mut self, removal: Removal) {
        let Removal { shard, replica, epoch } = removal;
        let Some(group) = self.groups.get(&shard) else { return self.removed_quarantined(removal) };
        if self.installing.contains_key(&shard) {
            return;
        }
        let is_meant = group.replica() == replica && epoch.conf_ver > group.conf_ver();
        let is_ghost = planted(Bug::ReadAfterRemoval) && self.is_buried(shard, replica);
        if is_meant && !is_ghost || planted(Bug::HonourAnyDestroy) {
            self.dying.insert(shard);
        }
    }

    /// A message for another replica on this store. A shard has one a store: if the sender's membership is newer, the one
    /// that is here was removed.
    pub(super) fn superseded(&mut self, message: &RaftMessage) {
        let is_installing = self.installing.contains_key(&message.shard);
        let Some(group) = self.groups.get(&message.shard).filter(|_| !is_installing) else { return };
        if message.epoch.conf_ver > group.conf_ver() {
            self.dying.insert(message.shard);
        }
    }

    /// Whether the sender is a replica that was removed; then it is told so.
    pub(super) fn is_from_removed(&mut self, message: &RaftMessage) -> bool {
        let Some(shard) = self.groups.get(&message.shard).and_then(|group| group.machine()).map(|kv| kv.shard()) else {
            return false;
        };
        let is_member = shard.peer(message.from.replica).is_some();
        let is_older = message.epoch.conf_ver != 0 && message.epoch.conf_ver < shard.epoch.conf_ver;
        if is_member || !is_older {
            return false;
        }
        let removal = Removal { shard: shard.id, replica: message.from.replica, epoch: shard.epoch };
        self.early.now.push(Send::Removed { to: message.from.store, removal });
        true
    }

    /// The membership changed and has lost `removed`.
    pub(super) fn lost_peer(&mut self, shard: ShardId, removed: Peer, out: &mut StoreReady) {
        let Some(group) = self.groups.get(&shard) else { return };
        if group.replica() == removed.replica {
            // A leader stays for a while, so that the others learn from it that its removal is committed.
            if group.leads() {
                self.lingering.insert(shard, 2 * self.config.group.election_ticks);
            } else {
                self.dying.insert(shard);
            }
        } else if group.leads() && !(planted(Bug::LingeringLearner) && removed.role == PeerRole::Learner) {
            let epoch = group.machine().expect("its descriptor just changed").shard().epoch;
            let removal = Removal { shard, replica: removed.replica, epoch };
            out.after.push(Send::Removed { to: removed.store, removal });
        }
    }

    pub(super) fn tick_lingering(&mut self) {
        for (shard, ticks) in &mut self.lingering {
            *ticks = ticks.saturating_sub(1);
            if *ticks == 0 || !self.groups.get(shard).is_some_and(|group| group.leads()) {
                self.dying.insert(*shard);
            }
        }
    }

    /// Carries out what was decided.
    pub(super) fn bury(&mut self, batch: &mut Batch, out: &mut StoreReady) -> Result<(), EngineError> {
        for shard in std::mem::take(&mut self.dying) {
            self.lingering.remove(&shard);
            if planted(Bug::ReadAfterRemoval) && self.stays_as_ghost(shard) {
                continue;
            }
            let Some(group) = self.groups.remove(&shard) else {
                self.bury_quarantined(shard, batch, out)?;
                continue;
            };
            let replica = group.replica();
            group.erase(batch);
            if let Some(machine) = group.machine() {
                self.ranges.remove(shard);
                self.garbage.add(shard, replica, machine.shard().range.clone(), batch);
            }
            self.entomb(shard, replica, batch, out);
        }
        if self.may_sweep() {
            let mut budget = Budget::of_bytes(self.config.snapshot_chunk_bytes);
            let (ranges, reserved) = (&self.ranges, &self.reserved);
            let free = || {
                let all = KeyRange::all();
                let held = ranges.held_in(&all).map(|(range, _)| range);
                all.without(held.chain(reserved.values()).cloned().collect())
            };
            self.garbage.sweep(free, batch, &mut budget)?;
        }
        Ok(())
    }

    /// Whether rows of destroyed replicas can be removed. One that is out of service keeps its own, wherever they are, until it
    /// is destroyed: as long as there is one of which nobody knows where they are, only known ranges are swept.
    pub(super) fn may_sweep(&self) -> bool {
        let is_known = || self.quarantined.keys().all(|shard| self.ranges.holds(*shard));
        self.garbage.ranges().next().is_some() || self.garbage.unknown() > 0 && is_known()
    }

    /// Only where a bug is planted: a replica that was removed stays until a later one takes its place, and answers reads.
    fn stays_as_ghost(&mut self, shard: ShardId) -> bool {
        let Some(replica) = self.groups.get(&shard).map(|group| group.replica()) else { return false };
        let is_new = !self.is_buried(shard, replica);
        self.tombs.insert(shard, ReplicaId(replica.0 + 1));
        is_new
    }

    /// The promise that it never comes back, in the batch that takes its rows.
    pub(super) fn entomb(&mut self, shard: ShardId, replica: ReplicaId, batch: &mut Batch, out: &mut StoreReady) {
        let min_next = ReplicaId(replica.0 + 1);
        batch.put(Table::Tomb, group_key(shard), min_next.0.to_be_bytes().to_vec().into());
        self.tombs.insert(shard, min_next);
        self.forget(shard, "the replica was removed from its shard");
        tracing::info!(%shard, %replica, "a replica was removed and is destroyed");
        out.facts.push(Fact::Destroyed { shard, replica });
    }

    /// From time to time each replica asks Prophet whether it is still a member: learners never vote, and a replica
    /// whose peers have all moved hears from nobody.
    pub(super) fn ask_membership(&mut self, now: Instant) {
        if now < self.next_membership_ask {
            return;
        }
        self.next_membership_ask = now + self.config.membership_check;
        let all = self.groups.iter().filter(|(_, group)| !group.leads());
        let asks = all.map(|(shard, group)| MembershipAsk {
            shard: *shard,
            replica: group.replica(),
            conf_ver: group.conf_ver(),
        });
        let asks: Vec<_> = asks.chain(self.quarantine_asks()).collect();
        if !asks.is_empty() && !planted(Bug::LingeringLearner) {
            self.early.now.push(Send::AskMembership(asks));
        }
    }
}
