//! M and A, on the facts of every replica.
//!
//! - M: the entry that is committed at an index of a group has the same term wherever it is applied, for ever.
//! - A: replicas that applied the same index have the same hash of data and descriptor, and the same rolling hash of
//!   all entries so far. An entry that is applied twice, or not at all, shows in the rolling hash even where the data
//!   happen to agree.
//! - A replica that is opened again stands where some replica stood at that index; it never applies what its disk
//!   already had, and within a life its index only grows.
//! - A replica whose data are being replaced by a snapshot applies nothing until they are, whatever lives its node goes
//!   through; and it does not begin with another snapshot.

use std::collections::BTreeMap;

use matrixkv::types::{Fact, Peer, Shard, ShardId};

use super::{Found, Invariant, ReplicaKey};

/// What a group stood at after an index, and who said so first.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Known once somebody applied the entry; a snapshot does not say.
    term: Option<u64>,
    rolling: u64,
    /// Known once somebody applied the entry or installed a snapshot of it.
    data: Option<u64>,
    said_by: ReplicaKey,
}

/// All committed entries of all groups, as far as anybody applied them.
#[derive(Default)]
pub struct Logs {
    steps: BTreeMap<(ShardId, u64), Step>,
    /// How far each replica got in its node's present life.
    applied: BTreeMap<ReplicaKey, u64>,
    /// The snapshot by which each replica's data are being replaced, as its disk says. It outlives a life.
    installing: BTreeMap<ReplicaKey, u64>,
}

impl Logs {
    /// `node` starts a new life.
    pub(super) fn born(&mut self, node: usize) {
        self.applied.retain(|(lives_on, _, _), _| *lives_on != node);
    }

    /// Nothing that `node` had on disk is there.
    pub(super) fn lost_folder(&mut self, node: usize) {
        self.installing.retain(|(lives_on, _, _), _| *lives_on != node);
    }

    /// `node` says `fact`.
    pub(super) fn fact(&mut self, node: usize, fact: &Fact) -> Found {
        match *fact {
            Fact::Opened { shard, replica, index, rolling, .. } => {
                let key = (node, shard, replica);
                self.applied.insert(key, index);
                // The end may have become durable without being told.
                if self.installing.get(&key).is_some_and(|snapshot| *snapshot <= index) {
                    self.installing.remove(&key);
                }
                self.stands(key, index, Step::new(None, rolling, None, key))
            }
            Fact::Applied { shard, replica, index, term, rolling, data } => {
                let key = (node, shard, replica);
                let step = Step::new(Some(term), rolling, Some(data), key);
                let found = self.is_whole(key, &format!("applied index {index}")).or_else(|| self.advances(key, index));
                found.or_else(|| self.stands(key, index, step))
            }
            Fact::Installing { shard, replica, index } => {
                let key = (node, shard, replica);
                let found = self.is_whole(key, &format!("begins to install another one, at index {index},"));
                self.installing.insert(key, index);
                found
            }
            Fact::Installed { shard, replica, index, rolling, data } => {
                let key = (node, shard, replica);
                self.installing.remove(&key);
                self.advances(key, index).or_else(|| self.stands(key, index, Step::new(None, rolling, Some(data), key)))
            }
            Fact::Destroyed { shard, replica } => {
                self.installing.remove(&(node, shard, replica));
                None
            }
            _ => None,
        }
    }

    /// Nothing but the end of it happens to a replica whose data are being replaced.
    fn is_whole(&self, key: ReplicaKey, what: &str) -> Found {
        let index = self.installing.get(&key)?;
        let (node, shard, replica) = key;
        let message =
            format!("{shard}: {replica} on node{node} {what} while a snapshot of index {index} is being installed");
        Some((Invariant::Applied, message))
    }

    /// A member of one of `shards` that has not applied all that another one has.
    pub(super) fn laggard<'a>(&self, shards: impl Iterator<Item = &'a Shard>) -> Option<String> {
        let mut applied = BTreeMap::new();
        for ((node, shard, replica), index) in &self.applied {
            applied.insert((*shard, *replica), (*node, *index));
        }
        shards.into_iter().find_map(|shard| {
            let member = |peer: &Peer| applied.get(&(shard.id, peer.replica)).copied();
            let most = shard.peers.iter().filter_map(member).map(|(_, index)| index).max()?;
            let behind = |peer: &&Peer| member(peer).is_none_or(|(_, index)| index < most);
            let peer = shard.peers.iter().find(behind)?;
            Some(format!("{} of {} has applied {:?} of {most} entries", peer.replica, shard.id, member(peer)))
        })
    }

    /// A replica's index only grows within a life.
    fn advances(&mut self, key: ReplicaKey, index: u64) -> Found {
        let before = self.applied.insert(key, index)?;
        let (node, shard, replica) = key;
        (index <= before).then(|| {
            let message = format!("{shard}: {replica} on node{node} applied index {index} after index {before}");
            (Invariant::Applied, message)
        })
    }

    /// Everybody stands the same at the same index.
    fn stands(&mut self, key: ReplicaKey, index: u64, now: Step) -> Found {
        let known = self.steps.entry((key.1, index)).or_insert(now);
        let found = known.contradiction(&now);
        let who = |(node, _, replica): ReplicaKey| format!("{replica} on node{node}");
        let told = found.map(|(invariant, what)| {
            let (shard, first, second) = (key.1, who(known.said_by), who(key));
            (invariant, format!("{shard}, index {index}: {what} ({first} said it first, then {second})"))
        });
        known.term = known.term.or(now.term);
        known.data = known.data.or(now.data);
        told
    }
}

