//! Is the cluster balanced? Each scheduler names at most one operator at a time; it is asked again as long as it names one
//! and its limit allows.
//!
//! Invariant: a move is made only where it leaves the giver with no less than the taker gets, so none is ever undone.

pub mod leaders;
pub mod shards;

use super::cluster::Cluster;
use crate::wire::ShardBeat;

/// Shares that differ by less than this part of the average are even.
const TOLERANCE: f64 = 0.03;

/// Why a shard may not be touched for balance's sake, if it may not: it must be whole, calm and without an operator.
pub fn unrest(cluster: &Cluster, beat: &ShardBeat) -> Option<String> {
    let shard = &beat.route.shard;
    let (voters, wanted) = (shard.voters().count(), cluster.config.max_replicas);
    if shard.peers.len() != wanted || voters != wanted {
        let learners = shard.peers.len() - voters;
        return Some(format!("it has {voters} voters and {learners} learners, and {wanted} voters are wanted"));
    }
    if let Some(bad) = shard.peers.iter().find(|peer| cluster.view.is_quarantined(shard.id, peer)) {
        return Some(format!("{} is quarantined", bad.replica));
    }
    if let Some((silent, _)) = beat.down.first() {
        return Some(format!("{silent} is silent"));
    }
    cluster.view.operators.get(shard.id).map(|operator| format!("a {} operator is under way", operator.kind))
}

fn is_calm(cluster: &Cluster, beat: &ShardBeat) -> bool {
    unrest(cluster, beat).is_none()
}
