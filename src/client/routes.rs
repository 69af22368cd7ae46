//! Which shard holds a key, and who leads it, as last heard. Wrong at times; answers set it right.
//!
//! Invariant: the ranges in the cache never overlap.

use std::{collections::BTreeMap, ops::Bound};

use crate::types::{KeyRange, ShardId, ShardRoute};

/// Routes by the start of their range.
#[derive(Clone, Debug, Default)]
pub struct RouteCache {
    routes: BTreeMap<Vec<u8>, ShardRoute>,
    starts: BTreeMap<ShardId, Vec<u8>>,
}

impl RouteCache {
    /// The shard that holds `key`, as far as known.
    pub fn find(&self, key: &[u8]) -> Option<&ShardRoute> {
        self.find_before(key).filter(|route| route.shard.range.contains(key))
    }

    /// Whom to ask for the shard of a key that no known range has: the one before it, which had the key if it was split since.
    pub fn find_before(&self, key: &[u8]) -> Option<&ShardRoute> {
        self.routes.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back().map(|(_, route)| route)
    }

    /// All routes, by range.
    pub fn all(&self) -> Vec<ShardRoute> {
        self.routes.values().cloned().collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    fn rivals<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a ShardRoute> {
        let before = self.routes.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(&range.start[..]))).next_back();
        let from = self.routes.range::<[u8], _>((Bound::Included(&range.start[..]), Bound::Unbounded));
        let from = from.take_while(|(start, _)| range.end.is_empty() || **start < range.end);
        before.into_iter().chain(from).map(|(_, route)| route).filter(|route| route.shard.range.overlaps(range))
    }

    /// Takes `route` in unless something newer is known. Says whether anything changed.
    pub fn learn(&mut self, route: &ShardRoute) -> bool {
        if self.rivals(&route.shard.range).any(|known| knows_better(known, route) || known == route) {
            return false;
        }
        let rivals: Vec<_> = self.rivals(&route.shard.range).map(|rival| rival.shard.id).collect();
        rivals.into_iter().for_each(|rival| self.forget(rival));
        // What the same shard was before its split may lie elsewhere.
        self.forget(route.shard.id);
        self.starts.insert(route.shard.id, route.shard.range.start.clone());
        self.routes.insert(route.shard.range.start.clone(), route.clone());
        true
    }

    /// The leader of `shard` did not answer, or says that it is none.
    pub fn forget_leader(&mut self, shard: ShardId) {
        let route = self.starts.get(&shard).and_then(|start| self.routes.get_mut(start));
        if let Some(route) = route {
            route.leader = None;
        }
    }

    /// The shard is not where it was thought to be.
    pub fn forget(&mut self, shard: ShardId) {
        if let Some(start) = self.starts.remove(&shard) {
            self.routes.remove(&start);
        }
    }
}

fn knows_better(known: &ShardRoute, new: &ShardRoute) -> bool {
    let (ours, theirs) = (known.shard.epoch, new.shard.epoch);
    if ours.version != theirs.version {
        return ours.version > theirs.version;
    }
    if ours.conf_ver != theirs.conf_ver {
        return ours.conf_ver > theirs.conf_ver;
    }
    known.term > new.term || known.term == new.term && known.leader.is_some() && new.leader.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, KeyRange, Peer, PeerRole, ReplicaId, Shard, StoreId};

    fn route(id: u64, start: &str, end: &str, version: u64, term: u64, leader: Option<u64>) -> ShardRoute {
        let range = KeyRange { start: start.into(), end: end.into() };
        let peer = |id| Peer { replica: ReplicaId(id), store: StoreId(id), role: PeerRole::Voter };
        let shard =
            Shard { id: ShardId(id), range, epoch: Epoch { conf_ver: 1, version }, peers: vec![peer(1), peer(2)] };
        ShardRoute { shard, leader: leader.map(peer), term }
    }

    #[test]
    fn a_newer_shard_replaces_all_that_it_overlaps() {
        let mut cache = RouteCache::default();
        assert!(cache.learn(&route(1, "", "", 1, 5, Some(1))));
        assert!(cache.learn(&route(2, "m", "", 2, 6, Some(2))));
        assert_eq!(cache.find(b"z").unwrap().shard.id, ShardId(2));
        assert!(cache.find(b"a").is_none(), "the old whole is gone; its left half is learnt by asking");
        assert!(cache.learn(&route(1, "", "m", 2, 5, Some(1))));
        assert!(!cache.learn(&route(1, "", "", 1, 9, Some(1))), "an older range never comes back");
        assert_eq!(cache.find(b"a").unwrap().shard.id, ShardId(1));
        cache.forget(ShardId(2));
        assert!(cache.find(b"z").is_none());
        assert_eq!(cache.find_before(b"z").unwrap().shard.id, ShardId(1), "it had the key before it was split");
    }

    #[test]
    fn of_one_epoch_the_higher_term_and_a_known_leader_win() {
        let mut cache = RouteCache::default();
        assert!(cache.learn(&route(1, "", "", 1, 5, Some(1))));
        assert!(!cache.learn(&route(1, "", "", 1, 5, None)));
        assert!(!cache.learn(&route(1, "", "", 1, 4, Some(2))));
        assert!(cache.learn(&route(1, "", "", 1, 6, Some(2))));
        cache.forget_leader(ShardId(1));
        assert!(cache.find(b"k").unwrap().leader.is_none());
        assert!(cache.learn(&route(1, "", "", 1, 6, Some(2))));
    }
}
