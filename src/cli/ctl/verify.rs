//! `ctl verify`: reads every key of a file through each node in turn.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::Deserialize;

use super::{End, ask_one, file, get_path, reason};
use crate::{env::Env, http::client::Answer};

/// Pause before a key that was not answered is asked for again.
const PAUSE: Duration = Duration::from_millis(100);
/// Differences that are shown.
const SHOWN: usize = 20;

#[derive(Deserialize)]
struct Read {
    value: String,
    found: bool,
}

pub(super) async fn verify<E: Env>(env: &E, nodes: &[String], path: &Path, in_flight: usize, give_up: Duration) -> End {
    let pairs = match file::read(path) {
        Ok(pairs) => pairs,
        Err(error) => {
            eprintln!("matrixkv: {error}");
            return End::NotDone;
        }
    };
    let mut all_equal = true;
    for node in nodes {
        let began = env.now();
        let differences = through(env, node, pairs.clone().into_iter().collect(), in_flight, give_up).await;
        let took = env.now().since(began);
        println!("{node}: {} of {} keys are as in the file ({took:.1?})", pairs.len() - differences.len(), pairs.len());
        differences.iter().take(SHOWN).for_each(|what| eprintln!("  {what}"));
        all_equal &= differences.is_empty();
    }
    if all_equal { End::Done } else { End::NotDone }
}

async fn through<E: Env>(
    env: &E,
    node: &str,
    pairs: Vec<(String, String)>,
    in_flight: usize,
    give_up: Duration,
) -> Vec<String> {
    let bar = file::bar(pairs.len(), "verifying");
    let work = Arc::new(Mutex::new(pairs.into_iter()));
    let differences = Arc::new(Mutex::new(Vec::new()));
    let (done, mut finished) = tokio::sync::mpsc::channel::<()>(1);
    for _ in 0..in_flight {
        let (env, node, work, differences) = (env.clone(), node.to_owned(), work.clone(), differences.clone());
        let (bar, done) = (bar.clone(), done.clone());
        env.clone().spawn("verify", async move {
            let mut connection = None;
            loop {
                let next = work.lock().expect("no holder panics").next();
                let Some((key, value)) = next else { break };
                if let Err(what) = read_back(&env, &node, &mut connection, &key, &value, give_up).await {
                    differences.lock().expect("no holder panics").push(what);
                }
                bar.inc(1);
            }
            drop(done);
        });
    }
    drop(done);
    // Resolves once every worker has dropped its end.
    let _ = finished.recv().await;
    bar.finish_and_clear();
    let mut differences = std::mem::take(&mut *differences.lock().expect("no holder panics"));
    differences.sort();
    differences
}

async fn read_back<E: Env>(
    env: &E,
    node: &str,
    connection: &mut Option<crate::http::client::Connection>,
    key: &str,
    value: &str,
    give_up: Duration,
) -> Result<(), String> {
    let deadline = env.now() + give_up;
    loop {
        let why = match ask_one(env, connection, node, "GET", &get_path(key), &[]).await {
            Ok(Answer { status: 200, body }) => return compare(key, value, &body),
            Ok(Answer { status, body }) if status != 503 => return Err(format!("{key:?}: {}", reason(status, &body))),
            Ok(Answer { status, body }) => reason(status, &body),
            Err(error) => error.to_string(),
        };
        if env.now() >= deadline {
            return Err(format!("{key:?}: {why}"));
        }
        env.sleep(PAUSE).await;
    }
}

fn compare(key: &str, value: &str, body: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Read>(body) {
        Ok(read) if read.found && read.value == value => Ok(()),
        Ok(read) if read.found => Err(format!("{key:?}: is {:?}, and {value:?} in the file", read.value)),
        Ok(_) => Err(format!("{key:?}: is missing")),
        Err(error) => Err(format!("{key:?}: not an answer: {error}")),
    }
}
