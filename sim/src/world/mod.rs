//! The world of a run: nodes, their disks, the network between them, and everybody who watches. A node is a madsim
//! node that runs [`matrixkv::node::run`], with the very code of the server, over a [`SimEnv`]; it lives, dies and
//! comes back on the same disk.
//!
//! Invariants:
//! - a node dies in one order: the disk is fenced, the network forgets it, its tasks are dropped. So no destructor of a
//!   dead process writes anything;
//! - a life that was ended from outside has nothing to say any more; one that ended by itself must have had a reason
//!   that the world knows (it was asked to, its disk failed, its folder was lost), and is a violation otherwise;
//! - what a fault does to a node that is away already is nothing.

mod counters;
mod lives;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use madsim::{
    runtime::{Handle, NodeHandle},
    task::NodeId,
    time,
};
use matrixkv::{
    env::{Raise, Signal},
    types::{Fact, ShardId},
};
use tokio::sync::Notify;

use crate::{
    check::{Invariant, down},
    env::{Clock, Net, NetworkKind, SimDisk, SimEnv, SimEnvSetup, Trace},
    knobs::{Knobs, Transport},
    plan::Target,
    run::Record,
};

/// Client `n` is the node `FIRST_CLIENT + n` of the network and of the trace.
pub const FIRST_CLIENT: usize = 100;

/// Machines after the clients' that read everything at the end of a run; the watcher's comes after them.
pub const READERS: usize = 2;

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was never started.
    Unborn,
    /// It runs.
    Up,
    /// It stands still.
    Paused,
    /// It was asked to stop.
    Stopping,
    /// It is away, and may come back.
    Down,
    /// It refused to go on with an empty folder, and stays out.
    Gone,
}

struct Node {
    machine: Option<NodeId>,
    disk: SimDisk,
    state: State,
    /// When it was paused the last time.
    paused_at: Duration,
    /// Counts its lives, so that a late word of an earlier one is told apart.
    life: u64,
    stop: Raise,
    lost_folder: bool,
    /// Its folder is an old copy.
    is_old_copy: bool,
    /// Something of its files changed at rest: it may be lost for good.
    spoiled: bool,
    /// Its last life ended by itself because its disk stood still.
    gave_up: bool,
}

/// The world. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    knobs: Knobs,
    net: Net,
    trace: Trace,
    record: Record,
    began: time::Instant,
    nodes: Mutex<Vec<Node>>,
    /// The machine from which the run looks at the cluster.
    watcher: NodeHandle,
    /// Wakes all clients that think.
    rush: Notify,
    /// Until when clients do not think at all.
    flooded_until: Mutex<Duration>,
}

