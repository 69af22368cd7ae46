//! R, what Prophet does to memberships: it adds before it removes. A shard that has had as many voters as it is to have never has
//! fewer again, unless an operator asked for that, or one of its replicas is out of service: that one may have to make room for
//! the next one on its own store.

use std::collections::{BTreeMap, BTreeSet};

use matrixkv::types::{Epoch, Fact, Shard, ShardId};

use super::{Found, Invariant};

/// How many voters each shard has, by its newest descriptor.
#[derive(Default)]
pub struct Members {
    /// Voters that a shard is to have; 0 where nothing is demanded.
    wanted: usize,
    newest: BTreeMap<ShardId, (Epoch, usize)>,
    /// Shards of which a replica may go first, and what was split off them.
    may_shrink: BTreeSet<ShardId>,
}

impl Members {
    /// Each shard is to have so many voters.
    pub(super) fn want(&mut self, voters: usize) {
        self.wanted = voters;
    }

    /// An operator asks that a replica of this shard goes.
    pub(super) fn may_shrink(&mut self, shard: ShardId) {
        self.may_shrink.insert(shard);
    }

    pub(super) fn fact(&mut self, fact: &Fact) -> Found {
        match fact {
            Fact::Described { shard, .. } => self.described(shard),
            Fact::Quarantined { shard, .. } => {
                self.may_shrink.insert(*shard);
                None
            }
            Fact::Split { left, right, .. } => {
                if self.may_shrink.contains(&left.id) {
                    self.may_shrink.insert(right.id);
                }
                self.described(left).or_else(|| self.described(right))
            }
            _ => None,
        }
    }

    fn described(&mut self, shard: &Shard) -> Found {
        let voters = shard.voters().count();
        let before = self.newest.get(&shard.id).copied();
        if before.is_some_and(|(epoch, _)| !epoch.is_older_than(shard.epoch)) {
            return None;
        }
        self.newest.insert(shard.id, (shard.epoch, voters));
        let (_, before) = before.filter(|(_, before)| *before >= self.wanted && voters < self.wanted)?;
        let message = || format!("of {before} voters {voters} are left, and nobody asked for it: {shard:?}");
        (!self.may_shrink.contains(&shard.id)).then(|| (Invariant::Ranges, message()))
    }
}

#[cfg(test)]
mod tests {
    use matrixkv::types::{KeyRange, Peer, PeerRole, ReplicaId, StoreId};

    use super::*;

    fn described(conf_ver: u64, voters: u64) -> Fact {
        let peer = |n| Peer { replica: ReplicaId(n), store: StoreId(n), role: PeerRole::Voter };
        let epoch = Epoch { conf_ver, version: 1 };
        let peers = (1..=voters).map(peer).collect();
        let shard = Shard { id: ShardId(1), range: KeyRange { start: vec![], end: vec![] }, epoch, peers };
        Fact::Described { replica: ReplicaId(1), shard, voters: None }
    }

    #[test]
    fn a_shard_that_was_whole_stays_so() {
        let mut members = Members::default();
        members.want(3);
        for (conf_ver, voters) in [(1, 1), (2, 2), (1, 1), (3, 3), (4, 4), (5, 3)] {
            assert_eq!(members.fact(&described(conf_ver, voters)), None);
        }
        assert_eq!(members.fact(&described(2, 2)), None, "an old one is no news");
        assert!(members.fact(&described(6, 2)).is_some());
        members.fact(&described(7, 3));
        members.may_shrink(ShardId(1));
        assert_eq!(members.fact(&described(8, 2)), None, "an operator wanted it");
    }
}
