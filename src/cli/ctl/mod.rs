//! `matrixkv ctl`: asks a cluster over HTTP.
//!
//! Exit codes: 0 done, 1 not done (or `verify` found differences), 2 the command line is wrong, 3 the outcome of a
//! write is unknown.

mod bench;
mod file;
mod load;
mod operate;
mod settled;
mod show;
mod verify;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use self::operate::{Asker, Goal};
use crate::{
    env::{Env, real::RealEnv, within},
    http::client::{Answer, Connection, RequestError},
};

/// How long an answer is waited for: a little over a node's own deadline.
const PATIENCE: Duration = Duration::from_secs(8);

/// Ask a cluster.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 done, 1 not done or different, 2 usage, 3 the outcome of a write is unknown.")]
pub struct CtlArgs {
    /// HTTP addresses of nodes, with commas; the first that can be reached is asked
    #[arg(
        long,
        global = true,
        env = "MATRIXKV_NODES",
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        default_value = "127.0.0.1:8080"
    )]
    pub node: Vec<String>,
    /// What to ask.
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum CtlCommand {
    /// Write a key
    Set {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Read a key; exit code 1 if it is missing
    Get {
        /// The key.
        key: String,
    },
    /// Remove a key
    Delete {
        /// The key.
        key: String,
    },
    /// Show the shards, their replicas and leaders
    Shards {
        /// Only those with a replica on the asked node
        #[arg(long)]
        local: bool,
    },
    /// Show one shard; with --explain, why it is as it is and why it is not being moved
    Shard {
        /// Its number.
        id: u64,
        /// Say why
        #[arg(long)]
        explain: bool,
    },
    /// Read the keys from START on, in order
    Scan {
        /// The first key; from the beginning if it is empty
        #[arg(default_value = "")]
        start: String,
        /// The first key beyond; to the end if it is empty
        #[arg(default_value = "")]
        end: String,
        /// Keys at the most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        limit: u64,
    },
    /// Split the shard that holds KEY, so that KEY is the first one of the right part
    Split {
        /// The key.
        key: String,
        /// How long to look on.
        #[command(flatten)]
        wait: Wait,
    },
    /// Let the replica on STORE lead SHARD
    TransferLeader {
        /// The shard.
        shard: u64,
        /// The store.
        store: u64,
        /// How long to look on.
        #[command(flatten)]
        wait: Wait,
    },
    /// Give SHARD a replica on STORE. Prophet takes one away again where there are too many
    AddReplica {
        /// The shard.
        shard: u64,
        /// The store.
        store: u64,
        /// How long to look on.
        #[command(flatten)]
        wait: Wait,
    },
    /// Take SHARD's replica on STORE away. Prophet makes another one where there are too few
    RemoveReplica {
        /// The shard.
        shard: u64,
        /// The store.
        store: u64,
        /// How long to look on.
        #[command(flatten)]
        wait: Wait,
    },
    /// Empty STORE and give it nothing new
    Drain {
        /// The store.
        store: u64,
        /// How long to look on.
        #[command(flatten)]
        wait: Wait,
    },
    /// Use STORE again
    Undrain {
        /// The store.
        store: u64,
        /// How long to look on.
        #[command(flatten)]
        wait: Wait,
    },
    /// Take STORE out of the cluster for good; it must be empty
    RemoveStore {
        /// The store.
        store: u64,
        /// How long to look on.
        #[command(flatten)]
        wait: Wait,
    },
    /// Wait until every shard has its voters on stores in use, shards and leaders are even, and nothing moves any more
    Settled {
        /// Voters of each shard
        #[arg(long, default_value_t = 3)]
        replicas: u64,
        /// Stores in use, if it matters how many
        #[arg(long)]
        stores: Option<u64>,
        /// How far from even a store's share may be, in percent
        #[arg(long, default_value_t = 20.0)]
        even: f64,
        /// Seconds during which nothing may move
        #[arg(long, default_value_t = 10)]
        calm: u64,
        /// Seconds to wait for all that
        #[arg(long, default_value_t = 600)]
        wait: u64,
    },
    /// Write keys without a pause, and say how long writes take, also while shards are split. Leaves its keys behind
    Bench {
        /// Clients, each with one write under way
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=4096))]
        clients: u64,
        /// Different keys, all of them new ones of the bench's own
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
        keys: u64,
        /// Bytes of a value
        #[arg(long, default_value_t = 1000)]
        value_bytes: u64,
        /// Seconds to go on
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Show what Prophet is doing, what it did lately, and why
    Operators,
    /// Show the stores as Prophet knows them
    Stores,
    /// Show Prophet's members and leader
    Prophet,
    /// Whether the node lives (or, with --ready, can serve)
    Health {
        /// Ask whether it can serve
        #[arg(long)]
        ready: bool,
    },
    /// Write the lines of FILE, each key TAB value, through all given nodes; 0 only when every key is in
    Load {
        /// The file.
        file: PathBuf,
        /// Requests at once
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
        in_flight: u64,
        /// Seconds after which a key is given up
        #[arg(long, default_value_t = 60)]
        give_up: u64,
    },
    /// Read every key of FILE through each given node and say what differs
    Verify {
        /// The file.
        file: PathBuf,
        /// Requests at once
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
        in_flight: u64,
        /// Seconds after which a key is given up
        #[arg(long, default_value_t = 60)]
        give_up: u64,
    },
}

