//! The real world: tokio's clock, tasks and TCP, the operating system's dice and files. With the command line this is
//! the only place that touches them; everything else is handed an [`Env`].

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is the real world")]

mod disk;
pub mod links;
mod stream;
mod tcp;

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    io,
    sync::Arc,
    time::Duration,
};

use tokio::{runtime::Handle, sync::mpsc};

pub use disk::{RealDisk, RealFile};
use links::Links;
pub use stream::RealStream;
pub use tcp::RealListener;

use super::{Env, NetworkEvent, NetworkSetup, stream_network::StreamNetwork};
use crate::types::{Instant, Rng};

/// The world of a process.
#[derive(Clone, Debug)]
pub struct RealEnv {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    start: std::time::Instant,
    runtime: Handle,
    disk: RealDisk,
    links: Option<Links>,
}

impl RealEnv {
    /// The world, on the runtime that calls.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new() -> Self {
        Self::with_links(None)
    }

    /// The same; what it connects to goes over `links`, if there are any.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn with_links(links: Option<Links>) -> Self {
        let runtime = Handle::current();
        let disk = RealDisk::new(runtime.clone());
        Self { inner: Arc::new(Inner { start: std::time::Instant::now(), runtime, disk, links }) }
    }
}

impl Default for RealEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl Env for RealEnv {
    type Network = StreamNetwork<RealEnv>;
    type Disk = RealDisk;
    type Stream = RealStream;
    type Listener = RealListener;

    fn now(&self) -> Instant {
        Instant::default() + self.inner.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }

    fn spawn(&self, _name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        // Without tokio's unstable builder a task has no name.
        self.inner.runtime.spawn(task);
    }

    fn rng(&self) -> Rng {
        // The standard hasher's keys come from the operating system and differ with each state. Ids of clusters and
        // folders are drawn from this: they must differ between machines that start at the same moment.
        Rng::new(RandomState::new().hash_one("dice"))
    }

    fn disk(&self) -> &RealDisk {
        &self.inner.disk
    }

    async fn listen(&self, address: &str) -> io::Result<RealListener> {
        RealListener::bind(address).await
    }

    async fn connect(&self, address: &str) -> io::Result<Self::Stream> {
        tcp::connect(address, self.inner.links.as_ref()).await
    }

    async fn network(&self, setup: NetworkSetup) -> io::Result<(Self::Network, mpsc::Receiver<NetworkEvent>)> {
        StreamNetwork::start(self.clone(), setup).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dice_differ_and_time_grows() {
        let env = RealEnv::new();
        assert_ne!(env.rng().id(), env.rng().id());
        let before = env.now();
        env.sleep(Duration::from_millis(5)).await;
        assert!(env.now() - before >= Duration::from_millis(5));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let env = RealEnv::new();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = env.listen(&address).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }
}
