//! Faults of disks that lose nothing.

use std::time::Duration;

use madsim::time::sleep;

use super::Struck;
use crate::{
    plan::{Kind, Target},
    world::{State, World},
};

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

fn running(world: &World, node: Target) -> Option<usize> {
    world.resolve(node).filter(|node| world.state(*node) == State::Up)
}
