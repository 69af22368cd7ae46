//! Rows that belong to nobody any more: what a destroyed replica held. They are removed in bounded slices, one a turn, so
//! that a large replica does not hold up the store. What is left to do is durable, and goes on after a restart; until it
//! is done the range counts as held, so that no new replica's rows are taken for old ones.
//!
//! Where nobody can read which keys a replica held, whatever nobody holds goes in the end.
//!
//! Invariant: a range is put down in the very batch that takes away its owner.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{budget::Budget, installing::clear};
use crate::{
    engine::{Batch, EngineError, Table, View},
    planted::{Bug, planted},
    types::{KeyRange, ReplicaId, ShardId},
    wire::{decode, encode},
};

/// Whose rows they were.
type Owner = (ShardId, ReplicaId);

/// What is left to remove.
#[derive(Default)]
pub(super) struct Garbage {
    /// `None` where nobody can read what it was. On disk that is an empty row.
    ranges: BTreeMap<Owner, Option<KeyRange>>,
}

fn key((shard, replica): Owner) -> Vec<u8> {
    [shard.0.to_be_bytes(), replica.0.to_be_bytes()].concat()
}

impl Garbage {
    /// What an earlier life left.
    pub fn open(view: &View) -> Result<Garbage, EngineError> {
        let mut ranges = BTreeMap::new();
        for row in view.scan(Table::Garbage, &[], &[])? {
            let (key, value) = row?;
            let damaged = || EngineError::Damaged(format!("the row {key:?} of the garbage"));
            let (shard, replica) = key.split_at_checked(8).ok_or_else(damaged)?;
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged());
            let range = if value.is_empty() { None } else { Some(decode(&value)?) };
            ranges.insert((ShardId(number(shard)?), ReplicaId(number(replica)?)), range);
        }
        Ok(Garbage { ranges })
    }

    /// Nobody owns the rows of `range` from this batch on.
    pub fn add(&mut self, shard: ShardId, replica: ReplicaId, range: KeyRange, batch: &mut Batch) {
        batch.put(Table::Garbage, key((shard, replica)), encode(&range).into());
        self.ranges.insert((shard, replica), Some(range));
    }

    /// From this batch on nobody owns rows of which nobody can read where they are.
    pub fn add_unknown(&mut self, shard: ShardId, replica: ReplicaId, batch: &mut Batch) {
        batch.put(Table::Garbage, key((shard, replica)), Bytes::new());
        self.ranges.insert((shard, replica), None);
    }

    /// What is left to do, as far as it is known.
    pub fn ranges(&self) -> impl Iterator<Item = &KeyRange> {
        self.ranges.values().flatten()
    }

    /// Of how many replicas the rows are left and nobody can read where.
    pub fn unknown(&self) -> usize {
        self.ranges.values().filter(|range| range.is_none()).count()
    }

    /// Whether rows in `range` are to be removed. Those of which nobody knows do not count: a snapshot clears its range first,
    /// and holds it when they are swept.
    pub fn overlaps(&self, range: &KeyRange) -> bool {
        self.ranges().any(|left| left.overlaps(range))
    }

    /// Removes as much as `budget` allows, known ranges first. `free` says which keys nobody holds, or is about to.
    pub fn sweep(
        &mut self,
        free: impl FnOnce() -> Vec<KeyRange>,
        batch: &mut Batch,
        budget: &mut Budget,
    ) -> Result<(), EngineError> {
        let next = self.ranges.iter().min_by_key(|(_, range)| range.is_none());
        let Some((owner, range)) = next.map(|(owner, range)| (*owner, range.clone())) else { return Ok(()) };
        for KeyRange { start, end } in range.map_or_else(free, |range| vec![range]) {
            if clear(Table::Data, &start, &end, batch, budget)?.is_some() {
                return Ok(());
            }
        }
        self.ranges.remove(&owner);
        if !planted(Bug::OverlappedDestroy) {
            batch.delete(Table::Garbage, key(owner));
        }
        Ok(())
    }
}
