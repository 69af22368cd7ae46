//! Faults of clocks. They touch the life that a node has now: the next one starts with a clock that runs right.

use std::time::Duration;

use madsim::time::sleep;

use super::Struck;
use crate::{
    plan::{Kind, Target},
    world::World,
};

/// A clock that stands still, as a drift.
pub const STILL: i32 = -1_000_000;

/// The clock jumps ahead.
pub fn jump(world: &World, node: Target, by: Duration) -> Struck {
    let Some((node, clock)) = world.resolve(node).and_then(|node| Some((node, world.clock(node)?))) else {
        return Struck::Skipped;
    };
    clock.jump(by);
    world.record().fault(Kind::ClockJump, world.now(), &format!("node{node} by {by:?}"));
    Struck::Yes
}

/// The clock runs `millionths` too fast for a while.
pub async fn run(world: &World, kind: Kind, node: Target, millionths: i32, lasts: Duration) -> Struck {
    let Some((node, clock)) = world.resolve(node).and_then(|node| Some((node, world.clock(node)?))) else {
        return Struck::Skipped;
    };
    world.set_drift(&clock, millionths);
    world.record().fault(kind, world.now(), &format!("node{node}, {millionths} millionths for {lasts:?}"));
    sleep(lasts).await;
    world.set_drift(&clock, 0);
    Struck::Yes
}
