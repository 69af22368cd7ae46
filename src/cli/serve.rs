//! Runs one node until it is told to stop.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::{NodeArgs, hook};
use crate::{
    config::Config,
    env::{
        Raise,
        real::{RealEnv, links::Links},
    },
    node::{self, NodeOptions},
};

/// How long a node that ends waits for its own tasks.
const ENDING_MAX: Duration = Duration::from_millis(500);

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
    if let Some(Err(error)) = args.fault_hook.map(hook::check) {
        eprintln!("matrixkv: {error}");
        return ExitCode::from(2);
    }
    if let Err(error) = crate::planted::plant_as_told() {
        eprintln!("matrixkv: {error}");
        return ExitCode::from(2);
    }
    let options = NodeOptions { config, http_address: args.addr, shard_capacity: args.shard_capacity };
    let runtime = super::runtime();
    let outcome = runtime.block_on(run(options, args.fault_hook));
    end(runtime);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("matrixkv: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Drops what still runs. Its connections close at once, so that others need not wait to find out, also where the
/// process itself cannot end yet because a thread of it hangs in the kernel; blocking work on a broken disk must not hold
/// the exit up.
fn end(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(ENDING_MAX);
}

async fn run(options: NodeOptions, fault_hook: Option<SocketAddr>) -> Result<(), String> {
    let stop = Raise::new();
    let stopped = stop.signal();
    tokio::spawn(async move {
        next_signal().await;
        stop.raise();
        // Asked twice, it does not wait for anybody.
        next_signal().await;
        std::process::exit(1);
    });
    let links = fault_hook.map(|_| Links::default());
    let env = RealEnv::with_links(links.clone());
    if let (Some(address), Some(links)) = (fault_hook, links) {
        let opened = hook::open(env.clone(), links, address, &options.config, stopped.clone()).await;
        opened.map_err(|error| format!("--fault-hook: {error}"))?;
    }
    node::run(env, options, stopped).await.map_err(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a thread that hangs is what is tested")]
    fn a_thread_that_hangs_does_not_hold_the_end_up_and_connections_close() {
        use std::io::Read as _;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let mut client = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (served, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                served.readable().await.unwrap();
                std::future::pending::<()>().await;
                drop(served);
            });
            client
        });
        runtime.spawn_blocking(|| std::thread::sleep(Duration::from_secs(3600)));
        end(runtime);
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the connection is closed though a thread still hangs");
    }
}
