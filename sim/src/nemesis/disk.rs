//! Faults of disks that lose nothing, and of disks that get more to do than they can.

use std::time::Duration;

use madsim::time::sleep;

use super::Struck;
use crate::{
    check::Invariant,
    env::Death,
    plan::{Access, Kind, Target},
    world::{State, World},
};

/// How long an error waits for its operation.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);

/// How often the world looks whether it came.
const GLANCE: Duration = Duration::from_millis(20);

/// No operation of the disk ends for a while.
pub async fn stall(world: &World, kind: Kind, node: Target, lasts: Duration) -> Struck {
    let Some(node) = running(world, node) else { return Struck::Skipped };
    world.disk(node).stall_for(lasts);
    world.record().fault(kind, world.now(), &format!("node{node} for {lasts:?}"));
    sleep(lasts).await;
    // Whoever runs it gave it another disk.
    if world.gave_up(node) {
        world.restart(node);
    }
    Struck::Yes
}

/// Each operation takes `latency` for a while.
pub async fn slow(world: &World, node: Target, latency: Duration, lasts: Duration) -> Struck {
    let Some(node) = running(world, node) else { return Struck::Skipped };
    world.disk(node).set_latency(latency, latency);
    world.record().fault(Kind::SlowDisk, world.now(), &format!("node{node}, {latency:?} for {lasts:?}"));
    sleep(lasts).await;
    let (low, high) = world.knobs().disk_latency;
    world.disk(node).set_latency(low, high);
    Struck::Yes
}

/// One operation fails. The node must stop; it is started again.
pub async fn error(world: &World, node: Target, on: Access, operation: u64, down: Duration) -> Struck {
    let Some(node) = running(world, node) else { return Struck::Skipped };
    let disk = world.disk(node);
    match on {
        Access::Change => disk.arm_error(operation),
        Access::Read => {
            if !world.kill(node, Death::Process).await {
                return Struck::Skipped;
            }
            world.restart(node);
            disk.arm_read_error(operation);
        }
    }
    let patience = world.now() + ERROR_PATIENCE;
    while world.state(node) == State::Up && world.now() < patience {
        sleep(GLANCE).await;
    }
    if world.state(node) == State::Up && disk.failed() {
        let message = format!("node{node} goes on although its disk erred");
        world.record().violation(Invariant::Stopped, world.now(), message);
    }
    if world.state(node) != State::Down || !disk.failed() {
        disk.disarm();
        return Struck::Skipped;
    }
    world.record().fault(Kind::DiskError, world.now(), &format!("node{node}, {on:?} {operation}, for {down:?}"));
    sleep(down).await;
    world.restart(node);
    Struck::Yes
}

/// Little is left of the disk for a while. Nobody stops for that.
pub async fn full(world: &World, node: Target, left: u64, lasts: Duration) -> Struck {
    let Some(node) = running(world, node) else { return Struck::Skipped };
    world.disk(node).fill_up(left);
    world.record().fault(Kind::DiskFull, world.now(), &format!("node{node}, {left} bytes left for {lasts:?}"));
    sleep(lasts).await;
    world.disk(node).make_room();
    Struck::Yes
}

/// All disks are slow, and all clients ask without a pause.
pub async fn overload(world: &World, latency: Duration, lasts: Duration) -> Struck {
    let disks: Vec<_> = (0..world.knobs().nodes).map(|node| world.disk(node)).collect();
    disks.iter().for_each(|disk| disk.set_latency(latency, latency));
    world.flood(lasts);
    world.record().fault(Kind::Overload, world.now(), &format!("{latency:?} an operation for {lasts:?}"));
    sleep(lasts).await;
    let (low, high) = world.knobs().disk_latency;
    disks.iter().for_each(|disk| disk.set_latency(low, high));
    Struck::Yes
}

fn running(world: &World, node: Target) -> Option<usize> {
    world.resolve(node).filter(|node| world.state(*node) == State::Up)
}
