//! Runs one node until it is told to stop.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::NodeArgs;
use crate::{
    config::Config,
    env::{Raise, real::RealEnv},
    node::{self, NodeOptions},
};

/// Runs the node. Exit code 0 if it was stopped, 1 if it could not start or had to end.
pub fn serve(args: NodeArgs) -> ExitCode {
    if args.die_with_parent
        && let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
    {
        eprintln!("matrixkv: cannot ask to be told of the parent's death: {error}");
    }
    let (config, warnings) = match Config::load(&args.cfg) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("matrixkv: {error}");
            return ExitCode::FAILURE;
        }
    };
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if let Err(error) = crate::config::host_port(&format!("http://{}", args.addr)) {
        eprintln!("matrixkv: --addr = {:?}: {error}", args.addr);
        return ExitCode::from(2);
    }
    let options = NodeOptions { config, http_address: args.addr, shard_capacity: args.shard_capacity };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the system has threads");
    let outcome = runtime.block_on(run(options));
    // Blocking work that hangs on a broken disk must not hold the exit up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("matrixkv: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: NodeOptions) -> Result<(), node::NodeError> {
    let stop = Raise::new();
    let stopped = stop.signal();
    tokio::spawn(async move {
        next_signal().await;
        stop.raise();
        // Asked twice, it does not wait for anybody.
        next_signal().await;
        std::process::exit(1);
    });
    node::run(RealEnv::new(), options, stopped).await
}

/// Resolves at the next SIGTERM or SIGINT.
pub(super) async fn next_signal() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened to");
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
