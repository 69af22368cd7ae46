//! E: at most one leader a term in each raft group. A term that is won twice is a vote that was given twice.

use std::collections::BTreeMap;

use matrixkv::types::{Fact, ReplicaId, ShardId};

use super::{Found, Invariant, Leadership};

/// Who won which term of which group.
#[derive(Default)]
pub struct Elections(BTreeMap<(ShardId, u64), (ReplicaId, usize)>);

impl Elections {
    /// `node` says `fact`.
    pub(super) fn fact(&mut self, node: usize, fact: &Fact) -> Found {
        let Fact::BecameLeader { shard, replica, term } = fact else { return None };
        let (first, first_node) = self.0.insert((*shard, *term), (*replica, node))?;
        let message =
            format!("{shard}: term {term} was won by {first} on node{first_node} and by {replica} on node{node}");
        Some((Invariant::Election, message))
    }

    /// The winner of each group's highest term.
    pub(super) fn leaders(&self) -> impl Iterator<Item = (ShardId, Leadership)> {
        let mut last = BTreeMap::new();
        for ((shard, term), (_, node)) in &self.0 {
            last.insert(*shard, Leadership { node: *node, term: *term });
        }
        last.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn won(shard: u64, replica: u64, term: u64) -> Fact {
        Fact::BecameLeader { shard: ShardId(shard), replica: ReplicaId(replica), term }
    }

    #[test]
    fn a_term_is_won_once_in_each_group() {
        let mut elections = Elections::default();
        assert!(elections.fact(0, &won(1, 1, 5)).is_none());
        assert!(elections.fact(1, &won(2, 2, 5)).is_none());
        assert!(elections.fact(1, &won(1, 2, 6)).is_none());
        assert_eq!(elections.leaders().collect::<Vec<_>>()[0].1, Leadership { node: 1, term: 6 });
        let (invariant, message) = elections.fact(2, &won(1, 3, 5)).expect("twice");
        assert_eq!(invariant, Invariant::Election);
        assert_eq!(message, "shard-1: term 5 was won by replica-1 on node0 and by replica-3 on node2");
    }
}
