//! Evens out replicas over the stores, by count and size: from the store that carries most to the one that carries least.

use super::{TOLERANCE, is_calm};
use crate::{
    prophet::{checker::Wish, cluster::Cluster, operator::Kind},
    types::{ShardId, StoreId},
    wire::ShardBeat,
};

/// The next replica that should move.
pub fn schedule(cluster: &Cluster) -> Option<(ShardId, Wish)> {
    let mut stores: Vec<_> = cluster.usable().map(|store| (store, cluster.score(store))).collect();
    stores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let average = stores.iter().map(|(_, score)| score).sum::<f64>() / stores.len().max(1) as f64;
    let gap = average * TOLERANCE;
    for (giver, heavy) in &stores {
        for (taker, light) in stores.iter().rev().filter(|(_, light)| heavy - light > gap.max(1.0)) {
            let found =
                cluster.view.shards.values().find(|beat| may_move(cluster, beat, *giver, *taker, heavy - light));
            let Some(beat) = found else { continue };
            let reason = format!("{giver} carries {heavy:.1}, {taker} carries {light:.1}");
            let old = beat.route.shard.peer_on(*giver).expect("checked by may_move");
            let (add, remove) = (Some(*taker), Some(old.replica));
            return Some((beat.route.shard.id, Wish { add, remove, ..Wish::new(Kind::BalanceShards, reason) }));
        }
    }
    None
}

fn may_move(cluster: &Cluster, beat: &ShardBeat, giver: StoreId, taker: StoreId, difference: f64) -> bool {
    let shard = &beat.route.shard;
    if shard.peer_on(giver).is_none() || cluster.unfit(shard, taker).is_some() || !is_calm(cluster, beat) {
        return false;
    }
    // A shard under way already leaves the giver soon.
    let others = || shard.peers.iter().map(|peer| peer.store).filter(|store| *store != giver);
    let stays_apart = cluster.isolation(taker, others()) >= cluster.isolation(giver, others());
    stays_apart && 2.0 * cluster.weight(beat.size) <= difference
}
