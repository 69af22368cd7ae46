//! `ctl bench`: writes without a pause for a while, and says how long writes took: all of them, and those that were under
//! way while a shard was split.
//!
//! A write that is refused is tried again at once, and one of unknown outcome too; the time of a write runs from its first
//! try to its answer. So a shard that answers nobody for a while shows as one long write. Whoever looks at `/shards` hears
//! of a split a little late: a write counts for it if it was under way in the second before.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::Deserialize;

use super::{End, ask, ask_one};
use crate::{
    env::Env,
    http::client::{Answer, Connection},
    types::{Instant, Rng},
};

/// Between looks at the shards.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// How long before it is seen a split may have happened.
const SEEN_LATE: Duration = Duration::from_secs(1);
/// Before a write is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// What is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub clients: usize,
    pub keys: u64,
    pub value_bytes: usize,
    pub duration: Duration,
}

/// One write, from its first try to its answer.
#[derive(Clone, Copy)]
struct Write {
    end: Instant,
    took: Duration,
}

#[derive(Default)]
struct Found {
    writes: Mutex<Vec<Write>>,
    tried_again: Mutex<u64>,
    refused: Mutex<Option<String>>,
    is_over: AtomicBool,
}

pub(super) async fn bench<E: Env>(env: &E, nodes: &[String], load: Load) -> End {
    let before = match shards(env, nodes).await {
        Ok(shards) => shards,
        Err(why) => {
            eprintln!("matrixkv: {why}");
            return End::NotDone;
        }
    };
    let (found, began) = (Arc::new(Found::default()), env.now());
    let (done, mut finished) = tokio::sync::mpsc::channel::<()>(1);
    for client in 0..load.clients {
        let (found, done) = (found.clone(), done.clone());
        let connections = nodes.iter().map(|_| None).collect();
        let writer = Writer { env: env.clone(), nodes: nodes.to_vec(), connections, turn: client, rng: env.rng() };
        env.spawn("bench", async move {
            writer.run(load, began + load.duration, &found).await;
            drop(done);
        });
    }
    drop(done);
    let splits = watch(env, nodes, before, began + load.duration, &mut finished).await;
    report(&found, load, &splits, before, env.now().since(began))
}

/// Looks for splits until all writers are done.
async fn watch<E: Env>(
    env: &E,
    nodes: &[String],
    mut known: usize,
    end: Instant,
    finished: &mut tokio::sync::mpsc::Receiver<()>,
) -> Vec<(Instant, usize)> {
    let mut splits = Vec::new();
    while env.now() < end {
        let now = shards(env, nodes).await.unwrap_or(known);
        if now > known {
            splits.push((env.now(), now - known));
            known = now;
        }
        env.sleep(LOOK_PAUSE).await;
    }
    // Resolves once every writer has dropped its end.
    let _ = finished.recv().await;
    splits
}

async fn shards<E: Env>(env: &E, nodes: &[String]) -> Result<usize, String> {
    #[derive(Deserialize)]
    struct Shards {
        shards: Option<Vec<serde::de::IgnoredAny>>,
    }
    match ask(env, nodes, "GET", "/shards", &[]).await {
        Ok(Answer { status: 200, body }) => {
            let shards: Shards = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            Ok(shards.shards.map_or(0, |shards| shards.len()))
        }
        Ok(Answer { status, .. }) => Err(format!("/shards is answered with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

struct Writer<E: Env> {
    env: E,
    nodes: Vec<String>,
    connections: Vec<Option<Connection>>,
    turn: usize,
    rng: Rng,
}

impl<E: Env> Writer<E> {
    async fn run(mut self, load: Load, end: Instant, found: &Found) {
        let value = "v".repeat(load.value_bytes);
        let (mut writes, mut tried_again) = (Vec::new(), 0);
        while self.env.now() < end && !found.is_over.load(Ordering::Relaxed) {
            let key = format!("bench{:09}", self.rng.below(load.keys));
            let body = serde_json::json!({ "key": key, "value": value }).to_string();
            let began = self.env.now();
            loop {
                match self.try_once(body.as_bytes()).await {
                    Ok(true) => break,
                    Ok(false) => tried_again += 1,
                    Err(why) => {
                        found.is_over.store(true, Ordering::Relaxed);
                        *found.refused.lock().expect("no holder panics") = Some(why);
                        return;
                    }
                }
                self.env.sleep(PAUSE).await;
            }
            let now = self.env.now();
            writes.push(Write { end: now, took: now.since(began) });
        }
        found.writes.lock().expect("no holder panics").extend(writes);
        *found.tried_again.lock().expect("no holder panics") += tried_again;
    }

    /// Whether it is in; an error if it never will be.
    async fn try_once(&mut self, body: &[u8]) -> Result<bool, String> {
        self.turn = (self.turn + 1) % self.nodes.len();
        let (node, connection) = (&self.nodes[self.turn], &mut self.connections[self.turn]);
        match ask_one(&self.env, connection, node, "POST", "/set", body).await {
            Ok(Answer { status: 200, .. }) => Ok(true),
            Ok(Answer { status: 503 | 504, .. }) | Err(_) => Ok(false),
            Ok(Answer { status, body }) => Err(super::reason(status, &body)),
        }
    }
}

fn report(found: &Found, load: Load, splits: &[(Instant, usize)], before: usize, took: Duration) -> End {
    if let Some(why) = found.refused.lock().expect("no holder panics").take() {
        eprintln!("matrixkv: {why}");
        return End::NotDone;
    }
    let writes = found.writes.lock().expect("no holder panics");
    let is_near = |write: &&Write| {
        let began = Instant(write.end.0.saturating_sub(write.took.as_nanos() as u64));
        splits.iter().any(|(seen, _)| began <= *seen && write.end + SEEN_LATE >= *seen)
    };
    let (near, far): (Vec<Write>, Vec<Write>) = {
        let (near, far): (Vec<&Write>, Vec<&Write>) = writes.iter().partition(is_near);
        (near.into_iter().copied().collect(), far.into_iter().copied().collect())
    };
    let split = splits.iter().map(|(_, count)| count).sum::<usize>();
    let rate = writes.len() as f64 / took.as_secs_f64().max(0.001);
    println!(
        "{} clients, {} keys, values of {} bytes: {rate:.0} writes a second for {took:.0?}; tried again {}; {before} shards, \
         then {}",
        load.clients,
        load.keys,
        load.value_bytes,
        found.tried_again.lock().expect("no holder panics"),
        before + split,
    );
    println!("all writes         {}", quantiles(writes.to_vec()));
    println!("around {split:>4} splits  {}", quantiles(near));
    println!("otherwise          {}", quantiles(far));
    End::Done
}

fn quantiles(writes: Vec<Write>) -> String {
    let mut times: Vec<Duration> = writes.iter().map(|write| write.took).collect();
    times.sort();
    let Some(longest) = times.last() else { return "none".into() };
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
    let longest = longest.as_secs_f64() * 1000.0;
    format!(
        "{:>7}: half within {:.1} ms, 99 % within {:.1} ms, 99.9 % within {:.1} ms, the longest {longest:.1} ms",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999)
    )
}
