//! What stores and Prophet say to each other, and how a Prophet member joins.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{Boot, ClusterId, NodeToken, Peer, ReplicaId, Shard, ShardId, ShardRoute, StoreId};

use super::Removal;

/// What is known of a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// The store.
    pub id: StoreId,
    /// Its data folder.
    pub node: NodeToken,
    /// The highest boot that Prophet heard of.
    pub boot: Boot,
    /// Where its replicas are reached.
    pub raft_address: String,
    /// Where requests for it are sent.
    pub client_address: String,
    /// For placement.
    pub labels: Vec<(String, String)>,
    /// Bytes of its disk, or what the configuration says.
    pub capacity: u64,
    /// Bytes that are free.
    pub available: u64,
    /// Replicas that it holds.
    pub shard_count: u64,
    /// Replicas that lead.
    pub leader_count: u64,
    /// What Prophet has decided about it. A store does not know its own.
    pub state: StoreState,
    /// How long ago Prophet's leader heard of it, in milliseconds; `None` if not in this leader's time.
    pub heard_ms_ago: Option<u64>,
}

/// What Prophet has decided about a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreState {
    /// It is used.
    #[default]
    Up,
    /// It was silent for longer than `max-container-down-time`: what it had is rebuilt elsewhere.
    Down,
    /// An operator wants it emptied.
    Draining,
    /// It is gone for good, and may not come back.
    Removed,
}

impl StoreState {
    /// As people see it.
    pub fn name(self) -> &'static str {
        match self {
            StoreState::Up => "up",
            StoreState::Down => "down",
            StoreState::Draining => "draining",
            StoreState::Removed => "removed",
        }
    }
}

/// A member of Prophet's group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// The member.
    pub id: ReplicaId,
    /// Its data folder.
    pub node: NodeToken,
    /// Its configured name.
    pub name: String,
    /// `host:port` of Prophet's raft traffic.
    pub peer_address: String,
    /// URL of discovery.
    pub client_url: String,
    /// `host:port` of heartbeats and look-ups.
    pub rpc_address: String,
    /// False while it is a learner.
    pub voter: bool,
}

/// A store's heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreBeat {
    /// What the store says of itself; Prophet ignores `heard_ms_ago`.
    pub info: StoreInfo,
    /// Its replicas that are out of service, ascending; no id where it cannot be read.
    pub quarantined: Vec<(ShardId, ReplicaId)>,
}

/// A shard's heartbeat, by the replica that leads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardBeat {
    /// Descriptor, leader and term.
    pub route: ShardRoute,
    /// Replicas whose log is within reach of the leader's: a learner among them may be promoted.
    pub caught_up: Vec<ReplicaId>,
    /// Replicas that have not answered for some time, and for how long.
    pub down: Vec<(ReplicaId, Duration)>,
    /// Bytes of keys and values.
    pub size: u64,
}

impl ShardBeat {
    /// For how long the replica has not answered, if the leader misses it.
    pub fn silence(&self, replica: ReplicaId) -> Option<Duration> {
        self.down.iter().find(|(down, _)| *down == replica).map(|(_, silent)| *silent)
    }
}

/// A question to Prophet. Any member may be asked; one that does not lead says who does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProphetRequest {
    /// A new data folder asks for its store id. Asking again gives the same id.
    Register(StoreInfo),
    /// A store lives.
    StoreBeat(StoreBeat),
    /// Shards live: beats of shards that one store leads.
    ShardBeats {
        /// That store: it is told, too, what else is wanted of the shards that it leads.
        store: StoreId,
        /// The beats.
        beats: Vec<ShardBeat>,
    },
    /// All shards, stores and members.
    Cluster,
    /// A shard wants to be split: ids for the new one.
    SplitIds {
        /// The shard.
        shard: ShardId,
        /// Replicas that the new shard will have.
        replicas: u32,
    },
    /// Are these replicas still members?
    Membership(Vec<MembershipAsk>),
    /// What an operator wants.
    Admin(AdminRequest),
    /// Operators running and recent.
    Operators,
    /// Why is this shard as it is?
    Explain(ShardId),
}

