//! R, on the facts of every replica.
//!
//! - the newest descriptors of all shards never overlap, and once they cover the key space they always do;
//! - whoever says a descriptor of a shard and an epoch says the same one; of one replica, the epoch only grows;
//! - a shard has one replica a store at the most, in its descriptors and on the node, and a replica id is used for one shard
//!   on one store, once;
//! - a replica is destroyed only when a newer membership is without it, and never comes back, nor does any that a
//!   membership was without into a later one;
//! - raft counts the votes of those whom the descriptor calls voters.
//!
//! Who was removed and lives on is no violation while a run goes on; V demands that nobody does in the end.

use std::collections::{BTreeMap, BTreeSet};

use matrixkv::types::{Epoch, Fact, PeerRole, ReplicaId, Shard, ShardId, StoreId};

use super::{Found, Invariant, ReplicaKey};

/// All descriptors, as far as anybody said them.
#[derive(Default)]
pub struct Ranges {
    newest: BTreeMap<ShardId, Shard>,
    said: BTreeMap<(ShardId, u64, u64), Shard>,
    epochs: BTreeMap<ReplicaKey, Epoch>,
    homes: BTreeMap<ReplicaId, (ShardId, StoreId)>,
    /// The replica of each shard that lives on a node.
    living: BTreeMap<(usize, ShardId), ReplicaId>,
    destroyed: BTreeSet<ReplicaKey>,
    /// Replicas that were opened where an earlier one had been destroyed.
    successors: BTreeSet<ReplicaKey>,
    /// Replicas that a later membership of their shard was without.
    removed: BTreeSet<ReplicaId>,
    /// Whether a range is another one since they were judged last.
    moved: bool,
    covered: bool,
    /// A gap in the key space, as of now.
    gap: Option<String>,
}

impl Ranges {
    /// `node` says `fact`.
    pub(super) fn fact(&mut self, node: usize, fact: &Fact) -> Found {
        let found = match fact {
            Fact::Opened { shard, replica, .. } => self.opened((node, *shard, *replica)),
            Fact::Described { replica, shard, voters } => {
                let found = self.described((node, shard.id, *replica), shard);
                found.or_else(|| counts_others(*replica, shard, voters.as_deref()?))
            }
            Fact::Split { replica, left, right } => {
                let key = (node, left.id, *replica);
                let found = self.grows(key, left.epoch).or_else(|| self.learn(left)).or_else(|| self.learn(right));
                found.or_else(|| self.judge_ranges())
            }
            Fact::Destroyed { shard, replica } => self.destroy((node, *shard, *replica)),
            Fact::Quarantined { shard, replica, .. } if !replica.is_none() => {
                // Out of service, and there.
                self.living.insert((node, *shard), *replica);
                None
            }
            _ => None,
        };
        found.map(|message| (Invariant::Ranges, message))
    }

    /// All that was told up to now is told. A node that comes back tells its replicas' descriptors one by one, and may
    /// have applied a split that nobody heard of before it died: a gap is one only when it is still there afterwards.
    pub(super) fn time_passes(&mut self) -> Found {
        let gap = std::mem::take(&mut self.gap)?;
        Some((Invariant::Ranges, gap))
    }

    /// Whether anybody has told of this shard.
    pub(super) fn knows(&self, shard: ShardId) -> bool {
        self.newest.contains_key(&shard)
    }

    /// The newest descriptor of every shard.
    pub(super) fn shards_now(&self) -> impl Iterator<Item = &Shard> {
        self.newest.values()
    }

    /// `node` starts a new life, and tells of every replica that it has. One whose end was durable when the last life ended, and
    /// was not told any more, is not among them.
    pub(super) fn born(&mut self, node: usize) {
        self.living.retain(|(home, _), _| *home != node);
    }

