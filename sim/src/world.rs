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
    node::{self, NodeError, NodeOptions},
    types::{Fact, ShardId, Untimely},
};
use tokio::sync::Notify;

use crate::{
    check::{Invariant, down},
    env::{Clock, Death, Image, Life, Net, NetworkKind, SimDisk, SimEnv, SimEnvSetup, Trace},
    knobs::{Knobs, Transport},
    plan::Target,
    run::Record,
};

/// Client `n` is the node `FIRST_CLIENT + n` of the network and of the trace.
pub const FIRST_CLIENT: usize = 100;

/// Machines after the clients' that read everything at the end of a run; the watcher's comes after them.
pub const READERS: usize = 2;

/// How long the destructors of a dead process may take.
const DYING: Duration = Duration::from_millis(1);

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
    /// Counts its lives, so that a late word of an earlier one is told apart.
    life: u64,
    stop: Raise,
    lost_folder: bool,
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

fn words_of(what: Untimely) -> &'static str {
    match what {
        Untimely::Route => "requests for old ranges",
        Untimely::Double => "requests that came twice",
        Untimely::Order => "void orders",
        Untimely::Removed => "messages of removed replicas",
        Untimely::Destroyed => "messages for destroyed replicas",
        Untimely::Unborn => "messages for unborn replicas",
    }
}

