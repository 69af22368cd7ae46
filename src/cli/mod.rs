//! The command line: a node, a whole cluster to try out, and a client.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the command line is at the edge: its own clock, files and processes"
)]

pub mod config;
pub mod ctl;
pub mod demo;
mod hook;
pub mod inspect;
pub mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Bytes below which a shard cannot be split any more.
const SHARD_CAPACITY_MIN: u64 = 16;

/// Threads at the least. Store and Prophet of a node read their rows on one each: whoever looks whether their disk hangs needs
/// another.
const THREADS_MIN: usize = 4;

fn runtime() -> tokio::runtime::Runtime {
    let threads = std::thread::available_parallelism().map_or(THREADS_MIN, |cores| cores.get().max(THREADS_MIN));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().expect("the system has threads")
}

/// A distributed, strongly consistent key-value store.
///
/// Without a command this runs one node. `matrixkv demo` runs a whole cluster on this machine.
#[derive(Debug, Parser)]
#[command(name = "matrixkv", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of running a node.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run the node.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// How to run a node.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// HTTP address of this node
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub addr: String,
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "./cube.toml")]
    pub cfg: PathBuf,
    /// A shard splits once its keys and values exceed this many bytes (at least 16)
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(SHARD_CAPACITY_MIN..))]
    pub shard_capacity: u64,
    /// For chaos runs: whoever connects here may cut this node's connections; a loopback address only
    #[arg(long, value_name = "HOST:PORT")]
    pub fault_hook: Option<std::net::SocketAddr>,
    /// Stop when the process that started this one is gone, however it went
    #[arg(long, hide = true)]
    pub die_with_parent: bool,
}

/// What else there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a cluster of four nodes on this machine, each a process of its own, and say what to try
    Demo(demo::DemoArgs),
    /// Ask a cluster, or fill it
    Ctl(ctl::CtlArgs),
    /// Say what a stopped node's data folder holds, and whether it adds up
    Inspect(inspect::InspectArgs),
    /// Check a configuration file, or print one
    Config {
        /// Which of the two.
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

/// What can be done about configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether FILE is valid, and what in it has no effect
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print a configuration for one node, every key with its default
    Default,
}