/// How long a command looks on.
#[derive(Clone, Copy, Debug, Args)]
pub struct Wait {
    /// Seconds to wait until it is so
    #[arg(long = "wait", default_value_t = 300)]
    seconds: u64,
}

/// How a command ended.
pub(super) enum End {
    Done,
    NotDone,
    Unknown,
}

/// Runs the command.
pub fn ctl(args: CtlArgs) -> ExitCode {
    let runtime = crate::cli::runtime();
    let end = runtime.block_on(async move {
        let env = RealEnv::new();
        run(&env, &args.node, args.command).await
    });
    ExitCode::from(match end {
        End::Done => 0,
        End::NotDone => 1,
        End::Unknown => 3,
    })
}

async fn run<E: Env>(env: &E, nodes: &[String], command: CtlCommand) -> End {
    match command {
        CtlCommand::Set { key, value } => {
            let body = serde_json::json!({ "key": key, "value": value }).to_string();
            tell(ask(env, nodes, "POST", "/set", body.as_bytes()).await, |_| End::Done)
        }
        CtlCommand::Delete { key } => {
            let body = serde_json::json!({ "key": key }).to_string();
            tell(ask(env, nodes, "POST", "/delete", body.as_bytes()).await, |_| End::Done)
        }
        CtlCommand::Get { key } => tell(ask(env, nodes, "GET", &get_path(&key), &[]).await, show::value),
        CtlCommand::Shards { local } => {
            let path = if local { "/shards?local=true" } else { "/shards" };
            tell(ask(env, nodes, "GET", path, &[]).await, show::shards)
        }
        CtlCommand::Shard { id, explain: false } => {
            tell(ask(env, nodes, "GET", "/shards", &[]).await, |body| show::shard(body, id))
        }
        CtlCommand::Shard { id, explain: true } => {
            tell(ask(env, nodes, "GET", &format!("/explain?shard={id}"), &[]).await, show::explanation)
        }
        CtlCommand::Scan { start, end, limit } => {
            let [start, end] = [&start, &end].map(|key| utf8_percent_encode(key, NON_ALPHANUMERIC));
            let path = format!("/scan?start={start}&end={end}&limit={limit}");
            tell(ask(env, nodes, "GET", &path, &[]).await, show::rows)
        }
        CtlCommand::Split { key, wait } => wait.asker(env, nodes).split(&key).await,
        CtlCommand::TransferLeader { shard, store, wait } => {
            let (body, goal) = (operate::about("transfer-leader", shard, store), Goal::Leads { shard, store });
            wait.asker(env, nodes).command(body, goal).await
        }
        CtlCommand::AddReplica { shard, store, wait } => {
            let (body, goal) = (operate::about("add-replica", shard, store), Goal::Has { shard, store });
            wait.asker(env, nodes).command(body, goal).await
        }
        CtlCommand::RemoveReplica { shard, store, wait } => {
            let (body, goal) = (operate::about("remove-replica", shard, store), Goal::HasNot { shard, store });
            wait.asker(env, nodes).command(body, goal).await
        }
        CtlCommand::Drain { store, wait } => {
            wait.asker(env, nodes).command(operate::store("drain", store), Goal::Empty { store }).await
        }
        CtlCommand::Undrain { store, wait } => {
            let goal = Goal::State { store, state: "up" };
            wait.asker(env, nodes).command(operate::store("undrain", store), goal).await
        }
        CtlCommand::RemoveStore { store, wait } => {
            let goal = Goal::State { store, state: "removed" };
            wait.asker(env, nodes).command(operate::store("remove-store", store), goal).await
        }
        CtlCommand::Bench { clients, keys, value_bytes, seconds } => {
            let (clients, value_bytes) = (clients as usize, value_bytes as usize);
            let load = bench::Load { clients, keys, value_bytes, duration: Duration::from_secs(seconds) };
            bench::bench(env, nodes, load).await
        }
        CtlCommand::Settled { replicas, stores, even, calm, wait } => {
            let (calm, patience) = (Duration::from_secs(calm), Duration::from_secs(wait));
            let demand = settled::Demand { replicas: replicas as usize, stores, even, calm, patience };
            settled::settled(env, nodes, demand).await
        }
        CtlCommand::Operators => tell(ask(env, nodes, "GET", "/operators", &[]).await, show::operators),
        CtlCommand::Stores => tell(ask(env, nodes, "GET", "/stores", &[]).await, show::stores),
        CtlCommand::Prophet => tell(ask(env, nodes, "GET", "/prophet", &[]).await, show::prophet),
        CtlCommand::Health { ready } => {
            let path = if ready { "/ready" } else { "/health" };
            tell(ask(env, nodes, "GET", path, &[]).await, |_| End::Done)
        }
        CtlCommand::Load { file, in_flight, give_up } => {
            load::load(env, nodes, &file, in_flight as usize, Duration::from_secs(give_up)).await
        }
        CtlCommand::Verify { file, in_flight, give_up } => {
            verify::verify(env, nodes, &file, in_flight as usize, Duration::from_secs(give_up)).await
        }
    }
}

