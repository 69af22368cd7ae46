//! Does to the world what the plan says. Each fault is a task of its own that starts at its moment, does its harm and
//! undoes it; what the plan wants of a node that is away already does not happen, and is counted as skipped.
//!
//! Invariants:
//! - a fault is counted when it has happened, not when it was planned;
//! - faults of the network overlap: a pair is mended when the last fault that cut it is over, and links are as bad as
//!   the worst of the faults that act on them. (Two faults on the speed of one disk do not: the first that ends
//!   restores it.)
//! - after [`heal`] no fault acts any more: its task is gone, and what it left half done is undone.

mod clock;
pub(crate) mod cluster;
mod damage;
mod disk;
mod network;
mod process;
pub(crate) mod stranger;

use std::time::Duration;

use madsim::{
    task::{JoinHandle, spawn},
    time::sleep,
};

use self::cluster::Drained;
pub use self::network::{Network, Wired};
use crate::{
    env::Death,
    plan::{Fault, Harm, Kind, Moment, Target, Timed},
    world::{State, World},
};

/// The faults of a plan, under way.
pub struct Nemesis {
    tasks: Vec<JoinHandle<()>>,
    drained: Drained,
}

/// Sets out to do what a plan says, each with its place in it and so much later than it says.
pub fn unleash<'a>(world: &World, faults: impl Iterator<Item = (usize, &'a Timed)>, later: Duration) -> Nemesis {
    let (network, drained) = (Network::default(), Drained::default());
    let tasks = faults.map(|(number, timed)| {
        let (network, drained) = (network.clone(), drained.clone());
        let strike = Strike { world: world.clone(), network, drained, number, timed: timed.later(later) };
        spawn(strike.run())
    });
    Nemesis { tasks: tasks.collect(), drained }
}

/// Ends all these faults for good.
pub async fn heal(world: &World, nemesis: Nemesis) {
    nemesis.tasks.iter().for_each(|task| task.abort());
    // A crash that is armed and comes after this line would leave a node that nobody ends.
    world.heal_disks();
    for node in world.crashed() {
        world.end(node, Death::Power);
    }
    // A restart that was cut short leaves a node that stops and that nobody would start again; so does an error of a disk that
    // its node has not heard of yet.
    for node in world.nodes_in(State::Stopping).into_iter().chain(world.erred()) {
        world.end(node, Death::Process);
    }
    // What was killed now, or by a fault that was cut short, still has destructors to run.
    sleep(Duration::from_millis(2)).await;
    network::heal(world);
    world.heal_nodes();
    nemesis.drained.end(world).into_iter().for_each(|task| drop(spawn(task)));
    world.record().observer.event(world.now(), "all is healed".into());
}

/// Whether a fault found somebody to harm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Struck {
    /// It did.
    Yes,
    /// Nobody was there.
    Skipped,
}

/// One fault on its way.
struct Strike {
    world: World,
    network: Network,
    drained: Drained,
    number: usize,
    timed: Timed,
}

impl Strike {
    async fn run(self) {
        self.world.sleep_until(self.timed.at).await;
        if self.harm().await == Struck::Skipped {
            self.world.record().count(&format!("skipped {}", self.timed.fault.kind()), 1);
        }
    }