    /// `node` has lost its folder, or has an old copy of it, in which what was destroyed since lives.
    pub(super) fn lost_folder(&mut self, node: usize) {
        self.living.retain(|(home, _), _| *home != node);
        self.destroyed.retain(|(home, _, _)| *home != node);
        self.epochs.retain(|(home, _, _), _| *home != node);
    }

    /// A replica that lives although the newest membership of its shard is without it.
    pub fn lingering(&self) -> Option<String> {
        self.living.iter().find_map(|((node, shard), replica)| {
            let newest = self.newest.get(shard)?;
            let lingers = newest.peer(*replica).is_none();
            lingers.then(|| format!("{replica} of {shard} lingers on node{node}; its shard is {newest:?}"))
        })
    }

    /// How many replicas were opened where an earlier one of their shard had been destroyed.
    pub(super) fn successors(&self) -> usize {
        self.successors.len()
    }

    /// Learners on `node`, as far as the newest descriptors say.
    pub(super) fn learners_on(&self, node: usize) -> usize {
        let here = self.living.iter().filter(|((home, _), _)| *home == node);
        let is_learner = |shard, replica| {
            let peer = self.newest.get(shard).and_then(|shard: &Shard| shard.peer(replica));
            peer.is_some_and(|peer| peer.role == PeerRole::Learner)
        };
        here.filter(|((_, shard), replica)| is_learner(shard, **replica)).count()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.newest.len()
    }

    fn opened(&mut self, key: ReplicaKey) -> Option<String> {
        let (node, shard, replica) = key;
        let other = self.living.insert((node, shard), replica).filter(|other| *other != replica);
        if let Some(other) = other {
            return Some(format!("{replica} of {shard} is opened on node{node}, where {other} lives"));
        }
        let before = (node, shard, ReplicaId(0))..key;
        if self.destroyed.range(before).next().is_some() {
            self.successors.insert(key);
        }
        self.destroyed
            .contains(&key)
            .then(|| format!("{replica} of {shard} comes back on node{node} after it was destroyed"))
    }

    fn destroy(&mut self, key: ReplicaKey) -> Option<String> {
        let (node, shard, replica) = key;
        self.destroyed.insert(key);
        self.living.remove(&(node, shard));
        let newest = self.newest.get(&shard)?;
        // A store that does not know which replica it had, since the row did not read, names the last one that it may have
        // been. That one may live on another node.
        let is_elsewhere =
            self.living.iter().any(|((home, id), other)| *home != node && (*id, *other) == (shard, replica));
        let is_member = newest.peer(replica).is_some() && !is_elsewhere;
        is_member.then(|| format!("{replica} on node{node} is destroyed, and is a member: {newest:?}"))
    }

    fn described(&mut self, key: ReplicaKey, shard: &Shard) -> Option<String> {
        self.grows(key, shard.epoch).or_else(|| self.learn(shard)).or_else(|| self.judge_ranges())
    }

    fn grows(&mut self, key: ReplicaKey, epoch: Epoch) -> Option<String> {
        let before = self.epochs.insert(key, epoch).filter(|before| epoch.is_older_than(*before))?;
        let (node, id, replica) = key;
        Some(format!("{id}: {replica} on node{node} goes from epoch {before:?} to {epoch:?}"))
    }

    fn learn(&mut self, shard: &Shard) -> Option<String> {
        let Epoch { conf_ver, version } = shard.epoch;
        let said = self.said.entry((shard.id, conf_ver, version)).or_insert_with(|| shard.clone());
        if said != shard {
            return Some(format!("two descriptors of one epoch: {said:?} and {shard:?}"));
        }
        if self.newest.get(&shard.id).is_some_and(|known| !known.epoch.is_older_than(shard.epoch)) {
            return None;
        }
        let before = self.newest.insert(shard.id, shard.clone());
        self.moved |= before.as_ref().is_none_or(|before| before.range != shard.range);
        let gone = before.iter().flat_map(|before| &before.peers).map(|peer| peer.replica);
        self.removed.extend(gone.filter(|replica| shard.peer(*replica).is_none()));
        self.settle(shard)
    }

