//! Evens out replicas over the stores, by count and size: from the store that carries most to the one that carries least.

use super::{TOLERANCE, is_calm};
use crate::{
    prophet::{checker::Wish, cluster::Cluster, operator::Kind},
    types::{ShardId, StoreId},
    wire::ShardBeat,
};

/// The next replica that should move.
pub fn schedule(cluster: &Cluster) -> Option<(ShardId, Wish)> {
    let (stores, gap) = scores(cluster);
    for (giver, heavy) in &stores {
        for (taker, light) in stores.iter().rev().filter(|(_, light)| heavy - light > gap) {
            let may_move = |beat: &&ShardBeat| {
                let is_there = beat.route.shard.peer_on(*giver).is_some();
                is_there && is_calm(cluster, beat) && obstacle(cluster, beat, *giver, *taker, heavy - light).is_none()
            };
            let found = cluster.view.shards.values().find(may_move);
            let Some(beat) = found else { continue };
            let reason = format!("{giver} carries {heavy:.1}, {taker} carries {light:.1}");
            let old = beat.route.shard.peer_on(*giver).expect("checked by may_move");
            let (add, remove) = (Some(*taker), Some(old.replica));
            return Some((beat.route.shard.id, Wish { add, remove, ..Wish::new(Kind::BalanceShards, reason) }));
        }
    }
    None
}

/// What the stores in use carry, the heaviest first, and by how much they may differ.
fn scores(cluster: &Cluster) -> (Vec<(StoreId, f64)>, f64) {
    let mut stores: Vec<_> = cluster.usable().map(|store| (store, cluster.score(store))).collect();
    stores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let average = stores.iter().map(|(_, score)| score).sum::<f64>() / stores.len().max(1) as f64;
    (stores, (average * TOLERANCE).max(1.0))
}

/// Why the replicas of a shard that is calm stay where they are.
pub fn why_still(cluster: &Cluster, beat: &ShardBeat) -> String {
    let (stores, gap) = scores(cluster);
    let givers = || stores.iter().filter(|(store, _)| beat.route.shard.peer_on(*store).is_some());
    let takers = || stores.iter().rev().filter(|(store, _)| beat.route.shard.peer_on(*store).is_none());
    let uneven = givers().flat_map(|giver| takers().map(move |taker| (giver, taker)));
    let uneven: Vec<_> = uneven.filter(|((_, heavy), (_, light))| heavy - light > gap).collect();
    let (Some((giver, heavy)), Some((taker, light))) = (givers().next(), takers().next()) else {
        return "it has a replica on each store in use".into();
    };
    if uneven.is_empty() {
        return format!("{giver} carries {heavy:.1}, {taker} carries {light:.1}, and they may differ by {gap:.1}");
    }
    let told = uneven.iter().map(|((giver, heavy), (taker, light))| {
        let why = obstacle(cluster, beat, *giver, *taker, heavy - light);
        why.unwrap_or_else(|| format!("it is next to go from {giver} to {taker} unless another comes first"))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Why a calm shard's replica may not move from `giver`, which has it and carries so much more, to `taker`; `None` if it may.
fn obstacle(cluster: &Cluster, beat: &ShardBeat, giver: StoreId, taker: StoreId, difference: f64) -> Option<String> {
    let shard = &beat.route.shard;
    if let Some(why) = cluster.unfit(shard, taker) {
        return Some(why);
    }
    // A shard under way already leaves the giver soon.
    let others = || shard.peers.iter().map(|peer| peer.store).filter(|store| *store != giver);
    if cluster.isolation(taker, others()) < cluster.isolation(giver, others()) {
        return Some(format!("on {taker} its replicas would be less far apart than with {giver}"));
    }
    let weight = cluster.weight(beat.size);
    (2.0 * weight > difference).then(|| {
        format!("it weighs {weight:.1}, which is more than half of the {difference:.1} between {giver} and {taker}")
    })
}
