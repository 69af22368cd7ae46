//! `ctl load`: writes a file of pairs through all nodes, many at once.
//!
//! It is the only writer of these keys, so it may repeat a write whose outcome is unknown: the value is the same.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{End, ask_one, file, reason};
use crate::{
    env::Env,
    http::client::{Answer, RequestError},
    types::Instant,
};

/// The first pause before a key is tried again; it doubles up to a second.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Refusals that are shown.
const SHOWN: usize = 20;

#[derive(Default)]
struct Sums {
    done: u64,
    /// Tries that were refused or never left, and made again.
    tried_again: u64,
    /// Writes of unknown outcome that were repeated.
    repeated: u64,
    refused: Vec<String>,
}

enum Try {
    Done,
    Again,
    Unknown,
    Never(String),
}

pub(super) async fn load<E: Env>(env: &E, nodes: &[String], path: &Path, in_flight: usize, give_up: Duration) -> End {
    let pairs = match file::read(path) {
        Ok(pairs) => pairs,
        Err(error) => {
            eprintln!("matrixkv: {error}");
            return End::NotDone;
        }
    };
    let total = pairs.len();
    let (bar, began) = (file::bar(total, "loading"), env.now());
    let work = Arc::new(Mutex::new(pairs.into_iter()));
    let sums = Arc::new(Mutex::new(Sums::default()));
    let (done, mut finished) = tokio::sync::mpsc::channel::<()>(1);
    for worker in 0..in_flight.min(total.max(1)) {
        let (env, nodes, work, sums) = (env.clone(), nodes.to_vec(), work.clone(), sums.clone());
        let (bar, done) = (bar.clone(), done.clone());
        env.clone().spawn("load", async move {
            let mut writer = Writer { env, connections: nodes.iter().map(|_| None).collect(), nodes, turn: worker };
            loop {
                let next = work.lock().expect("no holder panics").next();
                let Some((key, value)) = next else { break };
                writer.write(&key, &value, give_up, &sums).await;
                bar.inc(1);
            }
            drop(done);
        });
    }
    drop(done);
    // Resolves once every worker has dropped its end.
    let _ = finished.recv().await;
    bar.finish_and_clear();
    let sums = sums.lock().expect("no holder panics");
    report(&sums, total, env.now().since(began))
}

struct Writer<E: Env> {
    env: E,
    nodes: Vec<String>,
    connections: Vec<Option<crate::http::client::Connection>>,
    turn: usize,
}

impl Sums {
    /// Counts a try. True if it was the key's last.
    fn count(&mut self, key: &str, tried: Try, is_late: bool) -> bool {
        match tried {
            Try::Done => self.done += 1,
            Try::Never(why) => self.refused.push(format!("{key:?}: {why}")),
            Try::Again | Try::Unknown if is_late => self.refused.push(format!("{key:?}: given up")),
            Try::Again => {
                self.tried_again += 1;
                return false;
            }
            Try::Unknown => {
                self.repeated += 1;
                return false;
            }
        }
        true
    }
}

impl<E: Env> Writer<E> {
    async fn write(&mut self, key: &str, value: &str, give_up: Duration, sums: &Mutex<Sums>) {
        let deadline: Instant = self.env.now() + give_up;
        let body = serde_json::json!({ "key": key, "value": value }).to_string();
        let mut pause = PAUSE;
        loop {
            let tried = self.try_once(&body).await;
            let is_late = self.env.now() >= deadline;
            if sums.lock().expect("no holder panics").count(key, tried, is_late) {
                return;
            }
            self.env.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn try_once(&mut self, body: &str) -> Try {
        self.turn = (self.turn + 1) % self.nodes.len();
        let (node, connection) = (&self.nodes[self.turn], &mut self.connections[self.turn]);
        match ask_one(&self.env, connection, node, "POST", "/set", body.as_bytes()).await {
            Ok(Answer { status: 200, .. }) => Try::Done,
            Ok(Answer { status: 503, .. }) | Err(RequestError::NotSent(_)) => Try::Again,
            Ok(Answer { status: 504, .. }) | Err(RequestError::Lost(_)) => Try::Unknown,
            Ok(Answer { status, body }) => Try::Never(reason(status, &body)),
        }
    }
}

fn report(sums: &Sums, total: usize, took: Duration) -> End {
    let rate = sums.done as f64 / took.as_secs_f64().max(0.001);
    println!(
        "{} of {total} keys are in after {took:.1?} ({rate:.0} a second); refused for good {}, tried again {}, repeated \
         after an unknown outcome {}",
        sums.done,
        sums.refused.len(),
        sums.tried_again,
        sums.repeated
    );
    sums.refused.iter().take(SHOWN).for_each(|why| eprintln!("  {why}"));
    if sums.done == total as u64 { End::Done } else { End::NotDone }
}