impl Wait {
    fn asker<'a, E: Env>(&self, env: &'a E, nodes: &'a [String]) -> Asker<'a, E> {
        Asker { env, nodes, patience: Duration::from_secs(self.seconds) }
    }
}

/// Says what came of a request that was answered with something else than 200, or not at all.
fn tell(answer: Result<Answer, RequestError>, show: impl FnOnce(&[u8]) -> End) -> End {
    match answer {
        Ok(Answer { status: 200, body }) => show(&body),
        Ok(Answer { status, body }) => {
            eprintln!("matrixkv: {}", reason(status, &body));
            if status == 504 { End::Unknown } else { End::NotDone }
        }
        Err(error @ RequestError::NotSent(_)) => {
            eprintln!("matrixkv: {error}");
            End::NotDone
        }
        Err(error @ RequestError::Lost(_)) => {
            eprintln!("matrixkv: {error}; if it was a write, it may or may not have happened");
            End::Unknown
        }
    }
}

/// The `error` of an answer.
fn reason(status: u16, body: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = parsed.as_ref().and_then(|answer| answer["error"].as_str()).filter(|error| !error.is_empty());
    format!("{} (status {status})", error.unwrap_or("no reason was given"))
}

/// Asks the first node that can be reached. A second one is asked only if the request did not leave.
async fn ask<E: Env>(env: &E, nodes: &[String], method: &str, path: &str, body: &[u8]) -> Result<Answer, RequestError> {
    let mut last = RequestError::NotSent("no node is given".into());
    for node in nodes {
        match ask_one(env, &mut None, node, method, path, body).await {
            Err(error @ RequestError::NotSent(_)) => last = error,
            answer => return answer,
        }
    }
    Err(last)
}

/// Asks over `connection`, which is opened where there is none and kept where it is still good.
pub(super) async fn ask_one<E: Env>(
    env: &E,
    connection: &mut Option<Connection>,
    node: &str,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<Answer, RequestError> {
    let kept = connection.take().filter(|connection| !connection.is_closed());
    let asking = async {
        let mut open = match kept {
            Some(open) => open,
            None => Connection::open(env, node).await?,
        };
        let answer = open.request(method, path, body).await?;
        Ok((open, answer))
    };
    match within(env, PATIENCE, asking).await {
        Some(Ok((open, answer))) => {
            *connection = Some(open);
            Ok(answer)
        }
        Some(Err(error)) => Err(error),
        None => Err(RequestError::Lost(format!("{node}: no answer within {PATIENCE:?}"))),
    }
}

/// `/get?key=...`, percent-encoded.
pub(super) fn get_path(key: &str) -> String {
    format!("/get?key={}", utf8_percent_encode(key, NON_ALPHANUMERIC))
}
