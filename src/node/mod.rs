//! A running node: the drivers that turn Store and Prophet, and everything around them. The only room where time,
//! disk and network meet.
//!
//! Invariants:
//! - the boot number is raised and durable before the first byte is sent;
//! - a node never founds a cluster after a living one made contact;
//! - a disk error ends the node, and so does a disk that hangs: what is not durable must not be said.

mod discovery;
mod dispatch;
mod drive;
mod folder;
mod heartbeat;
mod prophet;
mod start;
mod store;
mod watchdog;

pub use start::run;

use crate::config::Config;

/// How to run a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its configuration.
    pub config: Config,
    /// `--addr`: where HTTP is served.
    pub http_address: String,
    /// `--shard-capacity`, in bytes.
    pub shard_capacity: u64,
}

/// Why a node stopped on its own.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NodeError {
    /// It cannot start as configured; says what would help.
    #[error("{0}")]
    Start(String),
    /// The disk failed; nothing is served any more.
    #[error("disk: {0}")]
    Disk(String),
    /// A turn does not end: the disk hangs, and nothing is served any more.
    #[error("disk: a turn has not ended for {0:?} (limits.disk-stall-max)")]
    DiskStalled(std::time::Duration),
    /// This node must not go on under this identity.
    #[error("{0}")]
    Identity(String),
}

impl From<crate::engine::EngineError> for NodeError {
    fn from(error: crate::engine::EngineError) -> Self {
        match error {
            crate::engine::EngineError::Format { .. } => NodeError::Start(error.to_string()),
            _ => NodeError::Disk(error.to_string()),
        }
    }
}

/// Tells a node to stop.
pub type Stop = crate::env::Signal;
