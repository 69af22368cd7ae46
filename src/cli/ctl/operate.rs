//! `ctl` for operators: asks for a change, then looks on until it is so, or says why it is not.

use std::time::Duration;

use serde_json::{Value, json};

use super::{End, ask, reason};
use crate::{env::Env, http::client::Answer};

/// Between looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Consecutive looks that fail before the looking is given up.
const FAILURES_MAX: u32 = 25;

/// What is to be, once a command is done.
pub(super) enum Goal {
    /// That store leads the shard.
    Leads { shard: u64, store: u64 },
    /// The shard has a voter on that store.
    Has { shard: u64, store: u64 },
    /// It has no replica there.
    HasNot { shard: u64, store: u64 },
    /// The store holds no replica.
    Empty { store: u64 },
    /// The store is in that state.
    State { store: u64, state: &'static str },
}

pub(super) struct Asker<'a, E: Env> {
    pub env: &'a E,
    pub nodes: &'a [String],
    pub patience: Duration,
}

impl<E: Env> Asker<'_, E> {
    async fn get(&self, path: &str) -> Result<Value, String> {
        match ask(self.env, self.nodes, "GET", path, &[]).await {
            Ok(Answer { status: 200, body }) => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            Ok(Answer { status, body }) => Err(reason(status, &body)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// `POST /operators`, then waits until `goal` is reached.
    pub async fn command(&self, body: Value, goal: Goal) -> End {
        let deadline = self.env.now() + self.patience;
        let asked = ask(self.env, self.nodes, "POST", "/operators", body.to_string().as_bytes()).await;
        match asked {
            Ok(Answer { status: 200, .. }) => {}
            Ok(Answer { status, body }) => return refused(&reason(status, &body)),
            // Each of these commands may be given twice, so whether it arrived is seen from what follows.
            Err(error) => eprintln!("matrixkv: {error}; looking whether it was decided"),
        }
        let mut failures = 0;
        loop {
            let why = match self.reached(&goal).await {
                Ok(None) => return End::Done,
                Ok(Some(why)) => {
                    failures = 0;
                    why
                }
                Err(error) => {
                    failures += 1;
                    error
                }
            };
            if self.env.now() >= deadline || failures > FAILURES_MAX {
                eprintln!("matrixkv: not so after {:?}: {why}", self.patience);
                self.say_why(&goal).await;
                return End::NotDone;
            }
            self.env.sleep(PAUSE).await;
        }
    }

    /// `None` if it is so, else what is.
    async fn reached(&self, goal: &Goal) -> Result<Option<String>, String> {
        match *goal {
            Goal::Leads { shard, store } => {
                let replica = self.replica(shard, store).await?;
                let leads = replica.as_ref().is_some_and(|replica| replica["role"] == "L");
                Ok((!leads).then(|| format!("store {store} does not lead shard {shard}")))
            }
            Goal::Has { shard, store } => {
                let replica = self.replica(shard, store).await?;
                let votes = replica.as_ref().is_some_and(|replica| replica["learner"] == false);
                Ok((!votes).then(|| format!("shard {shard} has no voter on store {store}")))
            }
            Goal::HasNot { shard, store } => {
                let replica = self.replica(shard, store).await?;
                Ok(replica.map(|_| format!("shard {shard} still has a replica on store {store}")))
            }
            Goal::Empty { store } => {
                let shards = self.get("/shards").await?;
                let held = shards["shards"].as_array().into_iter().flatten().filter(|shard| {
                    let mut replicas = shard["replicas"].as_array().into_iter().flatten();
                    replicas.any(|replica| replica["store-id"] == store)
                });
                let held = held.count();
                Ok((held > 0).then(|| format!("store {store} holds {held} replicas")))
            }
            Goal::State { store, state } => {
                let stores = self.get("/stores").await?;
                let mut all = stores["stores"].as_array().into_iter().flatten();
                let is = all.find(|info| info["store-id"] == store).map(|info| info["state"].clone());
                let is = is.unwrap_or_default();
                Ok((is != state).then(|| format!("store {store} is {is}, not {state}")))
            }
        }
    }

    async fn replica(&self, shard: u64, store: u64) -> Result<Option<Value>, String> {
        let shards = self.get("/shards").await?;
        let mut all = shards["shards"].as_array().into_iter().flatten();
        let found = all.find(|known| known["shard-id"] == shard).ok_or(format!("there is no shard {shard}"))?;
        let mut replicas = found["replicas"].as_array().into_iter().flatten();
        Ok(replicas.find(|replica| replica["store-id"] == store).cloned())
    }

    async fn say_why(&self, goal: &Goal) {
        let (Goal::Leads { shard, .. } | Goal::Has { shard, .. } | Goal::HasNot { shard, .. }) = goal else { return };
        if let Ok(said) = self.get(&format!("/explain?shard={shard}")).await {
            said["explanation"].as_array().into_iter().flatten().filter_map(Value::as_str).for_each(|line| {
                eprintln!("  {line}");
            });
        }
    }
}

fn refused(why: &str) -> End {
    eprintln!("matrixkv: {why}");
    End::NotDone
}

/// The body of a command about a shard's replica on a store.
pub(super) fn about(command: &str, shard: u64, store: u64) -> Value {
    json!({ "command": command, "shard": shard, "store": store })
}

/// The body of a command about a store.
pub(super) fn store(command: &str, store: u64) -> Value {
    json!({ "command": command, "store": store })
}
