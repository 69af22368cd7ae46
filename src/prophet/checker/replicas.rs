//! Does the shard have as many voters as it should? One missing is added as a learner on the living store that has
//! the fewest replicas; a learner that has caught up is promoted. One step at a time, each shown by a heartbeat.

use crate::{
    prophet::ClusterView,
    types::{Instant, PeerRole, ReplicaId, StoreId},
    wire::ShardBeat,
};

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A learner on this store.
    Learner(StoreId),
    /// This learner becomes a voter.
    Promotion(ReplicaId),
}

/// How a shard should be.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Voters that it is to have.
    pub max_replicas: usize,
    /// A store that was silent for longer is no place for a new replica.
    pub patience: std::time::Duration,
}

/// The next change for the shard that `beat` speaks of; `None` if it is as it should be, or nothing can be done.
pub fn check(view: &ClusterView, rules: Rules, now: Instant, beat: &ShardBeat) -> Option<Need> {
    let shard = &beat.route.shard;
    let learner = shard.peers.iter().find(|peer| peer.role == PeerRole::Learner);
    if let Some(learner) = learner {
        return beat.caught_up.contains(&learner.replica).then_some(Need::Promotion(learner.replica));
    }
    if shard.peers.len() >= rules.max_replicas {
        return None;
    }
    let alive = view.stores.keys().filter(|store| view.is_alive(**store, now, rules.patience));
    let free = alive.filter(|store| shard.peer_on(**store).is_none());
    free.min_by_key(|store| (view.replicas_on(**store), **store)).copied().map(Need::Learner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        types::{Boot, Epoch, KeyRange, NodeToken, Peer, Shard, ShardId, ShardRoute},
        wire::StoreInfo,
    };

    const RULES: Rules = Rules { max_replicas: 3, patience: Duration::from_secs(30) };
    const NOW: Instant = Instant(100_000_000_000);

    fn view(stores: &[(u64, u64)]) -> ClusterView {
        let mut view = ClusterView::new(Instant(0));
        for (id, heard_seconds) in stores {
            let info = StoreInfo {
                id: StoreId(*id),
                node: NodeToken(*id),
                boot: Boot(1),
                raft_address: String::new(),
                client_address: String::new(),
                labels: Vec::new(),
                capacity: 0,
                available: 0,
                shard_count: 0,
                leader_count: 0,
                heard_ms_ago: None,
            };
            view.hear_store(Instant(heard_seconds * 1_000_000_000), info);
        }
        view
    }

    fn beat(peers: &[(u64, PeerRole)], caught_up: &[u64]) -> ShardBeat {
        let peers =
            peers.iter().map(|(id, role)| Peer { replica: ReplicaId(100 + id), store: StoreId(*id), role: *role });
        let shard = Shard { id: ShardId(9), range: KeyRange::all(), epoch: Epoch::FIRST, peers: peers.collect() };
        ShardBeat {
            route: ShardRoute { leader: shard.peers.first().copied(), shard, term: 6 },
            caught_up: caught_up.iter().map(|id| ReplicaId(100 + id)).collect(),
            down: Vec::new(),
            size: 0,
        }
    }

    #[test]
    fn a_missing_replica_goes_to_a_living_store_without_one() {
        let view = view(&[(1, 99), (2, 10), (3, 99)]);
        let need = check(&view, RULES, NOW, &beat(&[(1, PeerRole::Voter)], &[1]));
        assert_eq!(need, Some(Need::Learner(StoreId(3))));
    }

    #[test]
    fn a_learner_is_promoted_once_it_caught_up_and_nothing_else_happens_before() {
        let view = view(&[(1, 99), (2, 99), (3, 99)]);
        let peers = [(1, PeerRole::Voter), (2, PeerRole::Learner)];
        assert_eq!(check(&view, RULES, NOW, &beat(&peers, &[1])), None);
        let need = check(&view, RULES, NOW, &beat(&peers, &[1, 2]));
        assert_eq!(need, Some(Need::Promotion(ReplicaId(102))));
    }

    #[test]
    fn a_full_shard_and_one_without_a_free_store_are_left_alone() {
        let three = [(1, PeerRole::Voter), (2, PeerRole::Voter), (3, PeerRole::Voter)];
        assert_eq!(check(&view(&[(1, 99), (4, 99)]), RULES, NOW, &beat(&three, &[1])), None);
        assert_eq!(check(&view(&[(1, 99)]), RULES, NOW, &beat(&three[..1], &[1])), None);
    }

    #[test]
    fn the_store_with_the_fewest_replicas_is_chosen() {
        let mut view = view(&[(1, 99), (2, 99), (3, 99)]);
        assert!(view.hear_shard(ShardBeat {
            route: ShardRoute {
                shard: Shard { id: ShardId(8), ..beat(&[(1, PeerRole::Voter), (2, PeerRole::Voter)], &[]).route.shard },
                leader: None,
                term: 6,
            },
            ..beat(&[], &[])
        }));
        let need = check(&view, RULES, NOW, &beat(&[(1, PeerRole::Voter)], &[1]));
        assert_eq!(need, Some(Need::Learner(StoreId(3))));
    }
}
