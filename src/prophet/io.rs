//! What goes into Prophet and what comes out.

use std::time::Duration;

use crate::{
    config::Config,
    raft::GroupConfig,
    types::{ClusterId, Fact, NodeToken, ReplicaId},
    wire::{JoinReply, JoinRequest, MemberInfo, ProphetReply, ProphetRequest, RaftMessage},
};

/// The way back to whoever asked; the driver keeps what it stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Ticket(pub u64);

/// Something that happened to a Prophet member.
#[derive(Debug)]
pub enum Input {
    /// A tick of raft's clock.
    Tick,
    /// A raft message from another member.
    Raft {
        /// The sender, as far as it knows itself.
        from: Option<Box<MemberInfo>>,
        /// The message.
        message: RaftMessage,
    },
    /// A question of a store's or a router's.
    Request {
        /// Where the answer goes.
        ticket: Ticket,
        /// The asking data folder, as in the hello of its connection.
        node: NodeToken,
        /// The question.
        request: ProphetRequest,
    },
    /// A node wants to become a member.
    Join {
        /// Where the answer goes.
        ticket: Ticket,
        /// What it says of itself.
        request: JoinRequest,
    },
    /// The node stops: hand leadership over.
    HandOver,
}

/// Something that Prophet wants said.
#[derive(Debug, PartialEq)]
pub enum Send {
    /// A raft message to another member.
    Raft {
        /// Its peer address.
        address: String,
        /// This member, if it knows itself.
        from: Option<Box<MemberInfo>>,
        /// The message.
        message: RaftMessage,
    },
    /// An answer.
    Reply {
        /// Whose.
        ticket: Ticket,
        /// The answer.
        reply: ProphetReply,
    },
    /// An answer to a join.
    JoinReply {
        /// Whose.
        ticket: Ticket,
        /// The answer.
        reply: JoinReply,
    },
}

/// What a turn of Prophet gives.
#[derive(Debug, Default)]
pub struct ProphetReady {
    /// To send at once.
    pub now: Vec<Send>,
    /// To send once the batch is committed.
    pub after: Vec<Send>,
    /// What happened.
    pub facts: Vec<Fact>,
}

/// How long a new replica may take to catch up at least: a snapshot of a large shard over a slow link.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(600);

/// How Prophet behaves, from the configuration.
#[derive(Clone, Debug)]
pub struct ProphetConfig {
    /// Of its group.
    pub group: GroupConfig,
    /// Replicas that each shard is to have.
    pub max_replicas: usize,
    /// Where the first shard is cut when it is created.
    pub initial_split_keys: Vec<Vec<u8>>,
    /// Between heartbeats of a store: three missed ones make a store no place for a new replica.
    pub store_beat: Duration,
    /// Between heartbeats of a shard.
    pub shard_beat: Duration,
    /// A replica that was silent for longer is replaced.
    pub max_peer_down_time: Duration,
    /// A store that was silent for longer is Down.
    pub max_store_down_time: Duration,
    /// Leaderships under way for balance's sake.
    pub leader_limit: u64,
    /// Replicas under way for balance's sake.
    pub shard_limit: u64,
    /// Repairs under way.
    pub repair_limit: u64,
    /// Replicas that are brought to one store at once.
    pub max_snapshots: u64,
    /// Replicas that may lag on one store.
    pub max_pending_peers: u64,
    /// A store fuller than this takes no replica. 0 to 1.
    pub low_space_ratio: f64,
    /// A store fuller than this takes one only where no other does. 0 to 1.
    pub high_space_ratio: f64,
    /// Labels by which replicas are kept apart, the first one counting most.
    pub location_labels: Vec<String>,
    /// Between writes of the stores' last heartbeats.
    pub save_interval: Duration,
    /// How long a new replica may take until it has caught up.
    pub catch_up_deadline: Duration,
}

impl ProphetConfig {
    /// As the configuration file says.
    pub fn new(config: &Config) -> ProphetConfig {
        let store_beat = config.store_heartbeat_effective();
        ProphetConfig {
            // It has heartbeats to answer all the time.
            group: GroupConfig { quiet_after_ticks: 0, ..GroupConfig::new(config) },
            max_replicas: config.prophet.replication.max_replicas,
            initial_split_keys: config
                .prophet
                .replication
                .initial_split_keys
                .iter()
                .map(|key| key.as_bytes().to_vec())
                .collect(),
            store_beat,
            save_interval: store_beat * 6,
            catch_up_deadline: CATCH_UP_DEADLINE.max(store_beat * 6),
            shard_beat: config.shard_heartbeat_effective(),
            max_peer_down_time: config.replication.max_peer_down_time,
            max_store_down_time: config.prophet.schedule.max_container_down_time,
            leader_limit: config.prophet.schedule.leader_schedule_limit,
            shard_limit: config.prophet.schedule.resource_schedule_limit,
            repair_limit: config.prophet.schedule.replica_schedule_limit,
            max_snapshots: config.prophet.schedule.max_snapshot_count,
            max_pending_peers: config.prophet.schedule.max_pending_peer_count,
            low_space_ratio: config.prophet.schedule.low_space_ratio,
            high_space_ratio: config.prophet.schedule.high_space_ratio,
            location_labels: config.prophet.replication.location_labels.clone(),
        }
    }

    /// How long a new leader waits for heartbeats at the most.
    pub fn patience(&self) -> Duration {
        self.store_beat.max(self.shard_beat) * 3
    }
}

/// What a node publishes about Prophet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProphetStatus {
    /// The cluster.
    pub cluster: ClusterId,
    /// The leading member, as far as known.
    pub leader: ReplicaId,
    /// All members.
    pub members: Vec<MemberInfo>,
}
