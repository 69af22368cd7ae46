//! Snapshots that leave this store. A group's leader promises one; from the view of that turn its rows are read chunk by
//! chunk, as the receiver acknowledges them.
//!
//! Invariants:
//! - all chunks of a snapshot are read from one view, the one that its index is of;
//! - at most `max-concurrency-snap-chunks` chunks of all snapshots together are under way;
//! - a view is held only while its receiver makes progress, and not for ever: then the snapshot is given up and raft begins
//!   a new one.

use std::collections::BTreeMap;

use super::{Send, Store, StoreReady, quarantine::contained_rows};
use crate::{
    engine::{EngineError, Table, View},
    raft::Outgoing,
    types::{KeyRange, ReplicaId, ShardId},
    wire::{RaftMessage, SnapshotAck, SnapshotChunk, SnapshotId, SnapshotRow, SnapshotState},
};

/// Snapshots that are sent at once; more wait until raft asks for them again. Each holds a view.
const SENDING_MAX: usize = 64;
/// Ticks that a snapshot may take in all, half an hour by default: a view that is held keeps the file from reusing pages.
const SENDING_TICKS_MAX: u64 = 18_000;

/// A snapshot on its way.
struct Job {
    id: SnapshotId,
    head: RaftMessage,
    view: View,
    end: Vec<u8>,
    /// Where each chunk begins, from the first that is not acknowledged to the next one to be sent.
    starts: BTreeMap<u32, Vec<u8>>,
    acknowledged: u32,
    next: u32,
    /// How many there are, once the last one was read.
    total: Option<u32>,
    ticks: u64,
    /// Since the receiver made progress, or chunks were sent again.
    silent_ticks: u64,
    is_stalled: bool,
}

impl Job {
    fn under_way(&self) -> u32 {
        self.next - self.acknowledged
    }

    /// What it may have under way by itself: no more than a chunk where the receiver says nothing, or has not begun. It
    /// refuses a snapshot whose first chunk it does not have.
    fn may_send(&self, most: u32) -> bool {
        let window = if self.is_stalled || self.acknowledged == 0 { 1 } else { most.div_ceil(2) };
        self.total.is_none_or(|total| self.next < total) && self.under_way() < window
    }

    /// Goes back to the first chunk that is not acknowledged; to the last one, if only the end of it all is not.
    fn resend(&mut self) {
        (self.is_stalled, self.silent_ticks) = (true, 0);
        self.next = self.acknowledged;
        if Some(self.next) == self.total {
            self.next -= 1;
            self.acknowledged -= 1;
        }
    }

    /// Whether all chunks before `number` were sent, now or before something was sent again.
    fn has_sent(&self, number: u32) -> bool {
        self.starts.contains_key(&number) || self.total == Some(number)
    }

    /// The receiver has all chunks before `number`. The last one may have to be sent again to hear of the end.
    fn acknowledge(&mut self, number: u32) {
        let last = self.total.map_or(number, |total| total - 1);
        self.starts.retain(|start, _| *start >= number.min(last));
        (self.acknowledged, self.silent_ticks, self.is_stalled) = (number, 0, false);
        // More may have arrived than was heard of when chunks were sent again.
        self.next = self.next.max(number);
    }

    /// Reads the next chunk.
    fn read(&mut self, bytes_max: u64) -> Result<SnapshotChunk, EngineError> {
        let start = self.starts[&self.next].clone();
        let (rows, rest) = read(&self.view, &KeyRange { start, end: self.end.clone() }, bytes_max)?;
        let chunk = SnapshotChunk::new(self.id, self.next, rest.is_none(), self.head.clone(), &rows);
        self.next += 1;
        match rest {
            Some(start) => drop(self.starts.insert(self.next, start)),
            None => self.total = Some(self.next),
        }
        Ok(chunk)
    }
}

/// Rows of about `bytes_max` bytes, one at least, and where the next ones begin.
fn read(view: &View, range: &KeyRange, bytes_max: u64) -> Result<(Vec<SnapshotRow>, Option<Vec<u8>>), EngineError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in view.scan(Table::Data, &range.start, &range.end)? {
        let (key, value) = row?;
        if bytes >= bytes_max {
            return Ok((rows, Some(key)));
        }
        bytes += (key.len() + value.len()) as u64;
        rows.push((key, value));
    }
    Ok((rows, None))
}

