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

/// Whether a shard may be touched for balance's sake: whole, calm and without an operator.
fn is_calm(cluster: &Cluster, beat: &ShardBeat) -> bool {
    let shard = &beat.route.shard;
    let is_whole = shard.peers.len() == cluster.config.max_replicas && shard.voters().count() == shard.peers.len();
    let is_served = !shard.peers.iter().any(|peer| cluster.view.is_quarantined(shard.id, peer));
    is_whole && is_served && beat.down.is_empty() && cluster.view.operators.get(shard.id).is_none()
}
