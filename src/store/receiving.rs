//! Snapshots that come to this store: chunk by chunk, put aside under a number of their own ([`Table::Stage`]) until the
//! last one is there. Nothing of the replica changes meanwhile.
//!
//! Invariants:
//! - from the first chunk on the keys of a snapshot are reserved, so that no other replica takes them;
//! - a chunk is acknowledged when it is durable, and chunks are put aside in their order: what comes early waits, bounded;
//! - what was put aside is of use in this life of the store only: after a restart, or when a snapshot is given up, it is
//!   removed in slices, and the sender begins anew.

use std::collections::{BTreeMap, BTreeSet};

use protobuf::Message as _;
use raft::eraftpb::Message;

use super::{
    Send, Store, StoreReady,
    budget::Budget,
    quarantine::{contained, contained_rows},
};
use crate::{
    engine::{Batch, EngineError, Table, View, stage_key},
    raft::{Group, SnapshotUse},
    shard::{KvMachine, Sums},
    types::{Fact, ShardId},
    wire::{RaftMessage, SnapshotAck, SnapshotChunk, SnapshotId, SnapshotState},
};

/// Snapshots that are received at once; more are refused, and sent again later.
const RECEIVING_MAX: usize = 64;
/// How far ahead of what is put aside chunks of one snapshot may wait; others are dropped, and sent again.
const WAITING_MAX: u32 = 64;
/// Election time-outs after which a snapshot of which nothing more comes is given up: longer than its sender waits.
const PATIENCE_ELECTIONS: u64 = 8;

/// A snapshot that comes in.
pub(super) struct Receiving {
    /// raft's message, to be stepped when all rows are in place.
    pub head: RaftMessage,
    pub id: SnapshotId,
    term: u64,
    /// Under which number its rows are put aside.
    pub stage: u64,
    next: u32,
    /// By number, from `next` on.
    waiting: BTreeMap<u32, SnapshotChunk>,
    /// Of all rows that were put aside.
    pub sums: Sums,
    silent_ticks: u64,
}

impl Receiving {
    fn is_of(&self, chunk: &SnapshotChunk) -> bool {
        self.id == chunk.id && self.head.from == chunk.head.from
    }

    /// Whether the chunk's snapshot was begun later than this one: by a leader of a later term, or by the same one.
    fn is_older_than(&self, chunk: &SnapshotChunk) -> bool {
        (self.term, self.id) < (term(&chunk.head), chunk.id)
    }

    /// Takes a chunk that is not put aside yet, also one that has overtaken others.
    fn take(&mut self, chunk: SnapshotChunk) {
        self.silent_ticks = 0;
        if chunk.number.checked_sub(self.next).is_some_and(|ahead| ahead < WAITING_MAX) {
            self.waiting.insert(chunk.number, chunk);
        }
    }

    fn has_next(&self) -> bool {
        self.waiting.contains_key(&self.next)
    }
}

fn term(head: &RaftMessage) -> u64 {
    Message::parse_from_bytes(&head.message).map_or(0, |message| message.term)
}

pub(super) fn ack(head: &RaftMessage, id: SnapshotId, state: SnapshotState) -> Send {
    Send::ChunkAck { to: head.from.store, ack: SnapshotAck { shard: head.shard, replica: head.to, id, state } }
}

/// The snapshots that come in, and what is left of those that were given up.
#[derive(Default)]
pub(super) struct Receivings {
    by_shard: BTreeMap<ShardId, Receiving>,
    /// Numbers under which rows are put aside that nobody needs.
    stale: BTreeSet<u64>,
    stages: u64,
}

impl Receivings {
    /// What an earlier life left is of no use, but for what is `installing`.
    pub fn open(view: &View, installing: &BTreeSet<u64>) -> Result<Receivings, EngineError> {
        let mut receivings = Receivings::default();
        while let Some(row) = view.scan(Table::Stage, &stage_key(receivings.stages + 1, &[]), &[])?.next() {
            let (key, _) = row?;
            let number = key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            receivings.stages = number.ok_or_else(|| EngineError::Damaged(format!("the row {key:?} of the stages")))?;
            if !installing.contains(&receivings.stages) {
                receivings.stale.insert(receivings.stages);
            }
        }
        receivings.stages = receivings.stages.max(installing.last().copied().unwrap_or(0));
        Ok(receivings)
    }