/// The snapshots that leave this store.
#[derive(Default)]
pub(super) struct Sending {
    jobs: BTreeMap<(ShardId, ReplicaId), Job>,
    begun: u64,
}

impl Sending {
    fn room(&self, most: u32) -> u32 {
        most.saturating_sub(self.jobs.values().map(Job::under_way).sum())
    }

    /// Whether a chunk may leave now.
    pub fn has_work(&self, chunks_max: u32) -> bool {
        self.jobs.values().any(|job| job.may_send(chunks_max)) && self.room(chunks_max) > 0
    }
}

impl Store {
    /// A leader has promised a snapshot as of `view`. An earlier one to the same replica ends.
    pub(super) fn send_snapshot(&mut self, promise: Outgoing, view: &View) {
        let head = promise.message;
        let to = (head.shard, head.to.replica);
        let Some(range) = head.range.clone() else { return };
        if self.sending.jobs.len() >= SENDING_MAX && !self.sending.jobs.contains_key(&to) {
            return self.end_snapshot(to, false);
        }
        self.sending.begun += 1;
        let id = SnapshotId { boot: self.boot, number: self.sending.begun };
        let job = Job {
            id,
            head,
            view: view.clone(),
            end: range.end,
            starts: BTreeMap::from([(0, range.start)]),
            acknowledged: 0,
            next: 0,
            total: None,
            ticks: 0,
            silent_ticks: 0,
            is_stalled: false,
        };
        self.sending.jobs.insert(to, job);
    }

    /// Reads and sends what may be under way: about one chunk's bytes a turn.
    pub(super) fn work_on_sending(&mut self, out: &mut StoreReady) -> Result<(), EngineError> {
        let (most, chunk_bytes) = (self.config.snapshot_chunks_max, self.config.snapshot_chunk_bytes);
        let mut room = self.sending.room(most);
        let (mut bytes, mut broken) = (0, Vec::new());
        for ((shard, _), job) in &mut self.sending.jobs {
            if room == 0 || bytes >= chunk_bytes {
                break;
            }
            if !job.may_send(most) {
                continue;
            }
            match contained_rows(|| job.read(chunk_bytes))? {
                Ok(chunk) => {
                    bytes += chunk.bytes();
                    room -= 1;
                    out.now.push(Send::Chunk { to: job.head.to.store, chunk: Box::new(chunk) });
                }
                Err(why) => broken.push((*shard, why)),
            }
        }
        self.quarantine_all(broken);
        Ok(())
    }

    /// Nobody here leads this shard any more.
    pub(super) fn stop_sending(&mut self, shard: ShardId) {
        self.sending.jobs.retain(|(other, _), _| *other != shard);
    }

    /// The receiver of a chunk said how far it is.
    pub(super) fn chunk_ack(&mut self, ack: SnapshotAck) {
        let to = (ack.shard, ack.replica.replica);
        let Some(job) = self.sending.jobs.get_mut(&to).filter(|job| job.id == ack.id) else { return };
        match ack.state {
            SnapshotState::Has(number) if number > job.acknowledged && job.has_sent(number) => {
                job.acknowledge(number);
                self.with_group(ack.shard, |group| group.snapshot_moves(ack.replica.replica));
            }
            SnapshotState::Has(_) => {}
            SnapshotState::Done => self.end_snapshot(to, true),
            SnapshotState::Refused => self.end_snapshot(to, false),
        }
    }

    fn end_snapshot(&mut self, (shard, replica): (ShardId, ReplicaId), has_arrived: bool) {
        self.sending.jobs.remove(&(shard, replica));
        self.with_group(shard, |group| group.snapshot_ended(replica, has_arrived));
        self.touch(shard);
    }

    /// Gives up what nobody waits for any more, and sends again what was not acknowledged for an election time-out.
    pub(super) fn tick_sending(&mut self) {
        let resend_after = self.config.group.election_ticks as u64;
        let groups = &self.groups;
        self.sending
            .jobs
            .retain(|(shard, replica), _| groups.get(shard).is_some_and(|group| group.is_sending_snapshot(*replica)));
        let mut late = Vec::new();
        for (to, job) in &mut self.sending.jobs {
            job.ticks += 1;
            job.silent_ticks += 1;
            if job.silent_ticks >= resend_after {
                job.resend();
            }
            if job.ticks > SENDING_TICKS_MAX {
                late.push(*to);
            }
        }
        late.into_iter().for_each(|to| self.end_snapshot(to, false));
    }
}
