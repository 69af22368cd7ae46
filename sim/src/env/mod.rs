//! The simulator's world as a node sees it: [`SimEnv`] over madsim's tasks and timers, and over disk, network and byte
//! streams of our own.
//!
//! Invariants:
//! - everything that is drawn here is drawn from the seed, from dice that nobody else throws: removing one fault leaves
//!   the others as they were;
//! - whatever happens goes through the [`Trace`].
//!
//! madsim's network is not used. Its sleep is never shorter than a millisecond, its streams have no bound and no
//! reset in mid-frame, a cut refuses at once, and loss and latency are the same on all links.

mod disk;
pub mod film;
mod net;
mod network;
#[cfg(test)]
mod stack;
mod time;
mod trace;

use std::{io, sync::Arc, time::Duration};

use madsim::runtime::{Handle, NodeHandle, Runtime};
use matrixkv::{
    env::{Env, NetworkEvent, NetworkSetup, stream_network::StreamNetwork},
    types::{Fact, Instant, Rng},
};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3;

pub use disk::{DiskCounters, Image, SimDisk, SimFile};
pub use film::{Film, Life};
pub use net::{Death, Net, NetCounters, Policy, SimListener, SimNetwork, SimStream};
pub use network::EitherNetwork;
pub use time::{Clock, now};
pub use trace::Trace;

/// Hears every fact, as the machines of one node say it.
pub type FactSink = Arc<dyn Fn(&Fact) + Send + Sync>;

/// How envelopes travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetworkKind {
    /// One by one: each may be lost, late, doubled or overtaken.
    Datagrams,
    /// By the real network's own code, over simulated byte streams.
    Streams,
}

/// What a node's world consists of.
pub struct SimEnvSetup {
    /// The node: servers from 0, clients from 100.
    pub node: usize,
    /// The run's seed.
    pub seed: u64,
    /// The disk of its machine.
    pub disk: SimDisk,
    /// The network that it is on.
    pub net: Net,
    /// What records the run.
    pub trace: Trace,
    /// Who hears its facts.
    pub facts: FactSink,
    /// How its envelopes travel.
    pub kind: NetworkKind,
}

/// The world of one life of a node. Made on its madsim node, at the start of that life: the machine is powered from
/// then on, and earlier lives can use neither disk nor network any more.
#[derive(Clone)]
pub struct SimEnv(Arc<Inner>);

struct Inner {
    node: usize,
    disk: SimDisk,
    net: Net,
    clock: Clock,
    trace: Trace,
    facts: FactSink,
    kind: NetworkKind,
    machine: NodeHandle,
}

impl SimEnv {
    /// The world of a life that starts now.
    pub fn new(setup: SimEnvSetup) -> Self {
        let SimEnvSetup { node, seed, disk, net, trace, facts, kind } = setup;
        assert_eq!(seed, net.seed(), "one seed decides a world");
        let (disk, clock) = (disk.mount(), net.start_host(node));
        let losing = net.clone();
        disk.when_power_is_lost(move || losing.kill_node(node, Death::Power));
        let machine = Handle::current().get_node(madsim::plugin::node()).expect("the node that runs this exists");
        SimEnv(Arc::new(Inner { node, disk, net, clock, trace, facts, kind, machine }))
    }
}

impl Env for SimEnv {
    type Network = EitherNetwork;
    type Disk = SimDisk;
    type Stream = SimStream;
    type Listener = SimListener;

    fn now(&self) -> Instant {
        self.0.clock.show(time::now().unwrap_or(0))
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let (sleep, trace, node) = (self.0.clock.sleep(duration), self.0.trace.clone(), self.0.node);
        async move {
            sleep.await;
            if let Some(now) = time::now() {
                trace.note(now, node, "timer of {} ns rings", [duration.as_nanos() as u64]);
            }
        }
    }

    fn spawn(&self, _name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.machine.spawn(task);
    }

    fn rng(&self) -> Rng {
        self.0.net.dice(self.0.node)
    }

    fn disk(&self) -> &SimDisk {
        &self.0.disk
    }

    async fn listen(&self, address: &str) -> io::Result<SimListener> {
        self.0.net.listen(self.0.node, address)
    }

    async fn connect(&self, address: &str) -> io::Result<SimStream> {
        self.0.net.connect(self.0.node, address).await
    }

    async fn network(&self, setup: NetworkSetup) -> io::Result<(EitherNetwork, mpsc::Receiver<NetworkEvent>)> {
        match self.0.kind {
            NetworkKind::Datagrams => {
                let (network, events) = SimNetwork::start(&self.0.net, self.0.node, setup)?;
                Ok((EitherNetwork::Datagrams(network), events))
            }
            NetworkKind::Streams => {
                let (network, events) = StreamNetwork::start(self.clone(), setup).await?;
                Ok((EitherNetwork::Streams(network), events))
            }
        }
    }

    fn observe(&self, fact: &Fact) {
        // What a machine without power does is not seen by anybody.
        if let Some(now) = time::now().filter(|_| self.0.disk.is_alive()) {
            self.0.trace.fact(now, self.0.node, fact);
            (self.0.facts)(fact);
        }
    }
}

/// Dice for one purpose: `name` and `numbers` say which.
fn dice(seed: u64, name: &str, numbers: &[u64]) -> Rng {
    let mut hash = Xxh3::new();
    hash.update(&seed.to_le_bytes());
    hash.update(name.as_bytes());
    numbers.iter().for_each(|number| hash.update(&number.to_le_bytes()));
    Rng::new(hash.digest())
}

/// Bytes of the stack of a run's thread.
const STACK_BYTES: usize = 16 << 20;

/// Runs `work` in a madsim runtime on a fresh thread: hash maps draw their keys once a thread. Panics as `work` does.
pub fn run_seed<T, F>(seed: u64, work: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let thread = std::thread::Builder::new().name(format!("seed-{seed}")).stack_size(STACK_BYTES);
    let run = move || {
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.block_on(async move { work().await })
    };
    let run = thread.spawn(run).expect("the system has a thread to spare");
    run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