    async fn harm(&self) -> Struck {
        let (world, fault) = (&self.world, &self.timed.fault);
        let kind = fault.kind();
        match fault {
            Fault::Restart { node, down } => process::restart(world, *node, *down).await,
            Fault::Kill { node, down } => process::kill(world, kind, *node, *down).await,
            Fault::KillLoop { node, lives } => process::kill_loop(world, *node, lives).await,
            Fault::PowerLoss { node, down } => process::power_loss(world, kind, *node, *down).await,
            Fault::PowerLossAll { down } => process::power_loss_all(world, down).await,
            Fault::ArmedCrash { node, operation, down } => process::armed_crash(world, *node, *operation, *down).await,
            Fault::Pause { node, lasts } => process::pause(world, kind, *node, *lasts).await,
            Fault::Reset { a, b } => self.network.reset(world, *a, *b).await,
            Fault::AtMoment { moment, delay, harm, lasts } => self.at_moment(*moment, *delay, *harm, *lasts).await,
            Fault::Rush { moment, delay } => self.rush(*moment, *delay).await,
            Fault::Damage { node, group, what } => damage::damage(world, *node, *group, *what).await,
            Fault::SplitAt { key } => cluster::split_at(world, *key).await,
            Fault::Move { what, group, node } => cluster::move_replica(world, *what, *group, *node).await,
            Fault::Drain { node, lasts } => self.drained.drain(world, *node, *lasts).await,
            Fault::EmptyFolder { node, down } => process::empty_folder(world, *node, *down).await,
            Fault::OldFolder { node, down } => process::old_folder(world, *node, *down).await,
            Fault::CutPair { a, b, lasts } => self.network.cut_sides(world, kind, &[*a], &[*b], *lasts).await,
            Fault::CutOneWay { from, to, lasts } => self.network.cut(world, kind, &[(*from, *to)], *lasts).await,
            Fault::Isolate { node, lasts } => match world.resolve(*node) {
                Some(node) => self.network.isolate(world, kind, node, *lasts).await,
                None => Struck::Skipped,
            },
            Fault::Split { side, lasts } => self.network.split(world, side, *lasts).await,
            Fault::Links { kind, links, lasts } => self.network.worsen(world, *kind, self.number, *links, *lasts).await,
            Fault::DiskStall { node, lasts } => disk::stall(world, kind, *node, *lasts).await,
            Fault::Swizzle { order, back, every } => self.network.swizzle(world, order, back, *every).await,
            Fault::Flapping { a, b, every, lasts } => self.network.flap(world, (*a, *b), *every, *lasts).await,
            Fault::BadLink { from, to, links, lasts } => {
                self.network.worsen_one(world, self.number, (*from, *to), *links, *lasts).await
            }
            Fault::ClockJump { node, by } => clock::jump(world, *node, *by),
            Fault::ClockDrift { node, millionths, lasts } => clock::run(world, kind, *node, *millionths, *lasts).await,
            Fault::ClockFreeze { node, lasts } => clock::run(world, kind, *node, clock::STILL, *lasts).await,
            Fault::DiskError { node, on, operation, down } => disk::error(world, *node, *on, *operation, *down).await,
            Fault::DiskFull { node, left, lasts } => disk::full(world, *node, *left, *lasts).await,
            Fault::BitFlip { node, part } => damage::flip_bit(world, *node, *part).await,
            Fault::Stranger { node, who } => stranger::knock(world, *node, *who).await,
            Fault::Overload { latency, lasts } => disk::overload(world, *latency, *lasts).await,
            Fault::SlowDisk { node, latency, lasts } => disk::slow(world, *node, *latency, *lasts).await,
        }
    }

    /// Waits for the next such moment, and has all clients ask at once.
    async fn rush(&self, moment: Moment, delay: Duration) -> Struck {
        let world = &self.world;
        let Some(node) = world.record().observer.next_moment(moment).await else { return Struck::Skipped };
        sleep(delay).await;
        world.rush();
        world.record().fault(Kind::Rush, world.now(), &format!("{delay:?} after {moment:?} on node{node}"));
        Struck::Yes
    }

    /// Waits for the next such moment, and harms the node at which it comes.
    async fn at_moment(&self, moment: Moment, delay: Duration, harm: Harm, lasts: Duration) -> Struck {
        let (world, kind) = (&self.world, Kind::AtMoment);
        let Some(node) = world.record().observer.next_moment(moment).await else { return Struck::Skipped };
        sleep(delay).await;
        let target = Target::Node(node);
        match harm {
            Harm::Kill => process::kill(world, kind, target, lasts).await,
            Harm::PowerLoss => process::power_loss(world, kind, target, lasts).await,
            Harm::Pause => process::pause(world, kind, target, lasts).await,
            Harm::Isolate => self.network.isolate(world, kind, node, lasts).await,
            Harm::DiskStall => disk::stall(world, kind, target, lasts).await,
        }
    }
}
