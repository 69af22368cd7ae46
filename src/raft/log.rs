//! The log and hard state of one group: rows on disk, mirrored in memory for raft-rs.
//!
//! Invariants:
//! - entries are contiguous from `truncated + 1`;
//! - what memory holds and the batch was given is the same; rows of overwritten or truncated entries are removed in
//!   the batch that replaces them;
//! - entries of the whole kept log stay in memory. It is bounded by compaction (`compact-threshold`, `compact-bytes`),
//!   which spares what is not applied yet, and what follows on a snapshot that is under way;
//! - `bytes` is the sum over `entries`.

use std::collections::VecDeque;

use protobuf::{Message as _, SingularPtrField};
use raft::{
    Error, GetEntriesContext, RaftState, Storage, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata},
};

use super::GroupRow;
use crate::{
    engine::{Batch, EngineError, Table, View, group_key, log_key},
    planted::{Bug, planted},
    types::{ReplicaId, ShardId},
};

/// raft-rs's storage.
pub(super) struct Log {
    shard: ShardId,
    hard: HardState,
    conf: ConfState,
    truncated: u64,
    truncated_term: u64,
    entries: VecDeque<Entry>,
    bytes: u64,
}

/// Bytes of an entry beside what it carries.
const ENTRY_BYTES: u64 = 64;

fn bytes_of(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64 + ENTRY_BYTES
}

impl Log {
    /// Reads the log of `shard`, whose row is `row`.
    pub fn open(shard: ShardId, row: &GroupRow, view: &View) -> Result<Log, EngineError> {
        let hard = match view.get(Table::Hard, &group_key(shard))? {
            Some(bytes) => HardState::parse_from_bytes(&bytes).map_err(damaged)?,
            None => HardState::default(),
        };
        let mut entries = VecDeque::new();
        let from = log_key(shard, row.truncated + 1);
        for found in view.scan(Table::Log, &from, &log_key(ShardId(shard.0 + 1), 0))? {
            let entry = Entry::parse_from_bytes(&found?.1).map_err(damaged)?;
            let expected = row.truncated + 1 + entries.len() as u64;
            if entry.index != expected {
                return Err(EngineError::Damaged(format!("{shard}: entry {expected} is missing from the log")));
            }
            entries.push_back(entry);
        }
        let last = row.truncated + entries.len() as u64;
        if hard.commit < row.applied || row.applied > last {
            return Err(EngineError::Damaged(format!(
                "{shard}: applied {}, committed {}, last {last}",
                row.applied, hard.commit
            )));
        }
        Ok(Log {
            shard,
            hard,
            conf: row.conf_state(),
            truncated: row.truncated,
            truncated_term: row.truncated_term,
            bytes: entries.iter().map(bytes_of).sum(),
            entries,
        })
    }

    /// The first hard state of a new group, see [`super::FIRST_INDEX`]. A replica that was there without data may have
    /// voted already: term and vote stay.
    pub fn write_first(shard: ShardId, batch: &mut Batch) -> Result<(), EngineError> {
        let before = match batch.get(Table::Hard, &group_key(shard))? {
            Some(bytes) if !planted(Bug::LoseVoteOnSplit) => HardState::parse_from_bytes(&bytes).map_err(damaged)?,
            _ => HardState::default(),
        };
        let first = HardState { term: super::FIRST_INDEX, ..Default::default() };
        let mut hard = if before.term > first.term { before } else { first };
        hard.commit = super::FIRST_INDEX;
        write_hard(shard, &hard, batch);
        Ok(())
    }

    /// Removes every row of the log and the hard state.
    pub fn erase(&self, batch: &mut Batch) {
        for index in self.truncated + 1..=self.last() {
            batch.delete(Table::Log, log_key(self.shard, index));
        }
        batch.delete(Table::Hard, group_key(self.shard));
    }

    /// As [`Self::erase`], of a log that cannot be opened: whatever rows there are.
    pub fn erase_unopened(shard: ShardId, batch: &mut Batch) -> Result<(), EngineError> {
        let (first, end) = (log_key(shard, 0), log_key(ShardId(shard.0 + 1), 0));
        let rows = batch.view().scan(Table::Log, &first, &end)?;
        let rows: Vec<_> = rows.map(|row| Ok(row?.0)).collect::<Result<_, EngineError>>()?;
        rows.into_iter().for_each(|row| batch.delete(Table::Log, row));
        batch.delete(Table::Hard, group_key(shard));
        Ok(())
    }

    pub fn last(&self) -> u64 {
        self.truncated + self.entries.len() as u64
    }

    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Bytes of the entries that are kept.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The least index after which there are no more than `limit` bytes of entries.
    pub fn beyond(&self, limit: u64) -> u64 {
        let mut left = self.bytes;
        let is_over = |entry: &&Entry| {
            let goes = left > limit;
            left -= bytes_of(entry);
            goes
        };
        self.truncated + self.entries.iter().take_while(is_over).count() as u64
    }

