//! Asks the nodes over HTTP what an operator would ask, from a machine of its own.

use std::{collections::BTreeMap, time::Duration};

use matrixkv::{
    env::{Env, within},
    http::client::{Answer, Connection},
};

use super::converge::{self, Demand};
use crate::{knobs::PROPHET_NODES, workload::Ground};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long until the cluster is looked at again.
const PERIOD: Duration = Duration::from_millis(200);

/// `GET path` of `node`: the body of a 200, or what came instead.
pub async fn get(ground: &impl Ground, node: usize, path: &'static str) -> Result<String, String> {
    match ground.ask(node, "GET", path, String::new()).await? {
        answer if answer.status == 200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
        answer => Err(format!("node{node} answers {path} with {}", answer.status)),
    }
}

/// `POST path` of `node`: the status of the answer.
pub async fn post(ground: &impl Ground, node: usize, path: &'static str, body: String) -> Result<u16, String> {
    Ok(ground.ask(node, "POST", path, body).await?.status)
}

/// Asks `node`, which serves at `address`.
pub(crate) async fn exchange<E: Env>(
    env: &E,
    address: &str,
    node: usize,
    method: &'static str,
    path: &'static str,
    body: String,
) -> Result<Answer, String> {
    let ask = async {
        let mut connection = Connection::open(env, address).await?;
        connection.request(method, path, body.as_bytes()).await
    };
    match within(env, PATIENCE, ask).await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => Err(format!("node{node} does not answer {path}: {error}")),
        None => Err(format!("node{node} does not answer {path} within {PATIENCE:?}")),
    }
}

/// Whether the cluster is as a healed one must be, right now, and calm; if not, the first thing that is wrong.
pub async fn is_whole(ground: &impl Ground) -> Result<(), String> {
    is_replicated(ground).await?;
    converge::judge_operators(&get(ground, someone(ground)?, "/operators").await?)?;
    ground.record().observer.lingering().map_or(Ok(()), Err)
}

/// Somebody who may be asked for all: node1, which has no folder to lose in most plans.
fn someone(ground: &impl Ground) -> Result<usize, String> {
    let up = ground.nodes_up();
    let first = up.iter().find(|node| **node == 1).or(up.first());
    first.copied().ok_or_else(|| "no node is up".into())
}

/// Whether every shard and Prophet's group have all that they should, right now; else the first thing that is wrong. A node that is
/// asked for all shards learns all routes by that, and stale ones are never seen again; so in every second seed only one
/// node is, and the others say who they are.
pub async fn is_replicated(ground: &impl Ground) -> Result<(), String> {
    let mut bodies = BTreeMap::new();
    let views = if ground.knobs().seed.is_multiple_of(2) { 1 } else { usize::MAX };
    for node in ground.nodes_up() {
        let path = if bodies.len() < views { "/shards" } else { "/shards?local=true" };
        bodies.insert(node, get(ground, node, path).await?);
    }
    if bodies.is_empty() {
        return Err("no node is up".into());
    }
    let knobs = ground.knobs();
    // What it had is rebuilt only where its silence is ever held for death.
    let lost_store = ground.lost_a_folder() && knobs.forgives_silence();
    converge::judge(&Demand { replicas: knobs.replicas, lost_store, views, zones: knobs.zones }, &bodies)?;
    converge::judge_prophet(PROPHET_NODES, &get(ground, someone(ground)?, "/prophet").await?)
}

/// Looks again and again until the cluster is whole: when that was. Else, at `until`, what is wrong.
pub async fn wait_until_whole(ground: &impl Ground, until: Duration) -> Result<Duration, String> {
    loop {
        match is_whole(ground).await {
            Ok(()) => return Ok(ground.now()),
            Err(why) if ground.now() >= until => return Err(why),
            Err(_) => ground.sleep(PERIOD).await,
        }
    }
}
