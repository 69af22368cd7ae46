//! E, on the facts of every replica.
//!
//! - At most one leader a term in each raft group. A term that is won twice is a vote that was given twice.
//! - A replica's term never goes back, and in one term it votes for one replica, whatever lives its node goes through
//!   (the persistent state of figure 2 in the raft paper). Whoever forgets a vote does harm only when somebody asks for
//!   it again, which is rare; that it is forgotten shows at once.

use std::collections::BTreeMap;

use matrixkv::types::{Fact, ReplicaId, ShardId};

use super::{Found, Invariant, Leadership, ReplicaKey};

/// Who won which term of which group, and whom each replica voted for.
#[derive(Default)]
pub struct Elections {
    won: BTreeMap<(ShardId, u64), (ReplicaId, usize)>,
    votes: BTreeMap<ReplicaKey, Vote>,
}

/// A term, and the vote in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vote {
    term: u64,
    /// None if nobody got it yet.
    to: ReplicaId,
}

impl Elections {
    /// `node` says `fact`.
    pub(super) fn fact(&mut self, node: usize, fact: &Fact) -> Found {
        let found = match *fact {
            Fact::BecameLeader { shard, replica, term } => self.won(node, shard, replica, term),
            Fact::Opened { shard, replica, term, vote, .. } | Fact::Voted { shard, replica, term, vote } => {
                self.votes((node, shard, replica), Vote { term, to: vote })
            }
            _ => None,
        };
        found.map(|message| (Invariant::Election, message))
    }

    /// Nothing that `node` had on disk is there.
    pub(super) fn lost_folder(&mut self, node: usize) {
        self.votes.retain(|(home, _, _), _| *home != node);
    }

    /// The winner of each group's highest term.
    pub(super) fn leaders(&self) -> impl Iterator<Item = (ShardId, Leadership)> {
        let mut last = BTreeMap::new();
        for ((shard, term), (_, node)) in &self.won {
            last.insert(*shard, Leadership { node: *node, term: *term });
        }
        last.into_iter()
    }

    fn won(&mut self, node: usize, shard: ShardId, replica: ReplicaId, term: u64) -> Option<String> {
        let (first, first_node) = self.won.insert((shard, term), (replica, node))?;
        Some(format!("{shard}: term {term} was won by {first} on node{first_node} and by {replica} on node{node}"))
    }

    fn votes(&mut self, key: ReplicaKey, now: Vote) -> Option<String> {
        let before = self.votes.insert(key, now)?;
        if now.may_follow(before) {
            return None;
        }
        let (node, shard, replica) = key;
        Some(format!("{shard}: {replica} on node{node} goes back from {before:?} to {now:?}"))
    }
}

impl Vote {
    fn may_follow(self, before: Vote) -> bool {
        let is_kept = before.to == ReplicaId::NONE || self.to == before.to;
        self.term > before.term || self.term == before.term && is_kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn won(shard: u64, replica: u64, term: u64) -> Fact {
        Fact::BecameLeader { shard: ShardId(shard), replica: ReplicaId(replica), term }
    }

    fn voted(term: u64, vote: u64) -> Fact {
        Fact::Voted { shard: ShardId(1), replica: ReplicaId(1), term, vote: ReplicaId(vote) }
    }

    fn opened(term: u64, vote: u64) -> Fact {
        let (shard, replica, vote) = (ShardId(1), ReplicaId(1), ReplicaId(vote));
        Fact::Opened { shard, replica, index: 5, rolling: 0, term, vote }
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

    #[test]
    fn a_vote_is_kept_over_lives_and_given_once_a_term() {
        let mut elections = Elections::default();
        for fact in [opened(5, 0), voted(6, 0), voted(6, 2), opened(6, 2), voted(7, 3), voted(9, 0)] {
            assert_eq!(elections.fact(0, &fact), None, "{fact:?}");
        }
        assert!(elections.fact(0, &opened(7, 3)).is_some(), "the term goes back");
        assert_eq!(elections.fact(0, &voted(9, 1)), None);
        assert!(elections.fact(0, &voted(9, 2)).is_some(), "a second vote in one term");
        assert!(elections.fact(0, &opened(9, 0)).is_some(), "a vote is forgotten");
    }

    #[test]
    fn an_empty_folder_remembers_nothing() {
        let mut elections = Elections::default();
        assert_eq!(elections.fact(0, &voted(6, 2)), None);
        elections.lost_folder(0);
        assert_eq!(elections.fact(0, &opened(0, 0)), None);
    }
}
