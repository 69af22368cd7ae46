//! The only room that knows raft-rs. A [`Group`] is one replica of one raft group with the [`Machine`] that its log
//! drives: shards use it, and Prophet's metadata uses it, so there is one place where consensus can be wrong.
//!
//! Turned by hand: `step` and `tick` take input, [`Group::ready`] writes into a batch and says what to send,
//! [`Group::advance`] says that the batch is committed.
//!
//! Invariants:
//! - nothing that depends on a write is sent before that write is durable; only a leader's appends leave early
//!   (Raft thesis 10.2.1). What is applied of committed entries is a write that nothing depends on: the log has it;
//! - data, applied index, membership and rolling hash of a group change in one batch;
//! - who asked is always told: at the latest when role or term changes;
//! - a group starts from a truncated log and a durable membership, so a new replica starts from a snapshot and never
//!   replays a membership that it does not know.

mod group;
mod log;
mod pending;
mod row;

use std::{fmt::Debug, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

pub use group::{Group, GroupReady, Outgoing, SnapshotUse, Status};
pub use row::GroupRow;

use crate::{
    engine::{Batch, EngineError, View},
    types::{Epoch, KeyRange, Peer, ReplicaId},
};

/// Index and term at which the log of a new group is truncated. Above zero, so that no replica can be brought up
/// from an empty log by entries alone (TiKV's `RAFT_INIT_LOG_INDEX`).
pub const FIRST_INDEX: u64 = 5;

/// What a group's log drives.
pub trait Machine: Sized + Send + 'static {
    /// What is replicated.
    type Command: Serialize + DeserializeOwned + Debug;
    /// What applying a command gives to whoever proposed it here.
    type Reply: Debug;
    /// What applying a command means to whoever holds the replica, on every replica.
    type Event: Debug;

    /// Reads the machine from its row and its data.
    fn open(row: &[u8], view: &View) -> Result<Self, EngineError>;

    /// The row that [`Self::open`] reads. Small: it is written with each apply.
    fn row(&self) -> Vec<u8>;

    /// Applies a committed command. Deterministic: no time, no dice, nothing but the command and what is in `batch`.
    fn apply(&mut self, command: Self::Command, batch: &mut Batch) -> Result<Self::Reply, EngineError>;

    /// How the membership is to change, if this command changes it.
    fn membership(command: &Self::Command) -> Option<MemberChange>;

    /// Whether applying a membership command changed the membership, or it was void.
    fn accepted(reply: &Self::Reply) -> bool;

    /// Where a replica of this group lives.
    fn peer(&self, replica: ReplicaId) -> Option<Peer>;

    /// Which membership and range this is.
    fn epoch(&self) -> Epoch;

    /// Its keys; `None` where there is only one machine of its kind.
    fn range(&self) -> Option<&KeyRange>;

    /// Takes out what happened since it was asked last.
    fn take_events(&mut self) -> Vec<Self::Event>;

    /// What a snapshot says of the machine as of `view`, in which its row is `row`: all of it, or the row alone where the
    /// data go another way.
    fn snapshot(row: &[u8], view: &View) -> Result<Vec<u8>, EngineError>;

    /// Becomes what [`Self::snapshot`] wrote. Data that went another way are in place.
    fn install(snapshot: &[u8], batch: &mut Batch) -> Result<Self, EngineError>;

    /// A hash of the data and the descriptor: equal on all replicas at the same index.
    fn data_hash(&self) -> u64;
}

/// A change of a group's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A peer with the role that it is to have.
    Put(Peer),
    /// A replica that is to go.
    Remove(ReplicaId),
}

/// How a proposal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<R> {
    /// Committed, which is durable on a majority, and applied.
    Applied(R),
    /// It did not happen and never will.
    Refused(Refused),
    /// It is in a log, and leadership was lost: it may or may not be committed.
    Unknown,
}

/// Why a proposal or a read was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This replica does not lead.
    #[error("not the leader")]
    NotLeader,
    /// Too many are waiting, by number or by bytes.
    #[error("too many proposals or reads are waiting")]
    Overloaded,
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// A leader does not remove itself: it would have to tell the others of it when it is no more.
    #[error("the leader does not remove itself")]
    IsLeader,
    /// Another membership change is under way.
    #[error("another membership change is under way")]
    ChangePending,
    /// One command is larger than `max-entry-bytes`.
    #[error("larger than max-entry-bytes")]
    TooLarge,
}

/// How groups behave, from the configuration.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader before a follower campaigns; each draws from once to twice this.
    pub election_ticks: usize,
    /// Bytes of entries in one append message.
    pub max_size_per_msg: u64,
    /// Append messages under way to one follower.
    pub max_inflight_msgs: usize,
    /// Bytes of client commands that are batched into one entry.
    pub batch_bytes_max: u64,
    /// Bytes of one entry at the most.
    pub max_entry_bytes: u64,
    /// Entries that are kept behind the applied index.
    pub compact_threshold: u64,
    /// Bytes of entries over which fewer are kept.
    pub compact_bytes: u64,
    /// Proposals that may wait in a group.
    pub proposals_max: usize,
    /// Reads that may wait in a group.
    pub reads_max: usize,
    /// Ticks without anything to do after which a group goes quiet; zero is never.
    pub quiet_after_ticks: u64,
    /// A tick in time: what silence is told in.
    pub tick: Duration,
}

impl GroupConfig {
    /// As the configuration file says.
    pub fn new(config: &crate::config::Config) -> GroupConfig {
        GroupConfig {
            heartbeat_ticks: config.raft.heartbeat_ticks,
            election_ticks: config.raft.election_timeout_ticks,
            max_size_per_msg: config.raft.max_size_per_msg,
            max_inflight_msgs: config.raft.max_inflight_msgs,
            batch_bytes_max: config.raft.batch_bytes_max,
            max_entry_bytes: config.raft.max_entry_bytes,
            compact_threshold: config.raft.raft_log.compact_threshold,
            compact_bytes: config.raft.raft_log.compact_bytes,
            proposals_max: config.limits.proposals_pending_max,
            reads_max: config.limits.reads_pending_max,
            quiet_after_ticks: config.raft.quiet_after_ticks,
            tick: config.raft.tick_interval,
        }
    }
}
