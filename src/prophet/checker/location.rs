//! Are the shard's replicas as far apart as the stores allow? A shard that is whole and calm moves one voter to a store
//! that shares fewer location labels with the others. (PD's location checker.)
//!
//! Invariant: a move makes the replica that moves strictly more apart from its nearest than it was, and brings none of
//! the others nearer to it than that. So how far each is from its nearest, the least first, only grows, and no move is
//! ever undone for the sake of location; the schedulers never move a replica to where it is less apart.

use super::{Verdict, Wish};
use crate::{
    prophet::{cluster::Cluster, operator::Kind, scheduler::unrest},
    types::{Peer, StoreId},
    wire::ShardBeat,
};

/// The move that gains most, if one gains anything.
pub fn check(cluster: &Cluster, beat: &ShardBeat) -> Verdict {
    if cluster.config.location_labels.is_empty() || unrest(cluster, beat).is_some() {
        return Verdict::Fine;
    }
    let moves = beat.route.shard.voters().filter_map(|peer| better(cluster, beat, peer).map(|found| (peer, found)));
    let best = moves.max_by_key(|(peer, (_, gain))| (*gain, std::cmp::Reverse(peer.replica)));
    best.map_or(Verdict::Fine, |(peer, (store, gain))| {
        let reason = format!("{store} is {gain} labels further apart from the others than {}", peer.store);
        Verdict::Do(Wish { add: Some(store), remove: Some(peer.replica), ..Wish::new(Kind::Location, reason) })
    })
}

/// The store where this replica would be most apart from the others, and by how much more than where it is.
fn better(cluster: &Cluster, beat: &ShardBeat, peer: &Peer) -> Option<(StoreId, usize)> {
    let shard = &beat.route.shard;
    let others = || shard.peers.iter().filter(|other| other.replica != peer.replica).map(|other| other.store);
    let store = cluster.place(shard, Some(peer.replica)).ok()?;
    let gain = cluster.isolation(store, others()).checked_sub(cluster.isolation(peer.store, others()))?;
    (gain > 0).then_some((store, gain))
}
