//! A snapshot takes the place of a replica's data, in slices: the old rows go, then the new ones come from where they were
//! put aside. What is under way is durable ([`Table::Install`]), so a crash goes on where it was. The last batch installs
//! raft's state with the machine's row, and the replica is there.
//!
//! Invariants:
//! - while its data are being replaced a replica takes part in nothing: no tick, no message, no request, and it is not
//!   destroyed either, unless it is quarantined;
//! - an installation is begun only where raft will take the snapshot, and nothing can change that until its end;
//! - rows are moved only after all old ones are gone, and that they are is durable with the first that is moved;
//! - the row of an installation goes in the batch in which raft takes the snapshot, and in no other but the one that
//!   destroys its replica.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Store, StoreReady,
    budget::Budget,
    inspect::shard_of,
    quarantine::contained_rows,
    receiving::{Receiving, ack},
};
use crate::{
    engine::{Batch, EngineError, Table, View, group_key, stage_key},
    planted::{Bug, planted},
    raft::Group,
    shard::KvMachine,
    types::{Fact, KeyRange},
    wire::{RaftMessage, SnapshotId, SnapshotState, decode, encode},
};

/// An installation under way, as it is on disk.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Installing {
    head: RaftMessage,
    id: SnapshotId,
    /// Under which number the new rows were put aside.
    stage: u64,
    /// Whether all old rows are gone.
    is_cleared: bool,
    /// What is still to be cleared: the old keys, and the new ones.
    #[serde(skip)]
    left: Vec<KeyRange>,
}

impl Installing {
    /// Under which number the new rows were put aside.
    pub fn stage(&self) -> u64 {
        self.stage
    }

    /// The range of the new rows.
    pub fn range(&self) -> Option<&KeyRange> {
        self.head.range.as_ref()
    }

    fn write(&self, batch: &mut Batch) {
        batch.put(Table::Install, group_key(self.head.shard), encode(self).into());
    }

    /// A slice of the work. True when the rows are in place.
    fn work(&mut self, batch: &mut Batch, budget: &mut Budget) -> Result<bool, EngineError> {
        if planted(Bug::KeepOldRows) {
            self.left.clear();
        }
        while let Some(range) = self.left.first_mut().filter(|_| !budget.is_over()) {
            match clear(Table::Data, &range.start, &range.end, batch, budget)? {
                Some(next) => range.start = next,
                None => drop(self.left.remove(0)),
            }
        }
        if !self.left.is_empty() {
            return Ok(false);
        }
        if !self.is_cleared {
            self.is_cleared = true;
            self.write(batch);
        }
        self.unstage(batch, budget)
    }

    /// Moves rows from where they were put aside to where they belong. True when there are no more.
    fn unstage(&self, batch: &mut Batch, budget: &mut Budget) -> Result<bool, EngineError> {
        let (start, end) = (stage_key(self.stage, &[]), stage_key(self.stage + 1, &[]));
        let range = self.head.range.as_ref().expect("a snapshot is received under its range");
        let (rows, rest) = slice(Table::Stage, &start, &end, batch, budget)?;
        for (staged, value) in rows {
            let key = staged[start.len()..].to_vec();
            if !range.contains(&key) {
                return Err(EngineError::Damaged(format!("{}: a snapshot holds a foreign key", self.head.shard)));
            }
            batch.put(Table::Data, key, value);
            batch.delete(Table::Stage, staged);
        }
        Ok(rest.is_none())
    }
}

type Row = (Vec<u8>, Bytes);

/// Rows from `start` on, as many as the budget allows, and where the rest begins.
fn slice(
    table: Table,
    start: &[u8],
    end: &[u8],
    batch: &Batch,
    budget: &mut Budget,
) -> Result<(Vec<Row>, Option<Vec<u8>>), EngineError> {
    let mut rows = Vec::new();
    for row in batch.scan(table, start, end)? {
        let (key, value) = row?;
        if budget.is_over() {
            return Ok((rows, Some(key)));
        }
        budget.take(key.len() + value.len());
        rows.push((key, value));
    }
    Ok((rows, None))
}

/// Removes rows from `start` on, as many as the budget allows. Where the rest begins.
pub(super) fn clear(
    table: Table,
    start: &[u8],
    end: &[u8],
    batch: &mut Batch,
    budget: &mut Budget,
) -> Result<Option<Vec<u8>>, EngineError> {
    let (rows, rest) = slice(table, start, end, batch, budget)?;
    rows.into_iter().for_each(|(key, _)| batch.delete(table, key));
    Ok(rest)
}

