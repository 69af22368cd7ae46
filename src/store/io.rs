//! What goes into a store and what comes out.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    config::Config,
    raft::GroupConfig,
    store::Origin,
    types::{Fact, ReplicaId, ShardId, ShardRoute, StoreId},
    wire::{
        DataReply, DataRequest, MembershipAsk, RaftMessage, Removal, ShardBeat, ShardOrder, SnapshotAck, SnapshotChunk,
        StoreOrders,
    },
};

/// The way back to whoever asked; the driver keeps what it stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Ticket(pub u64);

/// Something that happened to a store.
#[derive(Debug)]
pub enum Input {
    /// A tick of raft's clock.
    Tick,
    /// A raft message.
    Raft(RaftMessage),
    /// Rows of a snapshot.
    Chunk(Box<SnapshotChunk>),
    /// The answer to a chunk.
    ChunkAck(SnapshotAck),
    /// A request. `origin` is `None` for this node's own router, which never doubles.
    Request {
        /// Where the answer goes.
        ticket: Ticket,
        /// Which envelope brought it.
        origin: Option<Origin>,
        /// What is wanted.
        request: DataRequest,
    },
    /// Prophet answered the store's heartbeat.
    StoreOrders(StoreOrders),
    /// Prophet answered the shards' heartbeats.
    ShardOrders(Vec<ShardOrder>),
    /// Prophet's ids for a split that this store asked for; `None` if it has no answer.
    SplitIds {
        /// The shard that is to be split.
        shard: ShardId,
        /// The new shard and its replicas.
        ids: Option<(ShardId, Vec<ReplicaId>)>,
    },
    /// A peer, or Prophet, says that a replica is no member any more.
    Removed(Removal),
    /// That store lives.
    Alive {
        /// That store.
        store: StoreId,
        /// Shards whose replica there is out of service.
        without: Vec<ShardId>,
    },
    /// Prophet wants to hear of every shard that is led here.
    TellAll,
    /// Nothing gets to that store just now.
    Unreachable(StoreId),
    /// The disk's capacity and free space in bytes.
    Space {
        /// All of it.
        capacity: u64,
        /// What is free.
        available: u64,
    },
    /// The node stops: hand leaderships over.
    HandOver,
}

/// Something that a store wants said.
#[derive(Debug, PartialEq)]
pub enum Send {
    /// A raft message to another store.
    Raft {
        /// That store.
        to: StoreId,
        /// Whether it goes over the bulk channel.
        bulk: bool,
        /// The message.
        message: RaftMessage,
    },
    /// Rows of a snapshot.
    Chunk {
        /// That store.
        to: StoreId,
        /// The rows.
        chunk: Box<SnapshotChunk>,
    },
    /// The answer to a chunk.
    ChunkAck {
        /// That store.
        to: StoreId,
        /// The answer.
        ack: SnapshotAck,
    },
    /// An answer.
    Reply {
        /// Whose.
        ticket: Ticket,
        /// The answer.
        reply: DataReply,
    },
    /// A doubled request: its ticket will not be used. The first copy's answer is the one that counts.
    Forget {
        /// The double's ticket.
        ticket: Ticket,
    },
    /// The store's heartbeat is due; the driver knows addresses and labels.
    StoreBeat {
        /// Replicas here.
        shard_count: u64,
        /// Replicas here that lead.
        leader_count: u64,
        /// Replicas here that are out of service; no id where it cannot be read.
        quarantined: Vec<(ShardId, ReplicaId)>,
        /// Bytes of the disk.
        capacity: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// Heartbeats of the shards that are led here.
    ShardBeats(Vec<ShardBeat>),
    /// Tells a replica that it was removed.
    Removed {
        /// Its store.
        to: StoreId,
        /// What it is told.
        removal: Removal,
    },
    /// Tells a store that this one lives.
    Alive {
        /// That store.
        to: StoreId,
        /// Shards that it has too, and whose replica here is out of service.
        without: Vec<ShardId>,
    },
    /// Asks Prophet whether these replicas are still members.
    AskMembership(Vec<MembershipAsk>),
    /// Asks Prophet for the ids of a split.
    AskSplitIds {
        /// The shard that is to be split.
        shard: ShardId,
        /// Replicas that the new shard will have.
        replicas: u32,
    },
    /// What the node shows of its replicas has changed.
    Status(StatusChange),
}

/// What a turn of a store gives.
#[derive(Debug, Default)]
pub struct StoreReady {
    /// To send at once.
    pub now: Vec<Send>,
    /// To send once the batch is committed.
    pub after: Vec<Send>,
    /// What happened.
    pub facts: Vec<Fact>,
}

/// How a store behaves, from the configuration.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Of each group.
    pub group: GroupConfig,
    /// Between heartbeats of the store.
    pub store_beat: Duration,
    /// Between heartbeats of the shards.
    pub shard_beat: Duration,
    /// Bytes of a key at the most.
    pub key_bytes_max: usize,
    /// Bytes of a value at the most.
    pub value_bytes_max: usize,
    /// Requests that may wait at once.
    pub requests_max: usize,
    /// Free bytes of the disk below which writes are refused; below half of it, entries of leaders too.
    pub disk_reserve: u64,
    /// Bytes of keys and values over which a shard is split.
    pub shard_capacity: u64,
    /// Bytes of rows in one chunk of a snapshot, about.
    pub snapshot_chunk_bytes: u64,
    /// Chunks that are under way from this store at once.
    pub snapshot_chunks_max: u32,
    /// Between two times that replicas ask Prophet whether they are still members.
    pub membership_check: Duration,
}

impl StoreConfig {
    /// As the configuration file says.
    pub fn new(config: &Config, shard_capacity: u64) -> StoreConfig {
        StoreConfig {
            group: GroupConfig::new(config),
            store_beat: config.store_heartbeat_effective(),
            shard_beat: config.shard_heartbeat_effective(),
            key_bytes_max: config.limits.key_bytes_max,
            value_bytes_max: config.limits.value_bytes_max,
            requests_max: config.limits.requests_in_flight_max * 8,
            disk_reserve: config.limits.disk_reserve,
            shard_capacity,
            snapshot_chunk_bytes: config.snapshot.snap_chunk_size,
            snapshot_chunks_max: config.snapshot.max_concurrency_snap_chunks as u32,
            membership_check: config.replication.shard_state_check_duration,
        }
    }
}

/// What changed of what a node shows of its replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusChange {
    /// Replicas that are new, or whose descriptor, leader or term is another one.
    pub changed: Vec<ShardRoute>,
    /// Shards that have no replica here any more.
    pub gone: Vec<ShardId>,
    /// All replicas that were stopped, and why, if that changed.
    pub quarantined: Option<BTreeMap<ShardId, String>>,
}

/// What a node shows of its replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// The store.
    pub store: StoreId,
    /// Its replicas' shards with the leader that each knows.
    pub routes: Vec<ShardRoute>,
    /// Replicas that were stopped, and why.
    pub quarantined: BTreeMap<ShardId, String>,
}
