//! What a stopped node's store holds, and whether it adds up. One pass over the rows, nothing is written.
//!
//! What must hold:
//! - every row of the data lies in the range of one replica, or in one that is still to be swept, and these do not overlap;
//! - what a replica has counted is what its rows say;
//! - log and hard state belong to a replica that is here.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    engine::{EngineError, Table, View},
    raft::GroupRow,
    shard::{KvMachine, Sums},
    store::{garbage::Garbage, installing::Installing, ranges::Ranges},
    types::{KeyRange, ShardId},
    wire::decode,
};

/// Faults that are told one by one; of more only the number is told.
const FAULTS_TOLD: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Replicas with data.
    pub replicas: u64,
    /// Replicas that wait for their first snapshot.
    pub waiting: u64,
    /// Replicas whose rows are being replaced by those of a snapshot: what is there of them is not judged.
    pub installing: u64,
    /// Rows in their ranges.
    pub installing_rows: u64,
    /// Shards that once had a replica here which was destroyed.
    pub tombs: u64,
    /// Rows in the range of a replica.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Ranges of destroyed replicas that are still to be swept.
    pub garbage_ranges: u64,
    /// Rows in them.
    pub garbage_rows: u64,
    /// Rows in nobody's range.
    pub orphans: u64,
    /// What does not add up.
    pub faults: Vec<String>,
    /// What does not add up either, and is not told.
    pub faults_untold: u64,
}

impl Inspection {
    fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_TOLD {
            self.faults.push(what);
        } else {
            self.faults_untold += 1;
        }
    }
}

/// Who a range of keys belongs to.
enum Owner {
    /// A replica, by what it has counted.
    Replica(ShardId, Sums),
    /// A replica whose rows are being replaced.
    Installing,
    /// A replica that was destroyed.
    Nobody,
}

/// Inspects what `view` shows.
pub fn inspect(view: &View) -> Result<Inspection, EngineError> {
    let mut found = Inspection { tombs: count(view, Table::Tomb)?, ..Inspection::default() };
    let owners = owners(view, &mut found)?;
    inspect_rows(view, &owners, &mut found)?;
    inspect_logs(view, &mut found)?;
    Ok(found)
}

fn count(view: &View, table: Table) -> Result<u64, EngineError> {
    view.scan(table, &[], &[])?.try_fold(0, |sum, row| row.map(|_| sum + 1))
}

pub(super) fn shard_of(key: &[u8]) -> Result<ShardId, EngineError> {
    let damaged = || EngineError::Damaged(format!("the key {key:?} does not begin with a shard"));
    key.first_chunk().map(|shard| ShardId(u64::from_be_bytes(*shard))).ok_or_else(damaged)
}

/// The ranges that rows may lie in, ascending.
fn owners(view: &View, found: &mut Inspection) -> Result<Vec<(KeyRange, Owner)>, EngineError> {
    let (mut held, mut owners) = (Ranges::default(), BTreeMap::new());
    for row in view.scan(Table::Group, &[], &[])? {
        let (key, row) = row?;
        let shard = shard_of(&key)?;
        let Ok(installing) = view.get(Table::Install, &key)?.map(|row| decode::<Installing>(&row)).transpose() else {
            found.fault(format!("what is being installed of {shard} cannot be read"));
            continue;
        };
        let (range, owner) = match (replica(shard, &row), installing) {
            // The old range holds the new one: shards only ever split.
            (Ok(Some(machine)), Some(_)) => (machine.shard().range.clone(), Owner::Installing),
            (Ok(Some(machine)), None) => (machine.shard().range.clone(), Owner::Replica(shard, machine.sums())),
            (Ok(None), Some(installing)) => match installing.range() {
                Some(range) => (range.clone(), Owner::Installing),
                None => continue,
            },
            (Ok(None), None) => {
                found.waiting += 1;
                continue;
            }
            (Err(why), _) => {
                found.fault(format!("the replica of {shard} cannot be read: {why}"));
                continue;
            }
        };
        if let Some(other) = held.overlapping(&range).next() {
            found.fault(format!("{shard} {range:?} overlaps {other}"));
            continue;
        }
        match owner {
            Owner::Installing => found.installing += 1,
            _ => found.replicas += 1,
        }
        held.set(shard, &range);
        owners.insert(range.start.clone(), (range, owner));
    }
    let garbage = Garbage::open(view)?;
    found.garbage_ranges += garbage.unknown() as u64;
    for range in garbage.ranges() {
        found.garbage_ranges += 1;
        if let Some(other) = held.overlapping(range).next() {
            found.fault(format!("{range:?} is to be swept and overlaps {other}"));
            continue;
        }
        owners.insert(range.start.clone(), (range.clone(), Owner::Nobody));
    }
    if garbage.unknown() > 0 {
        let gaps = KeyRange::all().without(owners.values().map(|(range, _)| range.clone()).collect());
        owners.extend(gaps.into_iter().map(|gap| (gap.start.clone(), (gap, Owner::Nobody))));
    }
    Ok(owners.into_values().collect())
}

