//! Requests to a shard and their answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{Epoch, KeyRange, ShardId, ShardRoute};

/// A value: any bytes.
pub type Value = Bytes;

/// What is wanted of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Read it, linearizably.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Write it.
    Set {
        /// The key.
        key: Bytes,
        /// The new value.
        value: Value,
    },
    /// Remove it; fine where it is missing.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Read the rows of a range in order, linearizably, as far as this shard has them.
    Scan {
        /// Which keys.
        range: KeyRange,
        /// Rows at the most.
        rows_max: u32,
        /// Bytes of keys and values, about; one row always goes.
        bytes_max: u32,
    },
    /// Split the shard that holds this key, so that the key is the first one of the right part.
    Split {
        /// The key.
        key: Bytes,
    },
}

impl Op {
    /// The key that this is about; of a range, its start.
    pub fn key(&self) -> &[u8] {
        match self {
            Op::Get { key } | Op::Set { key, .. } | Op::Delete { key } | Op::Split { key } => key,
            Op::Scan { range, .. } => &range.start,
        }
    }

    /// Whether it changes nothing, so that repeating it is harmless.
    pub fn is_read(&self) -> bool {
        matches!(self, Op::Get { .. } | Op::Scan { .. })
    }
}

/// A request to the leader of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRequest {
    /// The shard that the sender believes the key to be in.
    pub shard: ShardId,
    /// The epoch that the sender knows.
    pub epoch: Epoch,
    /// What is wanted.
    pub op: Op,
}

/// The answer to a [`DataRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataReply {
    /// A read's answer: `None` where the key is missing.
    Value(Option<Value>),
    /// A scan's answer.
    Rows {
        /// Ascending by key.
        rows: Vec<(Bytes, Value)>,
        /// Where to go on; `None` at the end of what was asked for.
        next: Option<Bytes>,
    },
    /// The write is durable on a majority and applied.
    Written,
    /// It did not happen, and why.
    Refused(Refusal),
    /// A write that may or may not have happened, and why that is not known.
    Unknown(String),
}

/// Why a request did not happen. Each teaches the router what is right where the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// This replica does not lead; the route says who does, if known.
    NotLeader(Box<ShardRoute>),
    /// The shard's range is another one by now; these are the shards that this store has there.
    StaleEpoch(Vec<ShardRoute>),
    /// This store has no replica of that shard.
    NoSuchShard(ShardId),
    /// Too much is waiting.
    Overloaded(String),
    /// The store starts, stops or is otherwise not able to serve now.
    Unavailable(String),
    /// The request itself is wrong, for ever.
    Invalid(String),
    /// Seen before: the first copy is the one that counts.
    Doubled,
}

impl Refusal {
    /// What this refusal teaches about routes.
    pub fn routes(&self) -> &[ShardRoute] {
        match self {
            Refusal::NotLeader(route) => std::slice::from_ref(route.as_ref()),
            Refusal::StaleEpoch(routes) => routes,
            _ => &[],
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::NotLeader(route) => write!(f, "{} is not led here", route.shard.id),
            Refusal::StaleEpoch(_) => write!(f, "the shard's range has changed"),
            Refusal::NoSuchShard(id) => write!(f, "no replica of {id} here"),
            Refusal::Overloaded(why) => write!(f, "overloaded: {why}"),
            Refusal::Unavailable(why) => write!(f, "not available: {why}"),
            Refusal::Invalid(why) => write!(f, "{why}"),
            Refusal::Doubled => write!(f, "a double of a request that was taken before"),
        }
    }
}