    /// Whether its replicas live where they may.
    fn settle(&mut self, shard: &Shard) -> Option<String> {
        let stores: BTreeSet<_> = shard.peers.iter().map(|peer| peer.store).collect();
        if stores.len() < shard.peers.len() {
            return Some(format!("two replicas on one store: {shard:?}"));
        }
        if let Some(back) = shard.peers.iter().find(|peer| self.removed.contains(&peer.replica)) {
            return Some(format!("{} was removed before, and is a member again: {shard:?}", back.replica));
        }
        shard.peers.iter().find_map(|peer| {
            let home = (shard.id, peer.store);
            let known = *self.homes.entry(peer.replica).or_insert(home);
            (known != home).then(|| format!("{} is used twice: {known:?} and {home:?}", peer.replica))
        })
    }

    fn judge_ranges(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.moved) {
            return None;
        }
        let mut shards: Vec<_> = self.newest.values().collect();
        shards.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        let mut gap = shards.first().is_some_and(|first| !first.range.start.is_empty());
        gap |= shards.last().is_some_and(|last| !last.range.end.is_empty());
        for pair in shards.windows(2) {
            if pair[0].range.overlaps(&pair[1].range) {
                return Some(format!("{:?} overlaps {:?}", pair[0], pair[1]));
            }
            gap |= pair[0].range.end != pair[1].range.start;
        }
        self.covered |= !gap;
        self.gap = (gap && self.covered).then(|| format!("the key space has a gap: {shards:?}"));
        None
    }
}

/// Whether raft's own membership is another one than the descriptor.
fn counts_others(replica: ReplicaId, shard: &Shard, voters: &[ReplicaId]) -> Option<String> {
    let described: BTreeSet<_> = shard.voters().map(|peer| peer.replica).collect();
    let counted = voters.iter().copied().collect();
    (described != counted).then(|| format!("{replica} counts the votes of {counted:?}, of {shard:?}"))
}

#[cfg(test)]
mod tests {
    use matrixkv::types::{KeyRange, Peer};

    use super::*;

    fn shard(id: u64, start: &str, end: &str, conf_ver: u64, version: u64, replicas: &[u64]) -> Shard {
        let peer =
            |replica: &u64| Peer { replica: ReplicaId(*replica), store: StoreId(*replica % 10), role: PeerRole::Voter };
        Shard {
            id: ShardId(id),
            range: KeyRange { start: start.into(), end: end.into() },
            epoch: Epoch { conf_ver, version },
            peers: replicas.iter().map(peer).collect(),
        }
    }

    fn described(shard: Shard) -> Fact {
        let voters = Some(shard.peers.iter().map(|peer| peer.replica).collect());
        Fact::Described { replica: shard.peers[0].replica, shard, voters }
    }

    #[test]
    fn a_removed_replica_that_is_a_member_again_and_a_phantom_voter_are_told() {
        let mut ranges = Ranges::default();
        for (conf_ver, replicas) in [(1, &[11, 12][..]), (2, &[12])] {
            assert_eq!(ranges.fact(0, &described(shard(1, "", "", conf_ver, 1, replicas))), None);
        }
        assert!(ranges.fact(0, &described(shard(1, "", "", 3, 1, &[11, 12]))).is_some(), "it is back");
        let mut ranges = Ranges::default();
        let shard = shard(1, "", "", 1, 1, &[11, 12]);
        let voters = Some([11, 12, 13].map(ReplicaId).to_vec());
        assert!(ranges.fact(0, &Fact::Described { replica: ReplicaId(11), shard, voters }).is_some(), "13 is no voter");
    }

