//! Evens out leaderships over the stores: from the store with the most to the voter's store with the fewest.

use std::collections::BTreeMap;

use super::{TOLERANCE, is_calm};
use crate::{
    prophet::{checker::Wish, cluster::Cluster, operator::Kind},
    types::{ShardId, StoreId},
    wire::{ShardBeat, ShardStep},
};

/// The next leadership that should move.
pub fn schedule(cluster: &Cluster) -> Option<(ShardId, Wish)> {
    let counts = counts(cluster);
    let gap = gap(&counts);
    let mut givers: Vec<_> = counts.iter().map(|(store, count)| (*store, *count)).collect();
    givers.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    for (giver, many) in givers {
        // A leadership weighs one: it moves only where it leaves no less than it brings.
        let takers = counts.iter().filter(|(_, few)| many - **few > 1.0 && many - **few > gap);
        let mut takers: Vec<_> = takers.map(|(store, few)| (*store, *few)).collect();
        takers.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        for (taker, few) in takers {
            let found = cluster.view.shards.values().find_map(|beat| heir(cluster, beat, giver, taker));
            if let Some((shard, lead)) = found {
                let reason = format!("{giver} leads {many} shards, {taker} leads {few}");
                return Some((shard, Wish { lead: Some(lead), ..Wish::new(Kind::BalanceLeaders, reason) }));
            }
        }
    }
    None
}

/// Leaderships by which stores may differ.
fn gap(counts: &BTreeMap<StoreId, f64>) -> f64 {
    let average = counts.values().sum::<f64>() / counts.len().max(1) as f64;
    (average * TOLERANCE).max(1.0)
}

/// Why the shard's leadership stays where it is.
pub fn why_still(cluster: &Cluster, beat: &ShardBeat) -> String {
    let counts = counts(cluster);
    let gap = gap(&counts);
    let Some(leader) = beat.route.leader else { return "nobody leads it".into() };
    let Some(many) = counts.get(&leader.store) else { return format!("{} is not in use", leader.store) };
    let others = beat.route.shard.voters().filter(|peer| peer.store != leader.store);
    let told = others.map(|peer| match counts.get(&peer.store) {
        None => format!("{} is not in use", peer.store),
        Some(few) if many - few <= gap => {
            format!("{} leads {many} shards, {} leads {few}, and they may differ by {gap:.1}", leader.store, peer.store)
        }
        Some(_) if !beat.caught_up.contains(&peer.replica) => {
            format!("the replica on {} has not caught up, or answers too late", peer.store)
        }
        Some(few) => {
            format!("{} leads {few} shards, and is next to lead this one unless another comes first", peer.store)
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Leaderships of the stores in use; those that are on their way count where they go.
fn counts(cluster: &Cluster) -> BTreeMap<StoreId, f64> {
    let mut counts: BTreeMap<_, _> =
        cluster.usable().map(|store| (store, cluster.view.load(store).leaders as f64)).collect();
    for (shard, operator) in cluster.view.operators.running() {
        let Some(ShardStep::Lead(to)) = operator.steps.get(operator.done) else { continue };
        let from = cluster.view.shards.get(shard).and_then(|beat| beat.route.leader);
        if let Some(count) = counts.get_mut(&to.store) {
            *count += 1.0;
        }
        if let Some(count) = from.and_then(|from| counts.get_mut(&from.store)) {
            *count -= 1.0;
        }
    }
    counts
}

fn heir(
    cluster: &Cluster,
    beat: &ShardBeat,
    giver: StoreId,
    taker: StoreId,
) -> Option<(ShardId, crate::types::ReplicaId)> {
    let leader = beat.route.leader.filter(|leader| leader.store == giver)?;
    let heir = beat.route.shard.peer_on(taker)?;
    let is_fit = heir.replica != leader.replica && beat.caught_up.contains(&heir.replica) && is_calm(cluster, beat);
    is_fit.then_some((beat.route.shard.id, heir.replica))
}
