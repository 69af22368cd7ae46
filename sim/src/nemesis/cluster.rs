//! What operators do to a cluster, at bad moments: splits, moves of leaderships and replicas, drains. They ask over HTTP,
//! as an operator would; what is refused with a reason is counted as skipped.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use matrixkv::types::ShardId;
use serde::Deserialize;

use super::Struck;
use crate::{
    check::probe,
    plan::{Kind, Move},
    workload::Ground,
};

/// How long until an operator asks again who was told that it cannot be now.
const AGAIN: Duration = Duration::from_millis(500);

/// How often an operator asks then.
const NOT_NOW_MAX: u32 = 4;

/// Stores that an operator has drained, and did not undrain yet.
#[derive(Clone, Default)]
pub struct Drained(Arc<Mutex<BTreeSet<u64>>>);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Shards {
    store_id: u64,
    shards: Option<Vec<Shard>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Shard {
    shard_id: u64,
}

async fn shards(world: &impl Ground, node: usize) -> Option<Shards> {
    let body = probe::get(world, node, "/shards?local=true").await.ok()?;
    serde_json::from_str(&body).ok()
}

/// The store of `node`, if it runs.
pub(super) async fn store_of(world: &impl Ground, node: usize) -> Option<u64> {
    if !world.nodes_up().contains(&node) {
        return None;
    }
    shards(world, node).await.map(|shards| shards.store_id).filter(|store| *store != 0)
}

/// A node that runs and can be asked.
fn somebody(world: &impl Ground, number: u64) -> Option<usize> {
    let up = world.nodes_up();
    up.get(number.checked_rem(up.len() as u64)? as usize).copied()
}

async fn post(world: &impl Ground, number: u64, path: &'static str, body: String) -> bool {
    for _ in 0..NOT_NOW_MAX {
        let Some(node) = somebody(world, number) else { return false };
        match probe::post(world, node, path, body.clone()).await {
            Ok(503) => world.sleep(AGAIN).await,
            answer => return answer.is_ok_and(|status| status == 200),
        }
    }
    false
}

/// Splits the shard of a key there.
pub async fn split_at(world: &impl Ground, key: usize) -> Struck {
    let (number, key) = (key as u64, world.knobs().key(key));
    if !post(world, number, "/split", serde_json::json!({ "key": key }).to_string()).await {
        return Struck::Skipped;
    }
    world.record().fault(Kind::SplitAt, world.now(), &format!("at {key:?}"));
    Struck::Yes
}

/// Moves a leadership or a replica.
pub async fn move_replica(world: &impl Ground, what: Move, group: u64, node: usize) -> Struck {
    let Some(store) = store_of(world, node).await else { return Struck::Skipped };
    let Some(asked) = somebody(world, group) else { return Struck::Skipped };
    let all = shards(world, asked).await.and_then(|shards| shards.shards).unwrap_or_default();
    let Some(index) = group.checked_rem(all.len() as u64) else { return Struck::Skipped };
    let shard = all[index as usize].shard_id;
    let (command, kind) = match what {
        Move::Leader => ("transfer-leader", Kind::TransferLeader),
        Move::Add => ("add-replica", Kind::AddReplica),
        Move::Remove => ("remove-replica", Kind::RemoveReplica),
    };
    if matches!(what, Move::Remove) {
        world.record().observer.may_shrink(ShardId(shard));
    }
    let body = format!("{{\"command\":\"{command}\",\"shard\":{shard},\"store\":{store}}}");
    if !post(world, group, "/operators", body).await {
        return Struck::Skipped;
    }
    world.record().fault(kind, world.now(), &format!("shard {shard}, store {store} of node{node}"));
    Struck::Yes
}

impl Drained {
    /// Drains the store of a node for a while.
    pub async fn drain(&self, world: &impl Ground, node: usize, lasts: Duration) -> Struck {
        let Some(store) = store_of(world, node).await else { return Struck::Skipped };
        self.0.lock().expect("no holder panics").insert(store);
        if !post(world, store, "/operators", format!("{{\"command\":\"drain\",\"store\":{store}}}")).await {
            // It may have been decided all the same.
            self.undrain(world, store).await;
            return Struck::Skipped;
        }
        world.record().fault(Kind::Drain, world.now(), &format!("store {store} of node{node} for {lasts:?}"));
        world.sleep(lasts).await;
        self.undrain(world, store).await;
        Struck::Yes
    }

    async fn undrain(&self, world: &impl Ground, store: u64) {
        for number in 0.. {
            let body = format!("{{\"command\":\"undrain\",\"store\":{store}}}");
            if post(world, number, "/operators", body).await {
                break;
            }
            world.sleep(AGAIN).await;
        }
        self.0.lock().expect("no holder panics").remove(&store);
    }

    /// Ends all drains, as soon as Prophet can be asked: a task for each.
    pub fn end<G: Ground>(&self, world: &G) -> Vec<impl Future<Output = ()> + Send + use<G>> {
        let stores: Vec<_> = self.0.lock().expect("no holder panics").iter().copied().collect();
        let end = |store| {
            let (drained, world) = (self.clone(), world.clone());
            async move { drained.undrain(&world, store).await }
        };
        stores.into_iter().map(end).collect()
    }
}