    #[test]
    fn a_split_and_a_move_are_fine() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.fact(0, &described(shard(1, "", "", 1, 1, &[11]))), None);
        let (left, right) = (shard(1, "", "m", 1, 2, &[11]), shard(2, "m", "", 1, 2, &[21]));
        let replica = ReplicaId(11);
        assert_eq!(ranges.fact(0, &Fact::Split { replica, left, right }), None);
        assert_eq!(ranges.fact(0, &described(shard(1, "", "m", 2, 2, &[11, 12]))), None);
        assert_eq!(ranges.fact(1, &described(shard(1, "", "m", 3, 2, &[12]))), None);
        assert_eq!(ranges.fact(0, &Fact::Destroyed { shard: ShardId(1), replica }), None);
        assert_eq!(ranges.shards(), 2);
    }

    fn opened(shard: ShardId, replica: ReplicaId) -> Fact {
        Fact::Opened { shard, replica, index: 5, rolling: 0, term: 5, vote: ReplicaId::NONE }
    }

    #[test]
    fn a_replica_that_was_removed_lingers_until_it_is_destroyed() {
        let mut ranges = Ranges::default();
        let (shard_id, replica) = (ShardId(1), ReplicaId(11));
        ranges.fact(0, &opened(shard_id, replica));
        ranges.fact(0, &described(shard(1, "", "", 1, 1, &[11, 12])));
        assert_eq!(ranges.lingering(), None);
        ranges.fact(1, &described(shard(1, "", "", 2, 1, &[12])));
        assert!(ranges.lingering().is_some());
        ranges.fact(0, &Fact::Destroyed { shard: shard_id, replica });
        assert_eq!(ranges.lingering(), None);
    }

    #[test]
    fn a_replica_whose_end_was_not_told_any_more_does_not_linger() {
        let mut ranges = Ranges::default();
        let (shard_id, replica) = (ShardId(1), ReplicaId(11));
        ranges.fact(0, &opened(shard_id, replica));
        ranges.fact(1, &described(shard(1, "", "", 2, 1, &[12])));
        assert!(ranges.lingering().is_some());
        ranges.born(0);
        assert_eq!(ranges.lingering(), None, "it is not on the disk");
        ranges.fact(0, &opened(shard_id, replica));
        assert!(ranges.lingering().is_some(), "it is");
        ranges.born(0);
        ranges.fact(0, &Fact::Quarantined { shard: shard_id, replica, why: String::new() });
        assert!(ranges.lingering().is_some(), "it is, and does not read");
    }

    #[test]
    fn overlaps_gaps_and_ghosts_are_told() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.fact(0, &described(shard(1, "", "", 1, 1, &[11]))), None);
        assert!(ranges.fact(0, &described(shard(2, "m", "", 1, 2, &[22]))).is_some(), "an overlap");
        let mut ranges = Ranges::default();
        assert_eq!(ranges.fact(0, &described(shard(1, "", "", 1, 1, &[11]))), None);
        assert_eq!(ranges.fact(0, &described(shard(1, "", "m", 1, 2, &[11]))), None, "the rest may come");
        assert!(ranges.time_passes().is_some(), "a gap");
        let mut ranges = Ranges::default();
        assert_eq!(ranges.fact(0, &described(shard(1, "", "", 1, 1, &[11]))), None);
        for half in [shard(1, "", "m", 1, 2, &[11]), shard(2, "m", "", 1, 2, &[21])] {
            assert_eq!(ranges.fact(0, &described(half)), None);
        }
        assert_eq!(ranges.time_passes(), None, "both halves were told");
        let mut ranges = Ranges::default();
        assert_eq!(ranges.fact(0, &described(shard(1, "", "", 1, 1, &[11]))), None);
        let (shard, replica) = (ShardId(1), ReplicaId(11));
        assert!(ranges.fact(0, &Fact::Destroyed { shard, replica }).is_some(), "a member is destroyed");
        assert!(ranges.fact(0, &opened(shard, replica)).is_some(), "it comes back");
    }
}