/// An answer of Prophet's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProphetReply {
    /// This member does not lead; where the leader's `rpc_address` is, if known.
    NotLeader(Option<String>),
    /// The store's id for ever.
    Registered {
        /// The cluster.
        cluster: ClusterId,
        /// The store.
        store: StoreId,
    },
    /// To [`ProphetRequest::StoreBeat`].
    Store(StoreOrders),
    /// To [`ProphetRequest::ShardBeats`].
    Shards {
        /// What is wanted of the shards.
        orders: Vec<ShardOrder>,
        /// Whether this leader is new and wants to hear of all shards, quiet ones too.
        tell_all: bool,
    },
    /// To [`ProphetRequest::Cluster`].
    Cluster {
        /// The cluster.
        cluster: ClusterId,
        /// All shards.
        routes: Vec<ShardRoute>,
        /// All stores.
        stores: Vec<StoreInfo>,
        /// All Prophet members.
        members: Vec<MemberInfo>,
        /// The leading member.
        leader: ReplicaId,
        /// Replicas that are out of service on a store that lives.
        quarantined: Vec<ReplicaId>,
    },
    /// To [`ProphetRequest::SplitIds`]. Given once: never to be used for another split.
    SplitIds {
        /// The new shard.
        shard: ShardId,
        /// Its replicas.
        replicas: Vec<ReplicaId>,
    },
    /// To [`ProphetRequest::Membership`]: those that are not, and by which membership.
    Removed(Vec<Removal>),
    /// To [`ProphetRequest::Admin`]: it is decided, and begins.
    Accepted,
    /// To [`ProphetRequest::Operators`].
    Operators {
        /// Under way.
        running: Vec<OperatorInfo>,
        /// Ended, the latest first.
        recent: Vec<OperatorInfo>,
        /// About stores, the latest first.
        decisions: Vec<Decision>,
        /// How many this leader has begun since it leads.
        total: u64,
    },
    /// To [`ProphetRequest::Explain`]: sentences.
    Explained(Vec<String>),
    /// Not now: it may be asked again.
    Later(String),
    /// It did not happen, and why: the request contradicts what Prophet knows.
    Refused(String),
    /// It may have been decided, or may be yet.
    Unknown(String),
}

/// What a store learns from its heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreOrders {
    /// All stores and their addresses.
    pub stores: Vec<StoreInfo>,
    /// All Prophet members.
    pub members: Vec<MemberInfo>,
    /// Shards whose first replica this store is to create, because nobody has reported them yet.
    pub create: Vec<Shard>,
}

/// A step that Prophet wants of a shard's leader. Guarded by `conf_ver`: if the membership has changed since, the order
/// is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardOrder {
    /// The shard.
    pub shard: ShardId,
    /// The membership that it was decided on.
    pub conf_ver: u64,
    /// What to do.
    pub step: ShardStep,
}

/// One step of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardStep {
    /// A new learner, or a learner that becomes a voter.
    Put(Peer),
    /// A replica goes.
    Remove(Peer),
    /// This voter is to lead.
    Lead(Peer),
}

/// A replica asks whether it is still a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipAsk {
    /// Its shard.
    pub shard: ShardId,
    /// The replica; none if its store cannot read which one it has.
    pub replica: ReplicaId,
    /// The newest membership that is known to have it.
    pub conf_ver: u64,
}

/// What an operator asks of Prophet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// The shard is to be led from that store, which has a voter of it.
    TransferLeader(ShardId, StoreId),
    /// The shard gets a replica on that store.
    AddReplica(ShardId, StoreId),
    /// The shard's replica on that store goes.
    RemoveReplica(ShardId, StoreId),
    /// The store is emptied and gets nothing new.
    Drain(StoreId),
    /// It is used again.
    Undrain(StoreId),
    /// The store is gone for good; it must be empty.
    RemoveStore(StoreId),
}

/// An operator of Prophet's, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorInfo {
    /// The shard.
    pub shard: ShardId,
    /// What kind of change it is: `repair`, `balance-leaders`, `balance-shards`, `location`, `admin`.
    pub kind: String,
    /// Its steps in words.
    pub steps: Vec<String>,
    /// How many of them are done.
    pub done: u32,
    /// Why it was decided.
    pub reason: String,
    /// How it ended; empty while it runs.
    pub outcome: String,
    /// Milliseconds since it was decided, or since it ended.
    pub age_ms: u64,
}

/// What Prophet decided about a store, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The store, what it is now, and why.
    pub what: String,
    /// Milliseconds since then.
    pub age_ms: u64,
}

/// A Prophet node asks to become a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// What it says of itself; `id` is not known yet.
    pub member: MemberInfo,
}

/// The answer to [`JoinRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    /// Taken in, now or earlier.
    Joined {
        /// The cluster.
        cluster: ClusterId,
        /// The new member's id.
        id: ReplicaId,
    },
    /// Ask there, if known.
    NotLeader(Option<String>),
    /// Not now; ask again.
    Later(String),
    /// Never: the request contradicts what Prophet knows.
    Refused(String),
}
