//! The seams: everything that a node takes from the world it runs in. One type [`Env`], two worlds: tokio's here
//! ([`real`]), madsim's in the simulator. Nothing else knows which one it is in.
//!
//! Invariants:
//! - an envelope may be lost, late, doubled or reordered; [`NetworkEvent`] says what the network knows of that;
//! - time is monotonic within a boot; nothing that is replicated sees it;
//! - what a [`File`] was told to write is durable only after `sync`, a name only after `sync_dir`.

mod disk;
pub mod link;
mod network;
pub mod real;
mod signal;
pub mod stream_network;

use std::{future::Future, io, pin::pin, time::Duration};

use futures_util::future::{Either, select};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

pub use disk::{Disk, File, Lock, Space};
pub use network::{
    Channel, Identity, Listen, Network, NetworkEvent, NetworkLimits, NetworkSetup, Sender, SharedIdentity, Via,
};

pub use signal::{Raise, Signal};

use crate::types::{Fact, Instant, Rng};

/// Everything that a node takes from its world.
pub trait Env: Clone + Send + Sync + 'static {
    /// Envelopes between nodes.
    type Network: Network;
    /// Folders and files.
    type Disk: Disk;
    /// A byte stream, for HTTP and for the link.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Accepts byte streams.
    type Listener: Listener<Stream = Self::Stream>;

    /// The monotonic clock of this node.
    fn now(&self) -> Instant;

    /// Resolves after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// Runs `task` beside the others until it ends or the node dies. `name` is for people.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static);

    /// A stream of dice of its own.
    fn rng(&self) -> Rng;

    /// The disk of this node.
    fn disk(&self) -> &Self::Disk;

    /// Accepts byte streams at `address` (`host:port`).
    fn listen(&self, address: &str) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Opens a byte stream to `address` (`host:port`); the name is looked up each time, since containers move.
    fn connect(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Starts the network of a node: binds every address of `setup`, or fails naming the one that cannot be bound.
    fn network(
        &self,
        setup: NetworkSetup,
    ) -> impl Future<Output = io::Result<(Self::Network, mpsc::Receiver<NetworkEvent>)>> + Send;

    /// Hears what the machines did. Only the simulator listens.
    fn observe(&self, _fact: &Fact) {}
}

/// Accepts byte streams.
pub trait Listener: Send + 'static {
    /// What is accepted.
    type Stream;

    /// The next stream, and who it comes from (for people).
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, String)>> + Send;
}

/// `task`'s result, or `None` once `duration` is over. The task is dropped then.
pub async fn within<E: Env, T>(env: &E, duration: Duration, task: impl Future<Output = T>) -> Option<T> {
    match select(pin!(task), pin!(env.sleep(duration))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}