impl Store {
    /// What an earlier life did not finish goes on, unless its replica cannot be opened. The numbers under which rows
    /// are put aside for all that can be read.
    pub(super) fn read_installing(&mut self, view: &View) -> Result<BTreeSet<u64>, EngineError> {
        let mut stages = BTreeSet::new();
        for row in view.scan(Table::Install, &[], &[])? {
            let (key, row) = row?;
            let shard = shard_of(&key)?;
            let read = decode(&row).ok().filter(|installing: &Installing| installing.head.shard == shard);
            let Some(mut installing) = read else {
                // Nobody knows which of its rows are gone.
                self.quarantine(shard, "what was being installed does not read".into());
                continue;
            };
            stages.insert(installing.stage);
            self.reserved.extend(installing.head.range.clone().map(|range| (shard, range)));
            if self.groups.contains_key(&shard) {
                installing.left = if installing.is_cleared { Vec::new() } else { self.to_clear(&installing.head) };
                self.installing.insert(shard, installing);
            } else if let Some(bad) = self.quarantined.get_mut(&shard) {
                bad.stage = Some(installing.stage);
            }
        }
        Ok(stages)
    }

    /// The old range may reach further than the new one: what is right of a split that this replica never saw.
    fn to_clear(&self, head: &RaftMessage) -> Vec<KeyRange> {
        let old = self.groups.get(&head.shard).and_then(|group| group.machine());
        head.range.iter().chain(old.map(|old| &old.shard().range)).cloned().collect()
    }

    /// All of a snapshot was put aside.
    pub(super) fn begin_to_install(
        &mut self,
        receiving: Receiving,
        batch: &mut Batch,
        out: &mut StoreReady,
    ) -> Result<(), EngineError> {
        let shard = receiving.head.shard;
        if !self.is_complete(&receiving, batch.view())? {
            self.reserved.remove(&shard);
            self.receiving.discard(receiving.stage);
            self.early.after.push(ack(&receiving.head, receiving.id, SnapshotState::Refused));
            return Ok(());
        }
        let left = self.to_clear(&receiving.head);
        let Receiving { head, id, stage, .. } = receiving;
        let installing = Installing { head, id, stage, is_cleared: false, left };
        installing.write(batch);
        let (replica, index) = (installing.head.to.replica, Group::<KvMachine>::snapshot_index(&installing.head));
        out.facts.push(Fact::Installing { shard, replica, index });
        self.installing.insert(shard, installing);
        Ok(())
    }

    /// Goes on with what is being installed. Those whose rows are in place are taken by raft in this turn.
    pub(super) fn work_on_installing(&mut self, batch: &mut Batch) -> Result<Vec<Installing>, EngineError> {
        let mut budget = Budget::of_bytes(self.config.snapshot_chunk_bytes);
        let (mut in_place, mut broken) = (Vec::new(), Vec::new());
        for (shard, installing) in &mut self.installing {
            if budget.is_over() {
                break;
            }
            match contained_rows(|| installing.work(batch, &mut budget))? {
                Ok(true) => in_place.push(*shard),
                Ok(false) => {}
                Err(why) => broken.push((*shard, why)),
            }
        }
        self.quarantine_all(broken);
        let installed: Vec<_> = in_place.iter().filter_map(|shard| self.installing.remove(shard)).collect();
        for installing in &installed {
            let head = installing.head.clone();
            let shard = head.shard;
            self.with_group(shard, |group| group.step(head));
            self.touch(shard);
        }
        Ok(installed)
    }

    /// raft has taken these in this turn, and their keys are held by their replicas from now on; unless one contradicted
    /// itself over it: then its old row and the new data do not belong together, and the installation is not over.
    pub(super) fn end_installing(&mut self, installed: Vec<Installing>, batch: &mut Batch) {
        for Installing { head, id, stage, .. } in installed {
            if let Some(bad) = self.quarantined.get_mut(&head.shard) {
                bad.stage = Some(stage);
                continue;
            }
            self.reserved.remove(&head.shard);
            batch.delete(Table::Install, group_key(head.shard));
            self.early.after.push(ack(&head, id, SnapshotState::Done));
        }
    }
}
