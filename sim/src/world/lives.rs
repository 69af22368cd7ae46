//! How nodes are born, die, stand still and come back, and what becomes of their folders.

use std::{ops::Range, time::Duration};

use madsim::{runtime::Handle, time};
use matrixkv::node::{self, NodeError, NodeOptions};

use super::{State, World, address, new_disk};
use crate::{
    check::Invariant,
    env::{Death, Image, Life},
    knobs::{Knobs, PROPHET_NODES},
};

/// How long the destructors of a dead process may take.
const DYING: Duration = Duration::from_millis(1);

impl World {
    /// Whether `node`'s files were changed at rest.
    pub fn is_spoiled(&self, node: usize) -> bool {
        self.nodes()[node].spoiled
    }

    /// Changes a bit in one of the files of a node that is away, among `bytes` if any are named. Whether it has such a file.
    pub fn spoil(&self, node: usize, file: &str, bytes: Option<Range<u64>>) -> bool {
        let mut nodes = self.nodes();
        let slot = &mut nodes[node];
        assert_eq!(slot.state, State::Down, "node{node} still runs");
        slot.spoiled |= slot.disk.flip_bit(file, bytes);
        slot.spoiled
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
            // An empty store is a new one, and must stay.
            Err(NodeError::Identity(_)) if slot.is_old_copy || slot.lost_folder && node < PROPHET_NODES => {
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
        slot.paused_at = self.now();
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
            slot.disk.resume(slot.paused_at);
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
        (slot.lost_folder, slot.is_old_copy) = (true, true);
        self.0.record.observer.lost_folder(node);
    }

    /// Somebody saw that `node` has an old copy, and takes it away for good.
    pub fn take_away(&self, node: usize) {
        self.end(node, Death::Power);
        self.nodes()[node].state = State::Gone;
        self.0.record.observer.lost_folder(node);
    }

    /// The nodes whose disk lost power inside an operation, and that nobody has killed for it yet.
    pub fn crashed(&self) -> Vec<usize> {
        let nodes = self.nodes();
        (0..nodes.len()).filter(|node| nodes[*node].state != State::Down && nodes[*node].disk.crashed()).collect()
    }

    /// The nodes that run although an operation of their disk failed.
    pub fn erred(&self) -> Vec<usize> {
        let nodes = self.nodes();
        let runs = |node: &usize| matches!(nodes[*node].state, State::Up | State::Paused);
        (0..nodes.len()).filter(runs).filter(|node| nodes[*node].disk.failed()).collect()
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
        for node in 0..self.0.knobs.nodes {
            let is_old_copy = self.nodes()[node].is_old_copy;
            if is_old_copy {
                self.take_away(node);
            }
        }
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
