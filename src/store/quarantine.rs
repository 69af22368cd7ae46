//! One bad replica goes out of service, and the others go on.
//!
//! A replica is quarantined when its rows do not read as what was written, or when its code contradicts itself: an
//! assertion that fails inside a group, ours or raft-rs's, is caught at the call into the group and is an error like a
//! damaged row. The group is dropped, whoever waits on it is told that nobody knows, and Prophet and the stores that
//! share the shard are told that this replica is no more in service, so that it is replaced and its leadership moves.
//!
//! Nothing of it is remembered on disk. A damaged row fails again when it is opened. What contradicted itself in memory
//! alone left the disk as of its last commit, which is what a crash leaves: it may resume after a restart, and Prophet
//! sees that it is no longer reported.
//!
//! Invariants:
//! - every call that changes a group goes through [`contained`];
//! - nothing of a turn that failed is written: each group fills a batch of its own first. The slices of an installation are
//!   written as far as they got; its row stays, so that it goes on there when the replica is opened again;
//! - it sends no snapshot and receives none, and what was put aside for it is removed; what an installation needs waits
//!   until the replica is destroyed;
//! - it keeps its keys, and those of an installation, until it is destroyed, which takes what it takes for a running one:
//!   a newer membership than the one that counted on it, and the right replica id. Its tomb stays;
//! - a replica whose row does not even say which one it is stays out of service, and its store takes no other replica of
//!   that shard, until a peer says that one was removed from here, or Prophet that all were. A shard has one replica a
//!   store, and each was gone before the next one came: so it is the one that is named, or an earlier one. Where its keys
//!   were is not known, so once it is destroyed all rows are swept that nobody holds.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{Store, StoreReady};
use crate::{
    engine::{Batch, EngineError, Table, View, group_key},
    raft::{Group, GroupRow},
    shard::KvMachine,
    types::{Fact, KeyRange, Peer, ReplicaId, Shard, ShardId, StoreId},
    wire::{MembershipAsk, RaftMessage, Removal, decode},
};

/// Quarantined replicas that are told of at once; more wait until those were replaced.
const TOLD_MAX: usize = 1024;

/// A replica out of service, and what is known of it.
pub(super) struct Quarantined {
    /// Why.
    pub why: String,
    /// None if not even its row can be read.
    replica: ReplicaId,
    /// The membership that counted on it first: a later one without it means that it was removed.
    born: u64,
    /// Those who have the shard too, as far as known.
    peers: Vec<Peer>,
    /// Under which number rows are put aside for the installation that it does not go on with.
    pub stage: Option<u64>,
}

impl Quarantined {
    fn of(group: &Group<KvMachine>, why: String) -> Quarantined {
        let peers = group.machine().map(|machine| machine.shard().peers.clone()).unwrap_or_default();
        Quarantined { why, replica: group.replica(), born: group.born(), peers, stage: None }
    }
}

/// Runs `work` on a group. What it panics with is this shard's trouble alone: the group is never looked at again.
pub(super) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| format!("it contradicts itself: {}", message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a word")
}

