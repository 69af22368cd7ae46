//! What may be said between nodes. An [`Envelope`] carries one [`Body`] and who sent it, in which life; the codec is
//! one version byte and postcard. Nothing here knows how an envelope travels.
//!
//! Invariants:
//! - an envelope of another version is refused, never guessed at;
//! - whatever was not decided is said to be so: [`DataReply::Refused`] means "it did not happen",
//!   [`DataReply::Unknown`] means "it may have".

mod codec;
mod data;
mod prophet;
mod snapshot;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use codec::{CodecError, VERSION, decode, encode};
pub use data::{DataReply, DataRequest, Op, Refusal, Value};
pub use prophet::{
    AdminRequest, Decision, JoinReply, JoinRequest, MemberInfo, MembershipAsk, OperatorInfo, ProphetReply,
    ProphetRequest, ShardBeat, ShardOrder, ShardStep, StoreBeat, StoreInfo, StoreOrders, StoreState,
};
pub use snapshot::{SnapshotAck, SnapshotChunk, SnapshotId, SnapshotRow, SnapshotState};

use crate::types::{Boot, CallId, Epoch, KeyRange, NodeToken, Peer, ReplicaId, ShardId, ShardRoute, StoreId};

/// One message and its stamp. The network stamps it when it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The sender's data folder.
    pub from: NodeToken,
    /// The sender's store, once it has one.
    pub from_store: StoreId,
    /// The sender's life.
    pub from_boot: Boot,
    /// The receiver's life that this was meant for. A receiver of another boot refuses it: a request that was
    /// delayed over a restart is not proposed.
    pub to_boot: Boot,
    /// Grows by at least one with each envelope of this sender and boot. The same number twice is a double.
    pub seq: u64,
    /// What is said.
    pub body: Body,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// A raft message between two replicas.
    Raft(RaftMessage),
    /// A raft message between two members of Prophet's group, with where the sender is reached: the receiver may not know
    /// yet that it is a member.
    Member {
        /// The sender, as far as it knows itself.
        from: Option<Box<MemberInfo>>,
        /// The message.
        message: RaftMessage,
    },
    /// Rows of a snapshot.
    Chunk(Box<SnapshotChunk>),
    /// The answer to a chunk.
    ChunkAck(SnapshotAck),
    /// To a replica that is no member any more.
    Removed(Removal),
    /// A store lives: stands for the heartbeats of all its groups that are quiet.
    Alive {
        /// Shards that both stores have, and whose replica at the sender is out of service: these do not live.
        without: Vec<ShardId>,
    },
    /// A question; its answer carries the same call.
    Request {
        /// Names the question.
        call: CallId,
        /// The question.
        request: Request,
    },
    /// An answer.
    Response {
        /// The question that it answers.
        call: CallId,
        /// The answer.
        response: Response,
    },
}

/// A raft message (raft-rs's own protobuf encoding inside) and its two ends.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct RaftMessage {
    /// The group.
    pub shard: ShardId,
    /// The sending replica.
    pub from: Peer,
    /// The replica that it is meant for.
    pub to: Peer,
    /// The descriptor that the sender has; [`Epoch::NONE`] while it has none.
    pub epoch: Epoch,
    /// The sender's keys, where the receiver may be without data: with a snapshot, and before anything reached it. A
    /// store takes no replica in whose keys it has already.
    pub range: Option<KeyRange>,
    /// With a leader's heartbeat: its group goes quiet, and so may the receiver if its log ends here and all is committed.
    /// With the answer to one: it does not wake the leader.
    pub quiet: Option<u64>,
    /// raft-rs's `eraftpb::Message`.
    pub message: Bytes,
}

impl std::fmt::Debug for RaftMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raft({} {:?} -> {:?}, {} bytes)", self.shard, self.from, self.to, self.message.len())
    }
}

/// Tells a replica that its shard has gone on without it. It counts only for this very replica, and only if the epoch is
/// newer than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The shard.
    pub shard: ShardId,
    /// The replica that is not in it.
    pub replica: ReplicaId,
    /// The epoch of a descriptor that does not have it.
    pub epoch: Epoch,
}

/// A question to another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// To a store: read or write a key of a shard.
    Data(DataRequest),
    /// To a store: which routes do you know?
    Routes,
    /// To Prophet's leader.
    Prophet(ProphetRequest),
    /// To any Prophet member: take me in.
    Join(JoinRequest),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Data`].
    Data(DataReply),
    /// To [`Request::Routes`]: the routes and the stores' addresses.
    Routes {
        /// Shards with their leaders, as far as known.
        routes: Vec<ShardRoute>,
        /// Stores with their addresses.
        stores: Vec<StoreInfo>,
    },
    /// To [`Request::Prophet`].
    Prophet(ProphetReply),
    /// To [`Request::Join`].
    Join(JoinReply),
}
