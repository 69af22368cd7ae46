//! What the demo asks of its nodes before it says that one of them may be killed.

use serde_json::Value;

use crate::{
    env::real::RealEnv,
    http::client::{Connection, RequestError},
};

/// Whether the node at `address` serves; else why not.
pub(super) async fn serves(env: &RealEnv, address: &str) -> Result<(), String> {
    ask(env, address, "/ready").await.map(drop)
}

/// Whether each shard has `replicas` voters and Prophet has `members`, as the node at `address` knows; else what lacks.
/// A node that serves says nothing of this: the first one serves when it holds the only replica.
pub(super) async fn survives_a_loss(
    env: &RealEnv,
    address: &str,
    replicas: usize,
    members: usize,
) -> Result<(), String> {
    let shards = ask(env, address, "/shards").await?;
    let shards = list(&shards["shards"]);
    if shards.is_empty() {
        return Err("no shard is known yet".into());
    }
    for shard in shards {
        let voters = list(&shard["replicas"]).iter().filter(|replica| replica["learner"] == false).count();
        if voters != replicas {
            return Err(format!("shard {} has {voters} voters of {replicas}", shard["shard-id"]));
        }
    }
    let prophet = ask(env, address, "/prophet").await?;
    let voters = list(&prophet["members"]).iter().filter(|member| member["voter"] == true).count();
    if voters != members {
        return Err(format!("Prophet has {voters} voters of {members}"));
    }
    Ok(())
}

async fn ask(env: &RealEnv, address: &str, path: &str) -> Result<Value, String> {
    let told = |error: RequestError| format!("{address}: {error}");
    let mut connection = Connection::open(env, address).await.map_err(told)?;
    let answer = connection.request("GET", path, &[]).await.map_err(told)?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body).map_err(|error| format!("{address}{path}: {error}")),
        _ => Err(format!("{address}: {}", String::from_utf8_lossy(&answer.body))),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
