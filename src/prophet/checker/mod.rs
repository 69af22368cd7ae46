//! Is this shard as it should be? One file a question; each answers with the one operator that comes next.

pub mod location;
pub mod replicas;

use super::operator::Kind;
use crate::types::{ReplicaId, StoreId};

/// What comes of looking at a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Fine,
    /// This is to be done.
    Do(Wish),
    /// It is not as it should be, and nothing can be done, and why.
    Blocked(String),
}

/// An operator before it has replica ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What it counts as.
    pub kind: Kind,
    /// A replica on this store, first learner, then voter.
    pub add: Option<StoreId>,
    /// A learner that becomes a voter.
    pub promote: Option<ReplicaId>,
    /// A voter that is to lead.
    pub lead: Option<ReplicaId>,
    /// A replica that goes, last of all. If it leads, it hands over first.
    pub remove: Option<ReplicaId>,
    /// Why.
    pub reason: String,
}

impl Wish {
    /// Nothing yet.
    pub fn new(kind: Kind, reason: impl Into<String>) -> Wish {
        Wish { kind, add: None, promote: None, lead: None, remove: None, reason: reason.into() }
    }
}
