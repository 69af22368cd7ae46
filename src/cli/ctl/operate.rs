//! `ctl` for operators: asks for a change, then looks on until it is so, or says why it is not.

use std::time::Duration;

use serde_json::{Value, json};

use super::{End, ask, reason, tell};
use crate::{env::Env, http::client::Answer, types::Instant};

/// Between looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Consecutive looks that fail before the looking is given up.
const FAILURES_MAX: u32 = 25;

/// Outcomes of operators, as Prophet tells them: the shard changed otherwise; a later operator took its place.
const OVERTAKEN: &str = "cancelled: the membership changed otherwise";
const REPLACED: &str = "replaced by another one";
/// There is no operator for the command.
const NONE: &str = "";
/// How long that may be so before the command is given once more.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// What came of looking on.
enum Looked {
    End(End),
    /// The shard had changed when the command was to be carried out.
    Overtaken,
}

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
    /// A shard begins at that key, and Prophet knows it.
    Begins { key: String },
    /// The store is in that state.
    State { store: u64, state: &'static str },
}

impl Goal {
    /// The shard that it is about, if it is about one.
    fn shard(&self) -> Option<u64> {
        match *self {
            Goal::Leads { shard, .. } | Goal::Has { shard, .. } | Goal::HasNot { shard, .. } => Some(shard),
            Goal::Begins { .. } | Goal::Empty { .. } | Goal::State { .. } => None,
        }
    }
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
        let (body, deadline) = (body.to_string(), self.env.now() + self.patience);
        loop {
            let began = self.env.now();
            let asked = ask(self.env, self.nodes, "POST", "/operators", body.as_bytes()).await;
            let is_decided = matches!(asked, Ok(Answer { status: 200, .. }));
            match asked {
                Ok(Answer { status: 200, .. }) => {}
                // Not now: Prophet has no leader, or one that does not know enough yet.
                Ok(Answer { status: 503, .. }) if began < deadline => {
                    self.env.sleep(PAUSE).await;
                    continue;
                }
                // Whether it was decided is seen from what follows.
                Ok(Answer { status: 504, body }) => {
                    eprintln!("matrixkv: {}; looking whether it was decided", reason(504, &body));
                }
                Ok(Answer { status, body }) => return refused(&reason(status, &body)),
                Err(error) => eprintln!("matrixkv: {error}; looking whether it was decided"),
            }
            match self.look_on(&goal, began, deadline, is_decided).await {
                Looked::End(end) => return end,
                // It was decided on what the shard was a moment before, so it is asked for again.
                Looked::Overtaken if self.env.now() < deadline => self.env.sleep(PAUSE).await,
                Looked::Overtaken => return refused("not so: the shard changes all the time"),
            }
        }
    }

    /// `POST /split`, then waits until Prophet has heard of the new shard too: only then can it be moved.
    pub async fn split(&self, key: &str) -> End {
        let (began, body) = (self.env.now(), json!({ "key": key }).to_string());
        let asked = ask(self.env, self.nodes, "POST", "/split", body.as_bytes()).await;
        if !matches!(asked, Ok(Answer { status: 200, .. })) {
            return tell(asked, |_| End::Done);
        }
        match self.look_on(&Goal::Begins { key: key.to_owned() }, began, began + self.patience, true).await {
            Looked::End(end) => end,
            Looked::Overtaken => unreachable!("a split is no operator of Prophet's"),
        }
    }

    /// Waits until `goal` is reached, or until that is given up.
    async fn look_on(&self, goal: &Goal, began: Instant, deadline: Instant, is_decided: bool) -> Looked {
        let mut failures = 0;
        loop {
            let why = match self.reached(goal).await {
                Ok(None) => return Looked::End(End::Done),
                Ok(Some(why)) => {
                    failures = 0;
                    let outcome = self.outcome(goal, began).await;
                    match outcome.as_deref() {
                        // Prophet held it for done already, or has forgotten it: its view is a heartbeat old, and its
                        // operators go with its leader.
                        Some(NONE) if self.env.now().since(began) > ASK_AGAIN => return Looked::Overtaken,
                        // What is wanted of a store has no operator of its own that could be looked for.
                        // Given again, it could undo what somebody else has decided since.
                        None if !is_decided
                            && self.env.now().since(began) > ASK_AGAIN
                            && !self.is_under_way(goal).await =>
                        {
                            eprintln!("matrixkv: {why}; whether it was decided is not known");
                            return Looked::End(End::Unknown);
                        }
                        None | Some(NONE) => why,
                        Some("done") => {
                            println!("done; Prophet has gone on since: {why}");
                            return Looked::End(End::Done);
                        }
                        Some(OVERTAKEN) => return Looked::Overtaken,
                        Some(outcome) => return Looked::End(refused(&format!("{why}: {outcome}"))),
                    }
                }
                Err(error) => {
                    failures += 1;
                    error
                }
            };
            if self.env.now() >= deadline || failures > FAILURES_MAX {
                eprintln!("matrixkv: not so after {:?}: {why}", self.patience);
                self.say_why(goal).await;
                return Looked::End(End::NotDone);
            }
            self.env.sleep(PAUSE).await;
        }
    }

    /// How Prophet's operator for this command ended, if it has; [`NONE`] if there is none. What a command brought about may not last: where a
    /// replica is one too many or too few, Prophet makes it right at once, and nobody may have seen it in between.
    async fn outcome(&self, goal: &Goal, began: Instant) -> Option<String> {
        let shard = goal.shard()?;
        let operators = self.get("/operators").await.ok()?;
        if operators["running"].as_array()?.iter().any(|operator| operator["shard"] == shard) {
            return None;
        }
        let age_max = self.env.now().since(began).as_millis() as u64;
        let mut recent = operators["recent"].as_array()?.iter();
        let ours = recent.find(|operator| {
            let is_new = operator["age_ms"].as_u64().is_some_and(|age| age <= age_max);
            // What an earlier command began ends by the present one.
            let is_earlier = operator["outcome"] == REPLACED;
            is_new && !is_earlier && operator["kind"] == "admin" && operator["shard"] == shard
        });
        Some(ours.map_or(NONE, |operator| operator["outcome"].as_str().unwrap_or(NONE)).to_owned())
    }

    /// Whether it shows that a command was decided whose answer did not come.
    async fn is_under_way(&self, goal: &Goal) -> bool {
        match *goal {
            Goal::Empty { store } => matches!(self.reached(&Goal::State { store, state: "draining" }).await, Ok(None)),
            // Their operators are looked for.
            Goal::Leads { .. } | Goal::Has { .. } | Goal::HasNot { .. } => true,
            Goal::Begins { .. } | Goal::State { .. } => false,
        }
    }

    /// `None` if it is so, else what is.
    async fn reached(&self, goal: &Goal) -> Result<Option<String>, String> {
        match *goal {
            Goal::Begins { ref key } => {
                let shards = self.get("/shards").await?;
                let mut all = shards["shards"].as_array().into_iter().flatten();
                let Some(shard) = all.find(|shard| shard["range"]["start"] == **key) else {
                    return Ok(Some(format!("no shard begins at {key:?}")));
                };
                // Prophet explains what a leader has told it of.
                let told = self.get(&format!("/explain?shard={}", shard["shard-id"])).await;
                Ok(told.err().map(|why| format!("Prophet does not know the new shard yet: {why}")))
            }
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
                let held = self.shards_on(store).await?.len();
                if held > 0 {
                    return Ok(Some(format!("store {store} holds {held} replicas")));
                }
                // No shard counts on it any more; what it has not destroyed yet, it says in its heartbeats.
                let stores = self.get("/stores").await?;
                let mut all = stores["stores"].as_array().into_iter().flatten();
                let own = all.find(|info| info["store-id"] == store).map_or(0, |info| {
                    let is_heard = !info["last-heartbeat-ms-ago"].is_null() && info["state"] != "down";
                    if is_heard { info["shard-count"].as_u64().unwrap_or_default() } else { 0 }
                });
                Ok((own > 0).then(|| format!("store {store} still has {own} replicas by its own last word")))
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

    /// Shards that have a replica on that store.
    async fn shards_on(&self, store: u64) -> Result<Vec<u64>, String> {
        let shards = self.get("/shards").await?;
        let held = shards["shards"].as_array().into_iter().flatten().filter(|shard| {
            let mut replicas = shard["replicas"].as_array().into_iter().flatten();
            replicas.any(|replica| replica["store-id"] == store)
        });
        Ok(held.filter_map(|shard| shard["shard-id"].as_u64()).collect())
    }

    async fn replica(&self, shard: u64, store: u64) -> Result<Option<Value>, String> {
        let shards = self.get("/shards").await?;
        let mut all = shards["shards"].as_array().into_iter().flatten();
        let found = all.find(|known| known["shard-id"] == shard).ok_or(format!("there is no shard {shard}"))?;
        let mut replicas = found["replicas"].as_array().into_iter().flatten();
        Ok(replicas.find(|replica| replica["store-id"] == store).cloned())
    }

    /// Of a store that is to be empty, the first shard that it still has says why for all.
    async fn say_why(&self, goal: &Goal) {
        let shard = match *goal {
            Goal::Empty { store } => self.shards_on(store).await.ok().and_then(|shards| shards.first().copied()),
            _ => goal.shard(),
        };
        let Some(shard) = shard else { return };
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
