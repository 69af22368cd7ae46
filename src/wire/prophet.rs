//! What stores and Prophet say to each other, and how a Prophet member joins.

use serde::{Deserialize, Serialize};

use crate::types::{Boot, ClusterId, NodeToken, Peer, ReplicaId, Shard, ShardRoute, StoreId};

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
    /// How long ago Prophet's leader heard of it, in milliseconds; `None` if not in this leader's time.
    pub heard_ms_ago: Option<u64>,
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
}

/// A shard's heartbeat, by the replica that leads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardBeat {
    /// Descriptor, leader and term.
    pub route: ShardRoute,
    /// Replicas whose log is within reach of the leader's: a learner among them may be promoted.
    pub caught_up: Vec<ReplicaId>,
    /// Replicas that have not answered for some time.
    pub down: Vec<ReplicaId>,
    /// Bytes of keys and values.
    pub size: u64,
}

/// A question to Prophet. Any member may be asked; one that does not lead says who does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProphetRequest {
    /// A new data folder asks for its store id. Asking again gives the same id.
    Register(StoreInfo),
    /// A store lives.
    StoreBeat(StoreBeat),
    /// Shards live: the beats of all shards that one store leads.
    ShardBeats(Vec<ShardBeat>),
    /// All shards, stores and members.
    Cluster,
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
    Shards(Vec<ShardOrder>),
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
    },
    /// It did not happen, and why: the request contradicts what Prophet knows.
    Refused(String),
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

/// A step that Prophet wants of a shard's leader. Guarded by the epoch in `shard`: if the shard has changed since,
/// the order is void.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardOrder {
    /// The shard as Prophet knew it.
    pub shard: Shard,
    /// The membership change: a peer with the role that it is to have.
    pub change: Peer,
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
        /// All members, the new one included.
        members: Vec<MemberInfo>,
    },
    /// Ask there, if known.
    NotLeader(Option<String>),
    /// Not now; ask again.
    Later(String),
    /// Never: the request contradicts what Prophet knows.
    Refused(String),
}