    /// Appends, in place of entries of the same and later indexes.
    pub fn append(&mut self, entries: Vec<Entry>, batch: &mut Batch) {
        let Some(first) = entries.first().map(|entry| entry.index) else { return };
        assert!(first > self.truncated && first <= self.last() + 1, "{}: a gap in the log", self.shard);
        assert!(first > self.hard.commit || self.same_terms(&entries), "{}: a committed entry changes", self.shard);
        for index in first..=self.last() {
            batch.delete(Table::Log, log_key(self.shard, index));
        }
        let replaced = self.entries.split_off((first - self.truncated - 1) as usize);
        self.bytes -= replaced.iter().map(bytes_of).sum::<u64>();
        for entry in entries {
            let bytes = entry.write_to_bytes().expect("an entry encodes");
            batch.put(Table::Log, log_key(self.shard, entry.index), bytes.into());
            self.bytes += bytes_of(&entry);
            self.entries.push_back(entry);
        }
    }

    fn same_terms(&self, entries: &[Entry]) -> bool {
        let committed = entries.iter().filter(|entry| entry.index <= self.hard.commit);
        committed.into_iter().all(|entry| self.term(entry.index).is_ok_and(|term| term == entry.term))
    }

    pub fn set_hard(&mut self, hard: HardState, batch: &mut Batch) {
        assert!(hard.term >= self.hard.term && hard.commit >= self.hard.commit, "{}: hard state goes back", self.shard);
        self.hard = hard;
        self.write_hard(batch);
    }

    /// Term and vote of the hard state that was last given to a batch.
    pub fn vote(&self) -> (u64, ReplicaId) {
        (self.hard.term, ReplicaId(self.hard.vote))
    }

    /// raft-rs learnt that more is committed; written with whatever is applied because of it.
    pub fn set_commit(&mut self, commit: u64) {
        self.hard.commit = commit;
    }

    pub fn write_hard(&self, batch: &mut Batch) {
        let mut hard = self.hard.clone();
        if planted(Bug::ForgetVote) && hard.term > super::FIRST_INDEX {
            hard.term = super::FIRST_INDEX;
            hard.vote = 0;
        }
        write_hard(self.shard, &hard, batch);
    }

    pub fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    /// Forgets entries up to `index`, which is applied: by the same commit or one before, so that no disk lacks both.
    pub fn truncate(&mut self, index: u64, batch: &mut Batch) {
        assert!(index <= self.last(), "{}: truncated past the end", self.shard);
        self.truncated_term = self.term(index).expect("the entry is in the log");
        for old in self.truncated + 1..=index {
            batch.delete(Table::Log, log_key(self.shard, old));
            self.bytes -= self.entries.pop_front().map_or(0, |entry| bytes_of(&entry));
        }
        self.truncated = index;
    }

    /// A snapshot takes the place of the whole log.
    pub fn restart_from(&mut self, index: u64, term: u64, conf: ConfState, batch: &mut Batch) {
        for old in self.truncated + 1..=self.last() {
            batch.delete(Table::Log, log_key(self.shard, old));
        }
        self.entries.clear();
        self.bytes = 0;
        self.truncated = index;
        self.truncated_term = term;
        self.conf = conf;
        self.hard.commit = self.hard.commit.max(index);
        self.write_hard(batch);
    }
}

fn write_hard(shard: ShardId, hard: &HardState, batch: &mut Batch) {
    batch.put(Table::Hard, group_key(shard), hard.write_to_bytes().expect("a hard state encodes").into());
}

fn damaged(error: protobuf::ProtobufError) -> EngineError {
    EngineError::Damaged(error.to_string())
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.hard.clone(), conf_state: self.conf.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.truncated {
            return Err(Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last() + 1, "{}: asked for entries beyond the log", self.shard);
        let from = (low - self.truncated - 1) as usize;
        let to = (high - self.truncated - 1) as usize;
        let mut entries: Vec<Entry> = self.entries.range(from..to).cloned().collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.truncated {
            return Ok(self.truncated_term);
        }
        if index < self.truncated {
            return Err(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.truncated - 1) as usize);
        entry.map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// A promise: the message that carries it is filled from the view of the next turn, which is no older.
    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let metadata = SnapshotMetadata {
            index: self.truncated,
            term: self.truncated_term,
            conf_state: SingularPtrField::some(self.conf.clone()),
            ..Default::default()
        };
        let mut promise = Snapshot::default();
        promise.set_metadata(metadata);
        Ok(promise)
    }
}