    /// Whether there are rows to be put aside or removed.
    pub fn has_work(&self) -> bool {
        !self.stale.is_empty() || self.by_shard.values().any(Receiving::has_next)
    }

    /// What was put aside under this number is of no use any more.
    pub fn discard(&mut self, stage: u64) {
        self.stale.insert(stage);
    }
}

impl Store {
    /// A chunk for a replica that is here.
    pub(super) fn take_chunk(&mut self, chunk: SnapshotChunk) {
        let shard = chunk.head.shard;
        // The end of an installation is answered when it is there.
        if self.installing.contains_key(&shard) {
            return;
        }
        match self.with_group(shard, |group| group.judge_snapshot(&chunk.head)) {
            Some(SnapshotUse::Needed) => {}
            Some(SnapshotUse::Useless) => return self.answer_chunk(&chunk, SnapshotState::Done),
            Some(SnapshotUse::Outdated) | None => return self.answer_chunk(&chunk, SnapshotState::Refused),
        }
        match self.receiving.by_shard.get_mut(&shard) {
            Some(current) if current.is_of(&chunk) => {
                let (again, has) = (chunk.number < current.next, SnapshotState::Has(current.next));
                if again {
                    self.early.now.push(ack(&current.head, current.id, has));
                }
                current.take(chunk);
            }
            Some(current) if !current.is_older_than(&chunk) => {}
            _ if chunk.number == 0 => self.begin_to_receive(chunk),
            _ => self.answer_chunk(&chunk, SnapshotState::Refused),
        }
    }

    fn begin_to_receive(&mut self, chunk: SnapshotChunk) {
        let shard = chunk.head.shard;
        self.stop_receiving(shard);
        let Some(range) = chunk.head.range.clone() else { return };
        if !self.has_room(shard, &range) || self.receiving.by_shard.len() >= RECEIVING_MAX {
            return self.answer_chunk(&chunk, SnapshotState::Refused);
        }
        self.reserved.insert(shard, range);
        self.receiving.stages += 1;
        let receiving = Receiving {
            head: chunk.head.clone(),
            id: chunk.id,
            term: term(&chunk.head),
            stage: self.receiving.stages,
            next: 0,
            waiting: BTreeMap::from([(0, chunk)]),
            sums: Sums::default(),
            silent_ticks: 0,
        };
        self.receiving.by_shard.insert(shard, receiving);
    }

    /// A snapshot is given up, if one is coming in.
    pub(super) fn stop_receiving(&mut self, shard: ShardId) {
        if let Some(receiving) = self.receiving.by_shard.remove(&shard) {
            self.reserved.remove(&shard);
            self.receiving.discard(receiving.stage);
        }
    }

    pub(super) fn answer_chunk(&mut self, chunk: &SnapshotChunk, state: SnapshotState) {
        self.early.now.push(ack(&chunk.head, chunk.id, state));
    }

    pub(super) fn tick_receiving(&mut self) {
        let patience = PATIENCE_ELECTIONS * self.config.group.election_ticks as u64;
        let mut silent = Vec::new();
        for (shard, receiving) in &mut self.receiving.by_shard {
            receiving.silent_ticks += 1;
            if receiving.silent_ticks > patience {
                silent.push(*shard);
            }
        }
        silent.into_iter().for_each(|shard| self.stop_receiving(shard));
    }