impl Step {
    fn new(term: Option<u64>, rolling: u64, data: Option<u64>, said_by: ReplicaKey) -> Self {
        Self { term, rolling, data, said_by }
    }

    fn contradiction(&self, now: &Step) -> Option<(Invariant, String)> {
        let differ = |a: Option<u64>, b: Option<u64>| a.zip(b).filter(|(a, b)| a != b);
        if let Some((first, second)) = differ(self.term, now.term) {
            return Some((Invariant::LogMatching, format!("the entry has term {first} and term {second}")));
        }
        if self.rolling != now.rolling {
            let what = "the entries applied so far differ: one twice, one missing, or another one";
            return Some((Invariant::Applied, format!("{what}; rolling {:016x}, {:016x}", self.rolling, now.rolling)));
        }
        let (first, second) = differ(self.data, now.data)?;
        Some((Invariant::Applied, format!("the same entries, but data {first:016x} and {second:016x}")))
    }
}

#[cfg(test)]
mod tests {
    use matrixkv::types::ReplicaId;

    use super::*;

    const SHARD: ShardId = ShardId(3);

    fn applied(replica: u64, index: u64, term: u64, rolling: u64, data: u64) -> Fact {
        Fact::Applied { shard: SHARD, replica: ReplicaId(replica), index, term, rolling, data }
    }

    fn opened(replica: u64, index: u64, rolling: u64) -> Fact {
        Fact::Opened { shard: SHARD, replica: ReplicaId(replica), index, rolling, term: 5, vote: ReplicaId::NONE }
    }

    fn invariant(found: Found) -> Option<Invariant> {
        found.map(|(invariant, _)| invariant)
    }

    #[test]
    fn replicas_that_agree_are_fine() {
        let mut logs = Logs::default();
        for node in 0..3 {
            assert!(logs.fact(node, &opened(node as u64, 5, 50)).is_none());
            assert!(logs.fact(node, &applied(node as u64, 6, 1, 60, 600)).is_none());
            assert!(logs.fact(node, &applied(node as u64, 8, 2, 80, 800)).is_none());
        }
    }

    #[test]
    fn another_term_is_m_another_hash_is_a() {
        let mut logs = Logs::default();
        logs.fact(0, &applied(1, 6, 1, 60, 600));
        assert_eq!(invariant(logs.fact(1, &applied(2, 6, 2, 60, 600))), Some(Invariant::LogMatching));
        assert_eq!(invariant(logs.fact(2, &applied(3, 6, 1, 61, 600))), Some(Invariant::Applied));
        assert_eq!(invariant(logs.fact(3, &applied(4, 6, 1, 60, 601))), Some(Invariant::Applied));
    }

    #[test]
    fn an_index_is_applied_once_in_a_life() {
        let mut logs = Logs::default();
        logs.fact(0, &opened(1, 5, 50));
        logs.fact(0, &applied(1, 6, 1, 60, 600));
        assert_eq!(invariant(logs.fact(0, &applied(1, 6, 1, 60, 600))), Some(Invariant::Applied));
        logs.born(0);
        assert!(logs.fact(0, &opened(1, 5, 50)).is_none(), "what was not synced may be applied again");
        assert!(logs.fact(0, &applied(1, 6, 1, 60, 600)).is_none());
    }

    #[test]
    fn a_disk_that_lies_about_its_index_is_seen() {
        let mut logs = Logs::default();
        logs.fact(0, &applied(1, 6, 1, 60, 600));
        logs.fact(0, &applied(1, 7, 1, 70, 700));
        assert_eq!(invariant(logs.fact(0, &opened(1, 6, 70))), Some(Invariant::Applied));
    }

    #[test]
    fn an_installation_ends_before_anything_else() {
        let installing = |index| Fact::Installing { shard: SHARD, replica: ReplicaId(1), index };
        let mut logs = Logs::default();
        assert_eq!(logs.fact(0, &opened(1, 5, 0)), None);
        assert_eq!(logs.fact(0, &installing(9)), None);
        logs.born(0);
        assert_eq!(logs.fact(0, &opened(1, 5, 0)), None);
        assert!(logs.fact(0, &applied(1, 6, 1, 6, 6)).is_some(), "it goes on with half its rows");
        assert!(logs.fact(0, &installing(12)).is_some(), "the earlier one is forgotten");
        logs.born(0);
        assert_eq!(logs.fact(0, &opened(1, 12, 1)), None, "it ended, and its node died before it said so");
        assert_eq!(logs.fact(0, &applied(1, 13, 1, 13, 13)), None);
    }
}
