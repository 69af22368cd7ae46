//! What is replicated in a shard's log, and what applying it answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{Peer, Shard};

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
}

/// What applying a command gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A data command was done.
    Written,
    /// The membership was changed; the descriptor after it.
    Changed(Shard),
    /// Nothing changed: range or membership were not what the proposer knew. The descriptor that counts.
    Void(Shard),
}
