//! Chaos: a plan against real processes on loopback, each the server itself on the real disk and the real clock. The
//! clients, the checkers and the page are those of the simulator; what is recorded is what clients saw, so of the
//! invariants those are checked that a history or an operator's question can show: L, D, S, O, C, V, and that no node stops
//! or panics.
//!
//! Invariants:
//! - every process is stopped by its own pid, also where the run fails or is interrupted;
//! - nothing but loopback is listened to or connected to;
//! - a run ends: after its plan come waits that each have a bound.

mod cluster;
mod leaders;
mod nemesis;
mod places;
mod process;
mod wires;

use std::{path::PathBuf, time::Duration};

use matrixkv::planted::Bug;

use self::cluster::Cluster;
pub use self::places::server;
use crate::{
    check::{Invariant, converge},
    knobs::Knobs,
    plan::{Plan, Target},
    run::{End, Filmed, Report, demand_service, demand_whole, judge, read_all, start_all, wait_for_illness},
    workload,
};

/// What a real machine may take longer than the simulator, on top of the simulator's bound for convergence: two cores that
/// nodes and clients share, and disks that sync as slowly as they like.
const SLACK: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the seed decided.
    pub knobs: Knobs,
    /// What will happen, where it can be done to processes.
    pub plan: Plan,
    /// A bug on purpose, in every node; needs a server that was built with the feature `planted`.
    pub bug: Option<Bug>,
    /// The server's program.
    pub server: PathBuf,
    /// Where configurations, logs and data go. What is there of an earlier run is removed.
    pub folder: PathBuf,
}

/// Runs it; what cannot be started at all is an error. It says what it does as it goes.
pub fn run(options: &Options) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let cluster = Cluster::new(options)?;
        let interrupted = async { tokio::signal::ctrl_c().await.is_err() };
        let report = tokio::select! {
            biased;
            _ = interrupted => Err("interrupted".to_owned()),
            report = course(&cluster, options) => report,
        };
        cluster.kill_all().await;
        report
    })
}

async fn course(cluster: &Cluster, options: &Options) -> Result<Report, String> {
    let Options { knobs, plan, .. } = options;
    println!("{} nodes in {}", knobs.nodes, options.folder.display());
    cluster.begin()?;
    let clients = start_all(cluster, workload::clients(cluster, plan));
    let mut nemesis = nemesis::unleash(cluster, plan.faults_of(false), Duration::ZERO);
    let beside = start_all(cluster, workload::clients_beside(cluster, plan));
    if let Some(liveness) = &plan.liveness {
        cluster.sleep_until(liveness.from).await;
        nemesis::heal(cluster, nemesis).await;
        println!("all is healed after {:?}, and {:?} fall ill once it is whole", liveness.from, liveness.ill);
        let ill = wait_for_illness(cluster, plan, liveness).await;
        nemesis = nemesis::unleash(cluster, plan.faults_of(true).filter(|_| ill), cluster.since() - liveness.from);
        if ill {
            demand_service(cluster, liveness).await;
        }
    }
    cluster.sleep_until(plan.heal_at).await;
    nemesis::heal(cluster, nemesis).await;
    println!("all is healed after {:?}", plan.heal_at);
    let whole = demand_whole(cluster, converge::bound(knobs, plan) + SLACK).await;
    cluster.sleep_until(plan.end_at).await;
    for client in clients {
        client.await?;
    }
    for client in beside {
        client.await?;
    }
    let reads_from = if whole { read_all(cluster, 0, "all nodes are up").await } else { None };
    if reads_from.is_some() {
        lose_a_leader(cluster).await;
    }
    cluster.stop_all().await;
    cluster.look_for_panics();
    Ok(report(cluster, options, reads_from))
}

/// V, third part, as in the simulator: with a leader gone, every key still answers from every other node.
async fn lose_a_leader(cluster: &Cluster) {
    let Some(node) = cluster.resolve(Target::Leader(cluster.seed())).await else { return };
    if cluster.kill(node).await {
        read_all(cluster, 1, &format!("node{node} is gone")).await;
    }
}

fn report(cluster: &Cluster, options: &Options, reads_from: Option<Duration>) -> Report {
    let Options { knobs, plan, .. } = options;
    let (record, simulated) = (cluster.record_of(), cluster.since());
    let history = record.take_history();
    let undecided = judge(knobs, plan, record, &history, End { simulated, reads_from });
    let (violations, events) = record.observer.finish();
    Report {
        knobs: knobs.clone(),
        plan: plan.clone(),
        violations,
        undecided,
        events,
        asked: record.take_asked(),
        filmed: Some(Filmed { film: cluster.take_film(), faults: record.take_faults(), history }),
        counters: record.counters(),
        trace_hash: None,
        simulated,
        wall: simulated,
    }
}

/// A node that ends by itself.
fn ended(cluster: &Cluster, node: usize, how: &str) {
    let message = format!("node{node} ended by itself, {how}; its log ends: {}", cluster.last_words(node));
    cluster.record_of().violation(Invariant::Stopped, cluster.since(), message);
}