/// As [`contained`], for work that reads rows: one that does not read is this shard's trouble too, a disk that fails is not.
pub(super) fn contained_rows<T>(
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<Result<T, String>, EngineError> {
    match contained(work) {
        Ok(Err(EngineError::Damaged(why))) | Err(why) => Ok(Err(why)),
        Ok(done) => done.map(Ok),
    }
}

/// Runs `work` on each group; gives those that must not go on.
pub(super) fn contained_each(
    groups: &mut BTreeMap<ShardId, Group<KvMachine>>,
    mut work: impl FnMut(ShardId, &mut Group<KvMachine>),
) -> Vec<(ShardId, String)> {
    let broken = groups.iter_mut().filter_map(|(shard, group)| {
        let failed = contained(|| work(*shard, group)).err()?;
        Some((*shard, failed))
    });
    broken.collect()
}

impl Store {
    /// Runs `work` on the group of `shard`. `None` where there is none, or from now on none any more.
    pub(super) fn with_group<T>(&mut self, shard: ShardId, work: impl FnOnce(&mut Group<KvMachine>) -> T) -> Option<T> {
        let group = self.groups.get_mut(&shard)?;
        match contained(|| work(group)) {
            Ok(done) => Some(done),
            Err(why) => {
                self.quarantine(shard, why);
                None
            }
        }
    }

    pub(super) fn quarantine_all(&mut self, broken: Vec<(ShardId, String)>) {
        broken.into_iter().for_each(|(shard, why)| self.quarantine(shard, why));
    }

    /// A running replica must not go on.
    pub(super) fn quarantine(&mut self, shard: ShardId, why: String) {
        let Some(group) = self.groups.remove(&shard) else { return };
        let stage = self.installing.remove(&shard).map(|installing| installing.stage());
        self.put_out_of_service(shard, Quarantined { stage, ..Quarantined::of(&group, why) });
    }

    /// A replica in `view` cannot be opened.
    pub(super) fn quarantine_unopened(&mut self, shard: ShardId, why: String, view: &View) {
        let row = GroupRow::read(view, shard).ok().flatten();
        let descriptor = row.as_ref().and_then(|row| descriptor(shard, row));
        let range = descriptor.as_ref().map(|shard| &shard.range);
        let is_free = |range: &&KeyRange| self.ranges.overlapping(range).all(|other| other == shard);
        if let Some(range) = range.filter(is_free) {
            self.ranges.set(shard, range);
        }
        let (replica, born) = row.map_or((ReplicaId::NONE, 0), |row| (row.replica, row.born));
        let peers = descriptor.map(|shard| shard.peers).unwrap_or_default();
        self.put_out_of_service(shard, Quarantined { why, replica, born, peers, stage: None });
    }

    fn put_out_of_service(&mut self, shard: ShardId, quarantined: Quarantined) {
        let Quarantined { why, replica, .. } = &quarantined;
        tracing::error!(%shard, %replica, why, "a replica is quarantined: it is out of service and is to be replaced");
        if replica.is_none() {
            tracing::error!(
                %shard,
                "which replica it is cannot be read: this store takes no other one of its shard until it hears that the \
                 one here was removed"
            );
        }
        self.early.facts.push(Fact::Quarantined { shard, replica: *replica, why: why.clone() });
        self.quarantined.insert(shard, quarantined);
        self.heirs.remove(&shard);
        self.quarantine_changed();
        self.forget(shard, "the replica was quarantined");
    }

    /// Prophet and whoever looks at this node are told soon.
    fn quarantine_changed(&mut self) {
        self.status.quarantine_changed();
        self.next_store_beat = self.now;
    }

    /// Why each of them is out of service.
    pub(super) fn quarantine_reasons(&self) -> BTreeMap<ShardId, String> {
        self.quarantined.iter().map(|(shard, quarantined)| (*shard, quarantined.why.clone())).collect()
    }

    /// What Prophet is told, ascending.
    pub(super) fn quarantined_told(&self) -> Vec<(ShardId, ReplicaId)> {
        let all = self.quarantined.iter().map(|(shard, quarantined)| (*shard, quarantined.replica));
        all.take(TOLD_MAX).collect()
    }

    /// What that store is told: shards that it shares, and that this one does nothing for.
    pub(super) fn quarantined_shared_with(&self, store: StoreId) -> Vec<ShardId> {
        let shared = |quarantined: &Quarantined| quarantined.peers.iter().any(|peer| peer.store == store);
        let all = self.quarantined.iter().filter(|(_, quarantined)| shared(quarantined));
        all.map(|(shard, _)| *shard).take(TOLD_MAX).collect()
    }

    /// The stores that share a shard with a quarantined replica.
    pub(super) fn quarantine_neighbours(&self) -> impl Iterator<Item = StoreId> {
        self.quarantined.values().flat_map(|quarantined| quarantined.peers.iter().map(|peer| peer.store))
    }

    /// They ask whether they are still members, as all do.
    pub(super) fn quarantine_asks(&self) -> impl Iterator<Item = MembershipAsk> {
        self.quarantined.iter().map(|(shard, quarantined)| MembershipAsk {
            shard: *shard,
            replica: quarantined.replica,
            conf_ver: quarantined.born,
        })
    }

    /// Somebody says that a replica is not a member any more. See the module's invariants for one that is not known.
    pub(super) fn removed_quarantined(&mut self, Removal { shard, replica, epoch }: Removal) {
        let is_buried = self.is_buried(shard, replica);
        let Some(quarantined) = self.quarantined.get_mut(&shard).filter(|_| !is_buried) else { return };
        let is_meant = quarantined.replica == replica || quarantined.replica.is_none();
        if is_meant && epoch.conf_ver > quarantined.born {
            quarantined.replica = replica;
            self.dying.insert(shard);
        }
    }

    /// A message for the shard of a quarantined replica: if it is for a later one on this store, the one that is here was
    /// removed.
    pub(super) fn step_quarantined(&mut self, message: &RaftMessage) {
        let Some(quarantined) = self.quarantined.get(&message.shard) else { return };
        let is_later = !quarantined.replica.is_none() && message.to.replica > quarantined.replica;
        if message.to.store == self.id && is_later && message.epoch.conf_ver > quarantined.born {
            self.dying.insert(message.shard);
        }
    }

    /// As a running one is buried, from what its rows say.
    pub(super) fn bury_quarantined(
        &mut self,
        shard: ShardId,
        batch: &mut Batch,
        out: &mut StoreReady,
    ) -> Result<(), EngineError> {
        let Some(Quarantined { replica, stage, .. }) = self.quarantined.remove(&shard) else { return Ok(()) };
        assert!(!replica.is_none(), "{shard}: nobody knows which replica is destroyed");
        Group::<KvMachine>::erase_unopened(shard, batch)?;
        batch.delete(Table::Install, group_key(shard));
        stage.into_iter().for_each(|stage| self.receiving.discard(stage));
        // A shard never grows: what a replica held reaches at least as far as what was being installed.
        self.reserved.remove(&shard);
        match self.ranges.remove(shard) {
            Some(range) => self.garbage.add(shard, replica, range, batch),
            None => self.garbage.add_unknown(shard, replica, batch),
        }
        self.quarantine_changed();
        self.entomb(shard, replica, batch, out);
        Ok(())
    }
}

/// The descriptor in a row, if it reads as one of that shard.
fn descriptor(shard: ShardId, row: &GroupRow) -> Option<Shard> {
    let machine: KvMachine = row.is_initialised().then(|| decode(&row.machine).ok())??;
    Some(machine.shard().clone()).filter(|found| found.id == shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_said_is_the_reason() {
        assert_eq!(contained(|| 7), Ok(7));
        let told = contained(|| panic!("{} is not {}", 1, 2)).unwrap_err();
        assert_eq!(told, "it contradicts itself: 1 is not 2");
    }
}
