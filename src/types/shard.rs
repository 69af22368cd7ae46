//! A shard's descriptor: which keys, which replicas, which epoch.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Epoch, KeyRange, ReplicaId, ShardId, StoreId};

/// Whether a replica counts for quorums.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum PeerRole {
    /// Votes and counts.
    Voter,
    /// Receives the log, and is promoted once it has caught up.
    Learner,
}

/// One replica of a shard and the store that it lives on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// The replica.
    pub replica: ReplicaId,
    /// Its store.
    pub store: StoreId,
    /// Voter or learner.
    pub role: PeerRole,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let learner = if self.role == PeerRole::Learner { " learner" } else { "" };
        write!(f, "{}@{}{learner}", self.replica, self.store)
    }
}

/// A shard's descriptor. It changes only by commands of the shard's own raft group; everyone else has a copy that
/// may be old, which [`Epoch`] shows.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Shard {
    /// The shard.
    pub id: ShardId,
    /// Its keys.
    pub range: KeyRange,
    /// Which membership and range this is.
    pub epoch: Epoch,
    /// Its replicas, at most one on each store.
    pub peers: Vec<Peer>,
}

impl Shard {
    /// The replica with this id.
    pub fn peer(&self, replica: ReplicaId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.replica == replica)
    }

    /// The replica on this store.
    pub fn peer_on(&self, store: StoreId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.store == store)
    }

    /// The replicas that vote.
    pub fn voters(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.role == PeerRole::Voter)
    }
}

/// Where a shard is and who leads it, as far as the speaker knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardRoute {
    /// The descriptor.
    pub shard: Shard,
    /// Its leader, if one is known.
    pub leader: Option<Peer>,
    /// The leader's term: of two routes with the same epoch, the higher term knows better.
    pub term: u64,
}
