//! `ctl settled`: waits until the cluster is whole, even and calm, and says how long that took.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Deserialize;

use super::{End, ask};
use crate::{env::Env, http::client::Answer, types::Instant};

/// Between looks.
const PAUSE: Duration = Duration::from_millis(500);

/// What counts as settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Voters of each shard.
    pub replicas: usize,
    /// Stores in use, if it matters how many.
    pub stores: Option<u64>,
    /// How far a store's share of shards and leaders may be from even, in percent.
    pub even: f64,
    /// How long nothing may move.
    pub calm: Duration,
    /// How long is waited for all that.
    pub patience: Duration,
}

#[derive(Deserialize)]
struct Shards {
    shards: Option<Vec<Shard>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Shard {
    shard_id: u64,
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Replica {
    store_id: u64,
    role: String,
    learner: bool,
}

#[derive(Deserialize)]
struct Stores {
    stores: Vec<Store>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Store {
    store_id: u64,
    state: String,
}

#[derive(Deserialize)]
struct Operators {
    running: Vec<serde_json::Value>,
    total: u64,
}

/// What one look showed.
struct Look {
    shards: usize,
    stores: usize,
    /// Operators that the present leader of Prophet has begun.
    begun: u64,
    /// What is not as it should be, if anything.
    wrong: Option<String>,
}

pub(super) async fn settled<E: Env>(env: &E, nodes: &[String], demand: Demand) -> End {
    let began = env.now();
    let mut since: Option<(Instant, u64)> = None;
    loop {
        let now = env.now();
        let wrong = match look(env, nodes, demand).await {
            Ok(Look { wrong: Some(why), .. }) | Err(why) => Some(why),
            Ok(Look { shards, stores, begun, .. }) => {
                let (from, before) = *since.get_or_insert((now, begun));
                match begun == before {
                    true if now.since(from) >= demand.calm => {
                        let took = from.since(began);
                        println!(
                            "{shards} shards on {stores} stores, whole and even after {took:.1?} and {begun} operators; \
                             then nothing moved for {:.0?}",
                            now.since(from)
                        );
                        return End::Done;
                    }
                    true => None,
                    false => Some("something moved".into()),
                }
            }
        };
        if let Some(why) = wrong {
            since = None;
            if now.since(began) > demand.patience {
                eprintln!("matrixkv: not settled after {:?}: {why}", demand.patience);
                return End::NotDone;
            }
        }
        env.sleep(PAUSE).await;
    }
}

async fn look<E: Env>(env: &E, nodes: &[String], demand: Demand) -> Result<Look, String> {
    let shards: Shards = get(env, nodes, "/shards").await?;
    let stores: Stores = get(env, nodes, "/stores").await?;
    let operators: Operators = get(env, nodes, "/operators").await?;
    let shards = shards.shards.unwrap_or_default();
    let up: BTreeSet<u64> =
        stores.stores.iter().filter(|store| store.state == "up").map(|store| store.store_id).collect();
    let whole = shards.iter().find_map(|shard| judge_shard(shard, &up, demand.replicas));
    let running = operators.running.len();
    let busy = (running > 0).then(|| format!("{running} operators are under way"));
    let others = demand.stores.filter(|wanted| *wanted != up.len() as u64);
    let others = others.map(|wanted| format!("{} stores are in use, not {wanted}", up.len()));
    let wrong = others.or(whole).or(busy).or_else(|| judge_shares(&shards, &up, demand.even));
    Ok(Look { shards: shards.len(), stores: up.len(), begun: operators.total, wrong })
}

async fn get<E: Env, T: for<'a> Deserialize<'a>>(env: &E, nodes: &[String], path: &str) -> Result<T, String> {
    match ask(env, nodes, "GET", path, &[]).await {
        Ok(Answer { status: 200, body }) => serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}")),
        Ok(Answer { status, .. }) => Err(format!("{path} is answered with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

fn judge_shard(shard: &Shard, up: &BTreeSet<u64>, replicas: usize) -> Option<String> {
    let id = shard.shard_id;
    let leaders = shard.replicas.iter().filter(|replica| replica.role == "L").count();
    let stores: BTreeSet<u64> = shard.replicas.iter().map(|replica| replica.store_id).collect();
    if shard.replicas.iter().any(|replica| replica.learner) {
        return Some(format!("shard {id} has a learner"));
    }
    if stores.len() != replicas || shard.replicas.len() != replicas || !stores.is_subset(up) {
        return Some(format!("shard {id} has replicas on {stores:?}; in use are {up:?}"));
    }
    (leaders != 1).then(|| format!("shard {id} has {leaders} leaders"))
}

fn judge_shares(shards: &[Shard], up: &BTreeSet<u64>, even: f64) -> Option<String> {
    let mut counts: BTreeMap<u64, (f64, f64)> = up.iter().map(|store| (*store, (0.0, 0.0))).collect();
    for replica in shards.iter().flat_map(|shard| &shard.replicas) {
        let (held, led) = counts.get_mut(&replica.store_id)?;
        *held += 1.0;
        *led += f64::from(u8::from(replica.role == "L"));
    }
    let stores = counts.len().max(1) as f64;
    let (held, led) = counts.values().fold((0.0, 0.0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    // One more or less is even, however few there are.
    let is_off = |count: f64, all: f64| (count - all / stores).abs() > (all / stores * even / 100.0).max(1.0);
    let off = counts.iter().find(|(_, count)| is_off(count.0, held) || is_off(count.1, led))?;
    Some(format!(
        "store {} has {} replicas and leads {}; even is {:.0} and {:.0}",
        off.0,
        off.1.0,
        off.1.1,
        held / stores,
        led / stores
    ))
}