impl World {
    /// A world in which nothing was started yet. To be called inside the runtime.
    pub fn new(knobs: Knobs, trace: Trace, record: Record) -> Self {
        let net = Net::new(knobs.seed, trace.clone());
        net.set_default_policy(knobs.links.policy());
        let nodes = (0..knobs.nodes).map(|node| Node::new(&knobs, node, &trace)).collect();
        let watcher = client_machine(knobs.clients + READERS);
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

    /// Whether `node`'s files were changed at rest.
    pub fn is_spoiled(&self, node: usize) -> bool {
        self.nodes()[node].spoiled
    }

    /// Changes a bit in one of the files of a node that is away. Whether it has such a file.
    pub fn spoil(&self, node: usize, file: &str) -> bool {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        assert_eq!(slot.state, State::Down, "node{node} still runs");
        slot.spoiled |= slot.disk.flip_bit(file);
        slot.spoiled
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

    /// Starts `node` for the first time.
    pub fn start(&self, node: usize) {
        if self.state(node) != State::Unborn {
            return;
        }
        self.nodes()[node].revive();
        let (world, handle) = (self.clone(), Handle::current());
        let machine = handle.create_node().name(Knobs::host(node)).ip(address(node));
        let machine = machine.init(move || world.clone().live(node)).build();
        self.nodes()[node].machine = Some(machine.id());
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

    /// Adds to the record how many stores were held for down so far. Asked before the run itself takes one away for good.
    pub fn tell_stores_down(&self) {
        self.0.record.count("stores held for down", self.0.record.observer.tally().stores_down);
    }

    /// Adds what disks and network counted to the record.
    pub fn tell_counters(&self) {
        let tally = self.0.record.observer.tally();
        self.0.record.count("elections", tally.elections);
        self.0.record.count("leaders that gave up", tally.given_up);
        self.0.record.count("leaders that went quiet", tally.quieted);
        self.0.record.count("entries applied", tally.applied);
        self.0.record.count("snapshots installed", tally.snapshots);
        self.0.record.count("snapshot chunks", tally.chunks);
        self.0.record.count("replicas opened", tally.opened);
        self.0.record.count("replicas destroyed", tally.destroyed);
        self.0.record.count("replicas quarantined", tally.quarantined);
        self.0.record.count("splits applied", tally.splits);
        self.0.record.count("replicas where one was destroyed", self.0.record.observer.successors() as u64);
        for (what, times) in tally.untimely {
            self.0.record.count(words_of(what), times);
        }
        self.0.record.count("shards at the end", self.0.record.observer.shards() as u64);
        let net = self.0.net.counters();
        self.0.record.count("messages delivered", net.delivered);
        self.0.record.count("messages lost", net.lost + net.cut);
        self.0.record.count("messages doubled", net.duplicated);
        self.0.record.count("messages late", net.late);
        let disks: Vec<_> = self.nodes().iter().map(|node| node.disk.counters()).collect();
        self.0.record.count("syncs", disks.iter().map(|disk| disk.syncs).sum());
        self.0.record.count("bytes lost at power cuts", disks.iter().map(|disk| disk.bytes_lost).sum());
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

    /// One life of `node`, from its start to its end.
    async fn live(self, node: usize) {
        self.0.record.observer.born(node);
        self.0.record.observer.event(self.now(), format!("node{node} starts"));
        self.film(node, Life::Up);
        let (life, stop) = self.nodes()[node].life();
        let options = NodeOptions {
            config: self.0.knobs.config(node),
            http_address: Knobs::http_address(node),
            shard_capacity: self.0.knobs.shard_capacity,
        };
        let outcome = node::run(self.env(node), options, stop).await;
        self.end_life(node, life, outcome);
        // What it left running goes with it, from outside of it.
        let world = self.clone();
        self.0.watcher.spawn(async move {
            world.bury(node, life);
            // A stall that is over already is no reason to stay away.
            if world.gave_up(node) && world.disk(node).stall().is_some_and(|left| left.is_zero()) {
                time::sleep(DYING).await;
                world.restart(node);
            }
        });
    }

    /// Drops what a life that ended by itself left behind.
    fn bury(&self, node: usize, life: u64) {
        let nodes = self.nodes();
        let slot = &nodes[node];
        let Some(machine) = slot.machine.filter(|_| slot.life == life) else { return };
        if matches!(slot.state, State::Down | State::Gone) {
            drop(nodes);
            Handle::current().kill(machine);
        }
    }

    /// A life ended by itself: with a good reason, or it is a violation.
    fn end_life(&self, node: usize, life: u64, outcome: Result<(), NodeError>) {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        if slot.life != life || slot.state == State::Down {
            return;
        }
        // The process is over: its disk handles and its sockets go with it, before it can be started again.
        slot.disk.fence();
        self.0.net.kill_node(node, Death::Process);
        let asked = slot.state == State::Stopping;
        let (disk_failed, stall) = (slot.disk.crashed() || slot.disk.failed(), slot.disk.stall());
        slot.state = State::Down;
        let told = match outcome {
            Ok(()) if asked => return,
            Err(NodeError::Disk(_)) if disk_failed => return,
            Err(NodeError::Disk(_)) if slot.spoiled => {
                slot.state = State::Gone;
                slot.lost_folder = true;
                self.0.record.count("flipped bits that were noticed", 1);
                self.0.record.observer.lost_folder(node);
                return;
            }
            Err(NodeError::DiskStalled(_)) if stall.is_some() => {
                slot.gave_up = true;
                self.0.record.count("nodes that gave up their disk", 1);
                self.0.record.observer.event(self.now(), format!("node{node} gives up its disk"));
                return;
            }
            Err(NodeError::Identity(_)) if slot.lost_folder => {
                slot.state = State::Gone;
                self.0.record.observer.lost_folder(node);
                return;
            }
            Ok(()) => "stopped although nobody asked it to".into(),
            Err(error) => format!("stopped: {error}"),
        };
        drop(nodes);
        self.0.record.violation(Invariant::Stopped, self.now(), format!("node{node} {told}"));
    }

    /// Ends the life of `node` at once. False if it has none.
    pub async fn kill(&self, node: usize, death: Death) -> bool {
        if !self.end(node, death) {
            return false;
        }
        // Now the tasks are dropped; what their destructors write meets the fence.
        time::sleep(DYING).await;
        true
    }

    /// As [`Self::kill`], without waiting for what the dead process drops.
    pub fn end(&self, node: usize, death: Death) -> bool {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        let Some(machine) = slot.machine else { return false };
        let state = std::mem::replace(&mut slot.state, State::Down);
        if !matches!(state, State::Up | State::Paused | State::Stopping) {
            slot.state = state;
            return false;
        }
        slot.life += 1;
        slot.disk.fence();
        self.0.net.kill_node(node, death);
        drop(nodes);
        let handle = Handle::current();
        if state == State::Paused {
            // madsim drops the tasks of a paused node inside the kill itself, out of their context.
            handle.resume(machine);
        }
        handle.kill(machine);
        true
    }

    /// The disk of a node that is away loses what was not synced.
    pub fn lose_power(&self, node: usize) {
        assert!(matches!(self.state(node), State::Down | State::Gone), "node{node} still runs");
        self.disk(node).power_loss();
    }

    /// Starts a node that is away.
    pub fn restart(&self, node: usize) {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        if slot.state != State::Down {
            return;
        }
        let machine = slot.machine.expect("a node that is down was up");
        slot.revive();
        drop(nodes);
        Handle::current().restart(machine);
    }

    /// Whether `node` is away because its disk stood still for too long.
    pub fn gave_up(&self, node: usize) -> bool {
        self.nodes()[node].gave_up
    }

    fn film(&self, node: usize, life: Life) {
        let now = self.now().as_nanos() as u64;
        self.0.trace.film(|film| film.lives.push((now, node, life)));
    }

    /// Asks `node` to stop in an orderly way. False if it does not run.
    pub fn ask_to_stop(&self, node: usize) -> bool {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        if slot.state != State::Up {
            return false;
        }
        slot.state = State::Stopping;
        slot.stop.raise();
        true
    }

    /// Stops the clock of a process. The number of its life, to resume that one and no other.
    pub fn pause(&self, node: usize) -> Option<u64> {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        if slot.state != State::Up {
            return None;
        }
        slot.state = State::Paused;
        self.film(node, Life::Paused);
        Handle::current().pause(slot.machine?);
        Some(slot.life)
    }

    /// Lets a paused process go on.
    pub fn resume(&self, node: usize, life: u64) {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        if slot.state == State::Paused && slot.life == life {
            slot.state = State::Up;
            self.film(node, Life::Up);
            Handle::current().resume(slot.machine.expect("it was paused"));
        }
    }

    /// Gives a node that is away an empty folder, for good.
    pub fn lose_folder(&self, node: usize) {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        assert_eq!(slot.state, State::Down, "node{node} still runs");
        slot.disk = new_disk(&self.0.knobs, node, &self.0.trace);
        slot.lost_folder = true;
        self.0.record.observer.lost_folder(node);
    }

    /// Gives a node that is away an old copy of its folder, for good.
    pub fn put_back(&self, node: usize, image: &Image) {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        assert_eq!(slot.state, State::Down, "node{node} still runs");
        slot.disk.put_back(image);
        slot.lost_folder = true;
        self.0.record.observer.lost_folder(node);
    }

    /// The nodes whose disk lost power inside an operation, and that nobody has killed for it yet.
    pub fn crashed(&self) -> Vec<usize> {
        let nodes = self.nodes();
        (0..nodes.len()).filter(|node| nodes[*node].state != State::Down && nodes[*node].disk.crashed()).collect()
    }

    /// Ends what the disks still have before them.
    pub fn heal_disks(&self) {
        let disks: Vec<_> = self.nodes().iter().map(|node| node.disk.clone()).collect();
        let (low, high) = self.0.knobs.disk_latency;
        for disk in disks {
            disk.disarm();
            disk.set_latency(low, high);
            disk.make_room();
        }
    }

    /// Ends every fault of processes and disks.
    pub fn heal_nodes(&self) {
        for node in self.nodes_in(State::Paused) {
            let life = self.nodes()[node].life;
            self.resume(node, life);
        }
        for node in self.nodes_in(State::Up) {
            self.clock(node).inspect(|clock| self.set_drift(clock, 0));
        }
        *self.flooded() = Duration::ZERO;
        self.nodes_in(State::Down).into_iter().for_each(|node| self.restart(node));
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
            spoiled: false,
            gave_up: false,
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
