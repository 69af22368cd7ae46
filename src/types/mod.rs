//! The words of the field as types: ids, peers, key ranges, epochs, shards, time and dice. Pure values, known to
//! every room; they know nobody.

mod epoch;
mod fact;
mod id;
mod range;
mod rng;
mod shard;
mod time;

pub use epoch::Epoch;
pub use fact::{DiskFact, Fact, Untimely};
pub use id::{Boot, CallId, ClusterId, NodeToken, ReplicaId, ShardId, StoreId};
pub use range::KeyRange;
pub use rng::Rng;
pub use shard::{Peer, PeerRole, Shard, ShardRoute};
pub use time::{Instant, Steady};
