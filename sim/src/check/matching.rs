//! M, second part: log matching (Raft, section 5.3). If two logs of a group have an entry of one term at one index, they are
//! the same up to there, what is not committed included. Looked at on the disks of nodes that have stopped.

use std::collections::BTreeMap;

use matrixkv::{
    engine::{EngineError, Table, View},
    types::ShardId,
};
use protobuf::Message;
use raft::eraftpb::Entry;
use xxhash_rust::xxh3::xxh3_64;

/// Term and hash of an entry, by its index.
type Log = BTreeMap<u64, (u64, u64)>;

/// The logs of all groups, by the node that keeps them.
#[derive(Default)]
pub struct Kept(BTreeMap<ShardId, BTreeMap<usize, Log>>);

impl Kept {
    /// Adds the logs that `node` keeps in one of its files.
    pub fn read(&mut self, node: usize, view: &View) -> Result<(), EngineError> {
        for row in view.scan(Table::Log, &[], &[])? {
            let (key, row) = row?;
            let damaged = |why: &str| EngineError::Damaged(format!("the row {key:?} of the logs: {why}"));
            let shard = key.first_chunk().map(|shard| ShardId(u64::from_be_bytes(*shard)));
            let shard = shard.ok_or_else(|| damaged("no shard"))?;
            let entry = Entry::parse_from_bytes(&row).map_err(|error| damaged(&error.to_string()))?;
            let log = self.0.entry(shard).or_default().entry(node).or_default();
            log.insert(entry.index, (entry.term, xxh3_64(&row)));
        }
        Ok(())
    }

    /// Where two logs contradict each other, in words.
    pub fn judge(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (shard, logs) in &self.0 {
            let logs: Vec<_> = logs.iter().collect();
            for (n, (a, left)) in logs.iter().enumerate() {
                let differ = |(b, right): &(&usize, &Log)| Some((**b, parting(left, right)?));
                let parted = logs[n + 1..].iter().filter_map(differ);
                found.extend(parted.map(|(b, index)| {
                    format!("{shard}: the logs of node{a} and node{b} agree later on, and differ at index {index}")
                }));
            }
        }
        found
    }
}

/// Where two logs differ although they have the same term there or further up.
fn parting(left: &Log, right: &Log) -> Option<u64> {
    let mut agreed = false;
    left.iter().rev().find_map(|(index, own)| {
        let other = right.get(index)?;
        agreed |= own.0 == other.0;
        (agreed && own != other).then_some(*index)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(u64, u64)]) -> Log {
        entries.iter().zip(6..).map(|(entry, index)| (index, *entry)).collect()
    }

    #[test]
    fn logs_that_agree_once_agree_before() {
        let log_a = log(&[(5, 1), (5, 2), (6, 3), (6, 4)]);
        assert_eq!(parting(&log_a, &log_a), None);
        assert_eq!(parting(&log_a, &log(&[(5, 1), (5, 2), (7, 9)])), None, "a tail that was never committed");
        assert_eq!(parting(&log_a, &log(&[(5, 1), (5, 2), (6, 9)])), Some(8), "one term, two entries");
        assert_eq!(parting(&log_a, &log(&[(5, 1), (4, 2), (6, 3)])), Some(7), "agreed later");
    }
}