    /// Puts chunks aside, as many as the slice allows; a snapshot that is complete goes on to be installed.
    pub(super) fn work_on_receiving(&mut self, batch: &mut Batch, out: &mut StoreReady) -> Result<(), EngineError> {
        let mut budget = Budget::of_bytes(self.config.snapshot_chunk_bytes);
        let have_chunks = self.receiving.by_shard.iter().filter(|(_, receiving)| receiving.has_next());
        for shard in have_chunks.map(|(shard, _)| *shard).collect::<Vec<_>>() {
            while !budget.is_over() {
                let receiving = self.receiving.by_shard.get_mut(&shard).expect("listed just now");
                let Some(chunk) = receiving.waiting.remove(&receiving.next) else { break };
                let staged = match contained(|| stage(receiving, &chunk, batch, &mut budget)) {
                    Ok(staged) => staged,
                    Err(why) => {
                        self.quarantine(shard, why);
                        break;
                    }
                };
                if let Err(error) = staged {
                    tracing::warn!(%shard, %error, "a snapshot is given up");
                    self.stop_receiving(shard);
                    self.early.after.push(ack(&chunk.head, chunk.id, SnapshotState::Refused));
                    break;
                }
                let replica = chunk.head.to.replica;
                out.facts.push(Fact::Staged { shard, replica, chunk: chunk.number });
                self.early.after.push(ack(&chunk.head, chunk.id, SnapshotState::Has(chunk.number + 1)));
                if chunk.is_last {
                    let receiving = self.receiving.by_shard.remove(&shard).expect("listed just now");
                    self.begin_to_install(receiving, batch, out)?;
                    break;
                }
            }
        }
        self.sweep_stages(batch, &mut budget)
    }

    /// Removes a slice of what was put aside in vain.
    fn sweep_stages(&mut self, batch: &mut Batch, budget: &mut Budget) -> Result<(), EngineError> {
        while let Some(stage) = self.receiving.stale.first().copied().filter(|_| !budget.is_over()) {
            let (start, end) = (stage_key(stage, &[]), stage_key(stage + 1, &[]));
            if super::installing::clear(Table::Stage, &start, &end, batch, budget)?.is_none() {
                self.receiving.stale.remove(&stage);
            }
        }
        Ok(())
    }

    /// Whether what was received adds up to what its sender said, and the replica still lacks it.
    pub(super) fn is_complete(&mut self, receiving: &Receiving, view: &View) -> Result<bool, EngineError> {
        let shard = receiving.head.shard;
        let counted = contained_rows(|| Group::<KvMachine>::machine_of(&receiving.head, view))?;
        if counted.as_ref().map(KvMachine::sums) != Ok(receiving.sums) {
            let error = counted.err();
            tracing::error!(%shard, error, "the rows of a snapshot are not those that its sender counted");
            return Ok(false);
        }
        let found = self.with_group(shard, |group| group.judge_snapshot(&receiving.head));
        Ok(found == Some(SnapshotUse::Needed) && !self.dying.contains(&shard))
    }
}

fn stage(
    receiving: &mut Receiving,
    chunk: &SnapshotChunk,
    batch: &mut Batch,
    budget: &mut Budget,
) -> Result<(), EngineError> {
    for (key, value) in chunk.rows()? {
        receiving.sums = receiving.sums.plus(Sums::of(&key, &value));
        budget.take(key.len() + value.len());
        batch.put(Table::Stage, stage_key(receiving.stage, &key), value);
    }
    receiving.next = chunk.number + 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Boot, Epoch, Peer, PeerRole, ReplicaId, StoreId};

    const ID: SnapshotId = SnapshotId { boot: Boot(1), number: 1 };

    fn head() -> RaftMessage {
        let peer = |replica| Peer { replica: ReplicaId(replica), store: StoreId(replica), role: PeerRole::Voter };
        let (shard, epoch) = (ShardId(7), Epoch::NONE);
        RaftMessage { shard, from: peer(1), to: peer(2), epoch, range: None, quiet: None, message: Default::default() }
    }

    #[test]
    fn chunks_wait_in_whatever_order_they_come_and_memory_is_bounded() {
        let (waiting, sums) = (BTreeMap::new(), Sums::default());
        let mut receiving =
            Receiving { head: head(), id: ID, term: 5, stage: 1, next: 10, waiting, sums, silent_ticks: 3 };
        for number in (11..4 * WAITING_MAX).rev().chain(0..10) {
            receiving.take(SnapshotChunk::new(ID, number, false, head(), &[]));
        }
        assert!(receiving.waiting.keys().copied().eq(11..10 + WAITING_MAX));
        assert!(!receiving.has_next() && receiving.silent_ticks == 0);
        receiving.take(SnapshotChunk::new(ID, 10, false, head(), &[]));
        assert!(receiving.has_next() && receiving.waiting.len() == WAITING_MAX as usize);
    }
}
