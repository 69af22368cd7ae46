//! Rows that belong to nobody any more: what a destroyed replica held. They are removed in bounded slices, one a turn, so
//! that a large replica does not hold up the store. What is left to do is durable, and goes on after a restart; until it
//! is done the range counts as held, so that no new replica's rows are taken for old ones.
//!
//! Where nobody can read which keys a replica held, all keys are put down, and whatever is not held by anybody then goes.
//!
//! Invariant: a range is put down in the very batch that takes away its owner.

use std::collections::BTreeMap;

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
    ranges: BTreeMap<Owner, KeyRange>,
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
            ranges.insert((ShardId(number(shard)?), ReplicaId(number(replica)?)), decode(&value)?);
        }
        Ok(Garbage { ranges })
    }

    /// Nobody owns the rows of `range` from this batch on.
    pub fn add(&mut self, shard: ShardId, replica: ReplicaId, range: KeyRange, batch: &mut Batch) {
        batch.put(Table::Garbage, key((shard, replica)), encode(&range).into());
        self.ranges.insert((shard, replica), range);
    }

    /// What is left to do.
    pub fn ranges(&self) -> impl Iterator<Item = &KeyRange> {
        self.ranges.values()
    }

    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether rows in `range` may be left.
    pub fn overlaps(&self, range: &KeyRange) -> bool {
        self.ranges.values().any(|left| left.overlaps(range))
    }

    /// Removes as much as `budget` allows. `held` says which keys somebody holds, or is about to.
    pub fn sweep(
        &mut self,
        held: impl FnOnce() -> Vec<KeyRange>,
        batch: &mut Batch,
        budget: &mut Budget,
    ) -> Result<(), EngineError> {
        let Some((owner, range)) = self.ranges.first_key_value().map(|(owner, range)| (*owner, range.clone())) else {
            return Ok(());
        };
        // No other range that is put down is held by anybody.
        let rest = if range == KeyRange::all() { range.without(held()) } else { vec![range] };
        for KeyRange { start, end } in rest {
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