impl World {
    /// A world in which nothing was started yet. To be called inside the runtime.
    pub fn new(knobs: Knobs, trace: Trace, record: Record) -> Self {
        let net = Net::new(knobs.seed, trace.clone());
        net.set_default_policy(knobs.links.policy());
        let nodes = (0..knobs.nodes).map(|node| Node::new(&knobs, node, &trace)).collect();
        let watcher = client_machine(knobs.clients + READERS);
        record.observer.want_voters(knobs.replicas.min(knobs.nodes));
        let (began, nodes) = (time::Instant::now(), Mutex::new(nodes));
        let (rush, flooded_until) = (Notify::new(), Mutex::default());
        World(Arc::new(Inner { knobs, net, trace, record, began, nodes, watcher, rush, flooded_until }))
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.0.nodes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What the seed decided.
    pub fn knobs(&self) -> &Knobs {
        &self.0.knobs
    }

    /// The network between the nodes.
    pub fn net(&self) -> &Net {
        &self.0.net
    }

    /// What the run leaves behind.
    pub fn record(&self) -> &Record {
        &self.0.record
    }

    /// Since the start of the run.
    pub fn now(&self) -> Duration {
        time::Instant::now().duration_since(self.0.began)
    }

    /// Resolves at `at` since the start of the run.
    pub async fn sleep_until(&self, at: Duration) {
        time::sleep(at.saturating_sub(self.now())).await;
    }

    /// Sleeps for this long, or until the next [`Self::rush`].
    pub async fn think(&self, pause: Duration) {
        if self.now() < *self.flooded() {
            return;
        }
        // Whichever comes first; that it was the time is no error here.
        let _ = time::timeout(pause, self.0.rush.notified()).await;
    }

    fn flooded(&self) -> MutexGuard<'_, Duration> {
        self.0.flooded_until.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// No client thinks for so long.
    pub fn flood(&self, lasts: Duration) {
        *self.flooded() = self.now() + lasts;
        self.rush();
    }

    /// All clients that think have thought enough.
    pub fn rush(&self) {
        self.0.rush.notify_waiters();
    }

    /// The disk of `node`.
    pub fn disk(&self, node: usize) -> SimDisk {
        self.nodes()[node].disk.clone()
    }

    /// Where `node` is in its life.
    pub fn state(&self, node: usize) -> State {
        self.nodes()[node].state
    }

    /// The nodes in this state, ascending.
    pub fn nodes_in(&self, state: State) -> Vec<usize> {
        let nodes = self.nodes();
        (0..nodes.len()).filter(|node| nodes[*node].state == state).collect()
    }

    /// Whether some node's folder was lost for good.
    pub fn lost_a_folder(&self) -> bool {
        self.nodes().iter().any(|node| node.lost_folder)
    }

    /// The clock of the life that `node` has now.
    pub fn clock(&self, node: usize) -> Option<Clock> {
        self.0.net.clock(node).filter(|_| self.state(node) == State::Up)
    }

    /// How `node`'s clock runs from now on, in millionths too fast, in this life.
    pub fn set_drift(&self, clock: &Clock, millionths: i32) {
        clock.set_drift(crate::env::now().expect("faults happen inside of the run"), millionths);
    }

    /// The node that is meant right now; `None` where the group has no leader yet.
    pub fn resolve(&self, target: Target) -> Option<usize> {
        let leaders = self.0.record.observer.leaders();
        match target {
            Target::Node(node) => Some(node),
            Target::ProphetLeader => {
                leaders.iter().find(|(shard, _)| *shard == ShardId::METADATA).map(|(_, leader)| leader.node)
            }
            Target::Leader(_) if leaders.is_empty() => None,
            Target::Leader(group) => Some(leaders[group as usize % leaders.len()].1.node),
        }
    }

    /// The machine from which the run looks at the cluster.
    pub fn watcher(&self) -> &NodeHandle {
        &self.0.watcher
    }

    /// Its Env, to be made on it.
    pub fn watcher_env(&self) -> SimEnv {
        self.env(FIRST_CLIENT + self.0.knobs.clients + READERS)
    }

    /// The number of the life that `node` has, or had last.
    pub fn life(&self, node: usize) -> u64 {
        self.nodes()[node].life
    }

    /// The Env of a node or client, made on its own machine.
    pub fn env(&self, node: usize) -> SimEnv {
        let disk = if node < FIRST_CLIENT { self.disk(node) } else { new_disk(&self.0.knobs, node, &self.0.trace) };
        let world = self.clone();
        SimEnv::new(SimEnvSetup {
            node,
            seed: self.0.knobs.seed,
            disk,
            net: self.0.net.clone(),
            trace: self.0.trace.clone(),
            facts: Arc::new(move |fact: &Fact| world.hear(node, fact)),
            kind: match self.0.knobs.transport {
                Transport::Datagrams => NetworkKind::Datagrams,
                Transport::Streams => NetworkKind::Streams,
            },
        })
    }

    fn hear(&self, node: usize, fact: &Fact) {
        let Inner { knobs, record, .. } = &*self.0;
        record.observer.fact(node, self.now(), fact);
        if let Some(message) = down::judge(knobs.store_down_time, fact) {
            record.violation(Invariant::Converged, self.now(), format!("node{node}: {message}"));
        }
    }
}

impl Node {
    fn new(knobs: &Knobs, node: usize, trace: &Trace) -> Self {
        Node {
            machine: None,
            disk: new_disk(knobs, node, trace),
            state: State::Unborn,
            life: 0,
            stop: Raise::new(),
            lost_folder: false,
            is_old_copy: false,
            spoiled: false,
            gave_up: false,
            paused_at: Duration::ZERO,
        }
    }

    /// Gets ready for a new life.
    fn revive(&mut self) {
        self.disk.revive();
        self.gave_up = false;
        self.state = State::Up;
        self.life += 1;
        self.stop = Raise::new();
    }

    fn life(&self) -> (u64, Signal) {
        (self.life, self.stop.signal())
    }
}

/// A machine for client `client`.
pub fn client_machine(client: usize) -> NodeHandle {
    let node = FIRST_CLIENT + client;
    Handle::current().create_node().name(format!("client{client}")).ip(address(node)).build()
}

fn new_disk(knobs: &Knobs, node: usize, trace: &Trace) -> SimDisk {
    let disk = SimDisk::new(knobs.seed, node, trace.clone());
    disk.set_latency(knobs.disk_latency.0, knobs.disk_latency.1);
    disk
}

/// Nodes are 10.0.0.x, clients 10.0.1.x.
fn address(node: usize) -> IpAddr {
    let (net, host) = if node < FIRST_CLIENT { (0, node) } else { (1, node - FIRST_CLIENT) };
    IpAddr::V4(Ipv4Addr::new(10, 0, net, 1 + host as u8))
}