/// `None` if it waits for its first snapshot.
fn replica(shard: ShardId, row: &[u8]) -> Result<Option<KvMachine>, EngineError> {
    let row: GroupRow = decode(row)?;
    if !row.is_initialised() {
        return Ok(None);
    }
    let machine: KvMachine = decode(&row.machine)?;
    if machine.shard().id != shard {
        return Err(EngineError::Damaged(format!("its row is that of {}", machine.shard().id)));
    }
    Ok(Some(machine))
}

fn inspect_rows(view: &View, owners: &[(KeyRange, Owner)], found: &mut Inspection) -> Result<(), EngineError> {
    let mut rows = view.scan(Table::Data, &[], &[])?.peekable();
    for (range, owner) in owners {
        // What comes before the range belongs to nobody.
        skip_orphans(&mut rows, found, |key| key < &range.start[..])?;
        let (mut count, mut sums) = (0, Sums::default());
        while let Some(row) = rows.next_if(|row| row.as_ref().is_ok_and(|(key, _)| range.contains(key))) {
            let (key, value) = row?;
            count += 1;
            sums = sums.plus(Sums::of(&key, &value));
        }
        match owner {
            Owner::Nobody => found.garbage_rows += count,
            Owner::Installing => found.installing_rows += count,
            Owner::Replica(shard, counted) => {
                found.rows += count;
                found.bytes += sums.bytes;
                if sums != *counted {
                    found.fault(format!("{shard} {range:?} has counted {counted:?}, and its rows are {sums:?}"));
                }
            }
        }
    }
    skip_orphans(&mut rows, found, |_| true)?;
    if found.orphans > 0 {
        found.fault(format!("{} rows lie in no replica's range", found.orphans));
    }
    Ok(())
}

fn skip_orphans<V>(
    rows: &mut std::iter::Peekable<impl Iterator<Item = Result<(Vec<u8>, V), EngineError>>>,
    found: &mut Inspection,
    is_before: impl Fn(&[u8]) -> bool,
) -> Result<(), EngineError> {
    // An error is taken here too, so that it is returned.
    while let Some(row) = rows.next_if(|row| row.as_ref().map_or(true, |(key, _)| is_before(key))) {
        let (key, _) = row?;
        if found.orphans == 0 {
            found.fault(format!("the row {} lies in no replica's range", key.escape_ascii()));
        }
        found.orphans += 1;
    }
    Ok(())
}

fn inspect_logs(view: &View, found: &mut Inspection) -> Result<(), EngineError> {
    let shards = |table| -> Result<BTreeSet<ShardId>, EngineError> {
        view.scan(table, &[], &[])?.map(|row| shard_of(&row?.0)).collect()
    };
    let here = shards(Table::Group)?;
    for (table, what) in [(Table::Log, "a log"), (Table::Hard, "a vote")] {
        for shard in shards(table)?.difference(&here) {
            found.fault(format!("there is {what} of {shard}, and no replica of it"));
        }
    }
    Ok(())
}
