//! Asks the nodes over HTTP what an operator would ask, from a machine of its own.

use std::{collections::BTreeMap, time::Duration};

use madsim::time::sleep;
use matrixkv::{
    env::within,
    http::client::{Answer, Connection},
};

use super::converge::{self, Demand};
use crate::{
    knobs::{Knobs, PROPHET_NODES},
    world::{State, World},
};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long until the cluster is looked at again.
const PERIOD: Duration = Duration::from_millis(200);

/// `GET path` of `node`: the body of a 200, or what came instead.
pub async fn get(world: &World, node: usize, path: &'static str) -> Result<String, String> {
    match ask(world, node, "GET", path, String::new()).await? {
        answer if answer.status == 200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
        answer => Err(format!("node{node} answers {path} with {}", answer.status)),
    }
}

/// `POST path` of `node`: the status of the answer.
pub async fn post(world: &World, node: usize, path: &'static str, body: String) -> Result<u16, String> {
    Ok(ask(world, node, "POST", path, body).await?.status)
}

async fn ask(
    world: &World,
    node: usize,
    method: &'static str,
    path: &'static str,
    body: String,
) -> Result<Answer, String> {
    let watching = world.clone();
    let answer = world.watcher().spawn(async move {
        let env = watching.watcher_env();
        let ask = async {
            let mut connection = Connection::open(&env, &Knobs::http_address(node)).await?;
            connection.request(method, path, body.as_bytes()).await
        };
        within(&env, PATIENCE, ask).await
    });
    match answer.await {
        Ok(Some(Ok(answer))) => Ok(answer),
        Ok(Some(Err(error))) => Err(format!("node{node} does not answer {path}: {error}")),
        _ => Err(format!("node{node} does not answer {path} within {PATIENCE:?}")),
    }
}

/// Whether the cluster is as a healed one must be, right now, and calm; if not, the first thing that is wrong.
pub async fn is_whole(world: &World) -> Result<(), String> {
    is_replicated(world).await?;
    converge::judge_operators(&get(world, someone(world)?, "/operators").await?)?;
    world.record().observer.lingering().map_or(Ok(()), Err)
}

/// Somebody who may be asked for all: node1, which has no folder to lose in most plans.
fn someone(world: &World) -> Result<usize, String> {
    let up = world.nodes_in(State::Up);
    let first = up.iter().find(|node| **node == 1).or(up.first());
    first.copied().ok_or_else(|| "no node is up".into())
}

/// Whether every shard and Prophet's group have all that they should, right now; else the first thing that is wrong. A node that is
/// asked for all shards learns all routes by that, and stale ones are never seen again; so in every second seed only one
/// node is, and the others say who they are.
pub async fn is_replicated(world: &World) -> Result<(), String> {
    let mut bodies = BTreeMap::new();
    let views = if world.knobs().seed.is_multiple_of(2) { 1 } else { usize::MAX };
    for node in world.nodes_in(State::Up) {
        let path = if bodies.len() < views { "/shards" } else { "/shards?local=true" };
        bodies.insert(node, get(world, node, path).await?);
    }
    if bodies.is_empty() {
        return Err("no node is up".into());
    }
    let knobs = world.knobs();
    // What it had is rebuilt only where its silence is ever held for death.
    let lost_store = world.lost_a_folder() && knobs.forgives_silence();
    converge::judge(&Demand { replicas: knobs.replicas(), lost_store, views }, &bodies)?;
    converge::judge_prophet(PROPHET_NODES, &get(world, someone(world)?, "/prophet").await?)
}

/// Looks again and again until the cluster is whole: when that was. Else, at `until`, what is wrong.
pub async fn wait_until_whole(world: &World, until: Duration) -> Result<Duration, String> {
    loop {
        match is_whole(world).await {
            Ok(()) => return Ok(world.now()),
            Err(why) if world.now() >= until => return Err(why),
            Err(_) => sleep(PERIOD).await,
        }
    }
}
