//! No replica is out of service but those that the plan damaged: whatever else puts one there is a bug, also where the
//! cluster heals it by itself.

use std::collections::BTreeSet;

use matrixkv::types::{Fact, ShardId};

use super::{Found, Invariant};

/// What was damaged on purpose.
#[derive(Default)]
pub struct Quarantine {
    /// Damaged, and not destroyed yet.
    damaged: BTreeSet<(usize, ShardId)>,
    was_damaged: bool,
}

impl Quarantine {
    /// One at a time, so that the shard has its other replicas.
    pub(super) fn damage(&mut self, node: usize, shard: ShardId) -> bool {
        let is_alone = self.damaged.is_empty();
        if is_alone {
            self.damaged.insert((node, shard));
            self.was_damaged = true;
        }
        is_alone
    }

    pub(super) fn was_damaged(&self) -> bool {
        self.was_damaged
    }

    pub(super) fn is_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// `node` says `fact`.
    pub(super) fn fact(&mut self, node: usize, fact: &Fact) -> Found {
        match fact {
            Fact::Quarantined { shard, replica, why } if !self.damaged.contains(&(node, *shard)) => {
                Some((Invariant::Quarantined, format!("{replica} of {shard} on node{node}: {why}")))
            }
            Fact::Destroyed { shard, .. } => {
                self.damaged.remove(&(node, *shard));
                None
            }
            _ => None,
        }
    }
}
