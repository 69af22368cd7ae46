//! What is replicated in a shard's log, and what applying it answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Sums;
use crate::types::{Epoch, Peer, ReplicaId, Shard, ShardId};

/// A replicated command. Its encoding carries a version byte; an unknown one stops the replica instead of being
/// skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Write a key.
    Set {
        /// The range version that the proposer knew.
        version: u64,
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Remove a key.
    Delete {
        /// The range version that the proposer knew.
        version: u64,
        /// The key.
        key: Bytes,
    },
    /// Add a replica, or change a learner to a voter.
    ChangePeer {
        /// The membership that the change was decided on.
        conf_ver: u64,
        /// The replica with the role that it is to have.
        peer: Peer,
    },
    /// Take a replica out.
    RemovePeer {
        /// The membership that the change was decided on.
        conf_ver: u64,
        /// The replica.
        replica: ReplicaId,
    },
    /// Count the changes left of a key from here on, so that a split there will know its halves exactly.
    PrepareSplit {
        /// The range version that the proposer knew.
        version: u64,
        /// Where the shard is to be split.
        key: Bytes,
        /// The shard that is to take the right part: names this preparation.
        shard: ShardId,
    },
    /// Split where the last preparation said. The shard keeps what is left of the key.
    Split {
        /// The shard as the proposer knew it.
        epoch: Epoch,
        /// The new shard.
        shard: ShardId,
        /// Its replicas, one beside each of this shard's, in their order.
        replicas: Vec<ReplicaId>,
        /// What was left of the key when the preparation was applied.
        left: Sums,
    },
}

/// What applying a command gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A data command was done, or a split is prepared.
    Written,
    /// Membership or range were changed; the descriptor after it.
    Changed(Shard),
    /// Nothing changed: range or membership were not what the proposer knew. The descriptor that counts.
    Void(Shard),
}

/// What applying means to the store that holds the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The descriptor is another one: its membership changed, or a snapshot brought it.
    Described {
        /// From now on.
        shard: Shard,
        /// Who is not in it any more.
        removed: Option<Peer>,
    },
    /// The right part of the range is a shard of its own now.
    Split {
        /// This shard, from now on.
        left: Shard,
        /// The new one, with all that its replicas start from.
        right: super::KvMachine,
    },
}
