//! Where the processes of a run are: ports, folders, and the server's program.

#![allow(clippy::disallowed_methods, reason = "real processes at the edge")]

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use crate::knobs::Place;

/// Ports of a node: HTTP, the five inner ones, the hook's; the rest of ten is spare.
pub const PORTS: u16 = 10;

/// The port at which a node hears its peers is so far from the HTTP port.
pub const RAFT: u16 = 1;

/// The hook's port is so far from the HTTP port.
pub const HOOK: u16 = 6;

/// Ports from here on are tried, below those that systems hand out by themselves.
const FIRST_PORT: u16 = 20_000;

/// How many blocks are tried.
const BLOCKS: u16 = 100;

/// Where the nodes of a run are.
#[derive(Clone, Debug)]
pub struct Places {
    first: u16,
    folder: PathBuf,
}

impl Places {
    /// A block of ports that are free now, for `nodes` nodes whose files are under `folder`.
    pub fn find(nodes: usize, folder: &Path) -> Result<Self, String> {
        let size = PORTS * nodes as u16;
        // Two runs at once should not look at the same block first.
        let start = std::process::id() as u16 % BLOCKS;
        let blocks = (0..BLOCKS).map(|block| FIRST_PORT + (start + block) % BLOCKS * size);
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        let first = blocks.into_iter().find(|first| (*first..first + size).all(is_free));
        let first =
            first.ok_or_else(|| format!("no {size} ports in a row are free on 127.0.0.1 above {FIRST_PORT}"))?;
        Ok(Places { first, folder: folder.to_owned() })
    }

    /// Where `node` is.
    pub fn of(&self, node: usize) -> Place {
        let data = self.folder.join(format!("node{node}")).display().to_string();
        let host = Ipv4Addr::LOCALHOST.to_string();
        Place { bind: host.clone(), host, port: self.first + PORTS * node as u16, data }
    }

    /// `host:port` of one of `node`'s ports.
    pub fn address(&self, node: usize, port: u16) -> String {
        let place = self.of(node);
        format!("{}:{}", place.host, place.port + port)
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The server's program: the one beside this one. Under `cargo run` it is built first, as this one was.
pub fn server() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let folder = own.parent().ok_or("this program has no folder")?;
    let server = folder.join("matrixkv");
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(Path::new(&cargo), folder)?;
    }
    match server.is_file() {
        true => Ok(server),
        false => Err(format!("{} is missing: build it, or name it with --server", server.display())),
    }
}

fn build(cargo: &Path, folder: &Path) -> Result<(), String> {
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let target = folder.parent().ok_or("this program is not in a target folder")?;
    let mut command = std::process::Command::new(cargo);
    command.args(["build", "--quiet", "-p", "matrixkv", "--bin", "matrixkv", "--target-dir"]).arg(target);
    command.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    if cfg!(feature = "planted") {
        command.args(["--features", "planted"]);
    }
    let status = command.status().map_err(|error| format!("{}: {error}", cargo.display()))?;
    if status.success() { Ok(()) } else { Err(format!("the server cannot be built: {status}")) }
}
