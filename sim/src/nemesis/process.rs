//! Faults of processes and of their power.

use std::time::Duration;

use madsim::time::sleep;

use super::{Struck, cluster::store_of};
use crate::{
    check::{Invariant, probe},
    env::Death,
    knobs::PROPHET_NODES,
    plan::{CONTACT_MARGIN, EMPTY_PATIENCE, Kind, OLD_LIFE, Target},
    world::{State, World},
};

/// How long a node may take to stop when it is asked to; then it is killed.
const STOPPING_MAX: Duration = Duration::from_secs(10);

/// How long an armed crash waits for its disk operation.
const ARMED_MAX: Duration = Duration::from_secs(5);

/// How often the world looks whether something happened.
const GLANCE: Duration = Duration::from_millis(2);

/// How long a node that dies in a loop stays away each time.
const LOOP_DOWN: Duration = Duration::from_millis(20);

/// Asks a node to stop, and starts it again.
pub async fn restart(world: &World, node: Target, down: Duration) -> Struck {
    let Some(node) = world.resolve(node).filter(|node| world.ask_to_stop(*node)) else { return Struck::Skipped };
    world.record().fault(Kind::Restart, world.now(), &format!("node{node} for {down:?}"));
    let patience = world.now() + STOPPING_MAX;
    while world.state(node) == State::Stopping && world.now() < patience {
        sleep(GLANCE).await;
    }
    if world.kill(node, Death::Process).await {
        world.record().count("stops that had to be forced", 1);
    }
    sleep(down).await;
    world.restart(node);
    Struck::Yes
}

/// Kills a process; what it gave to the operating system survives.
pub async fn kill(world: &World, kind: Kind, node: Target, down: Duration) -> Struck {
    let Some(node) = world.resolve(node) else { return Struck::Skipped };
    let learners = world.record().observer.learners_on(node);
    if !world.kill(node, Death::Process).await {
        return Struck::Skipped;
    }
    world.record().count("learners killed", learners as u64);
    world.record().fault(kind, world.now(), &format!("node{node} for {down:?}"));
    sleep(down).await;
    world.restart(node);
    Struck::Yes
}

/// Kills a process soon after each of its starts.
pub async fn kill_loop(world: &World, node: Target, lives: &[Duration]) -> Struck {
    let Some(node) = world.resolve(node) else { return Struck::Skipped };
    let mut struck = Struck::Skipped;
    for life in lives {
        if world.kill(node, Death::Process).await {
            world.record().fault(Kind::KillLoop, world.now(), &format!("node{node}, then it lives {life:?}"));
            struck = Struck::Yes;
            sleep(LOOP_DOWN).await;
            world.restart(node);
        }
        sleep(*life).await;
    }
    struck
}

/// A node loses power.
pub async fn power_loss(world: &World, kind: Kind, node: Target, down: Duration) -> Struck {
    let Some(node) = world.resolve(node) else { return Struck::Skipped };
    if !world.kill(node, Death::Power).await {
        return Struck::Skipped;
    }
    world.lose_power(node);
    world.record().fault(kind, world.now(), &format!("node{node} for {down:?}"));
    sleep(down).await;
    world.restart(node);
    Struck::Yes
}

/// All nodes lose power at once, those that are away too; each comes back in its own time.
pub async fn power_loss_all(world: &World, down: &[Duration]) -> Struck {
    let nodes: Vec<_> = (0..world.knobs().nodes).filter(|node| world.end(*node, Death::Power)).collect();
    if nodes.is_empty() {
        return Struck::Skipped;
    }
    sleep(GLANCE).await;
    world.nodes_in(State::Down).into_iter().for_each(|node| world.lose_power(node));
    world.record().fault(Kind::PowerLossAll, world.now(), &format!("nodes {nodes:?} for {down:?}"));
    let mut back: Vec<_> = nodes.iter().map(|node| (world.now() + down[*node], *node)).collect();
    back.sort();
    for (at, node) in back {
        world.sleep_until(at).await;
        world.restart(node);
    }
    Struck::Yes
}

/// A node loses power inside one of its next disk operations.
pub async fn armed_crash(world: &World, node: Target, operation: u64, down: Duration) -> Struck {
    let Some(node) = world.resolve(node).filter(|node| world.state(*node) == State::Up) else { return Struck::Skipped };
    let disk = world.disk(node);
    disk.arm_crash(operation);
    let patience = world.now() + ARMED_MAX;
    while !disk.crashed() {
        if world.state(node) != State::Up || world.now() > patience {
            disk.disarm();
            return Struck::Skipped;
        }
        sleep(GLANCE).await;
    }
    world.kill(node, Death::Power).await;
    world.record().fault(Kind::ArmedCrash, world.now(), &format!("node{node}, operation {operation}, for {down:?}"));
    sleep(down).await;
    world.restart(node);
    Struck::Yes
}

/// A process stands still.
pub async fn pause(world: &World, kind: Kind, node: Target, lasts: Duration) -> Struck {
    let Some(node) = world.resolve(node) else { return Struck::Skipped };
    let Some(life) = world.pause(node) else { return Struck::Skipped };
    world.record().fault(kind, world.now(), &format!("node{node} for {lasts:?}"));
    sleep(lasts).await;
    world.resume(node, life);
    Struck::Yes
}

/// Whether everything has its voters. What is on its way to a store that is lost stays under way until it has been silent for
/// long enough; where no run sees the end of that, nothing may be on its way.
async fn is_ready_for_a_loss(world: &World) -> bool {
    match world.knobs().forgives_silence() {
        true => probe::is_whole(world).await.is_ok(),
        false => probe::is_replicated(world).await.is_ok(),
    }
}

/// Waits for a moment in which everything has its other voters, and nobody lost a folder before. False if there is none.
async fn wait_for_a_loss(world: &World) -> bool {
    let patience = world.now() + EMPTY_PATIENCE;
    loop {
        let all_up = world.nodes_in(State::Up).len() == world.knobs().nodes;
        if all_up && !world.lost_a_folder() && is_ready_for_a_loss(world).await {
            return true;
        }
        if world.now() > patience {
            return false;
        }
        sleep(GLANCE * 50).await;
    }
}

/// A node comes back with an empty folder; only where everything has its other voters, and only once.
pub async fn empty_folder(world: &World, node: usize, down: Duration) -> Struck {
    if !wait_for_a_loss(world).await {
        return Struck::Skipped;
    }
    let store = store_of(world, node).await;
    if !world.kill(node, Death::Power).await {
        return Struck::Skipped;
    }
    world.lose_folder(node);
    world.record().fault(Kind::EmptyFolder, world.now(), &format!("node{node} for {down:?}"));
    sleep(down).await;
    world.restart(node);
    sleep(world.knobs().founding_wait + CONTACT_MARGIN).await;
    if node < PROPHET_NODES {
        demand_refusal(world, node).await;
    } else {
        demand_another(world, node, store).await;
    }
    Struck::Yes
}

/// A node comes back with a copy of its folder that was made before its last life; only where everything has its other voters,
/// and only once.
pub async fn old_folder(world: &World, node: usize, down: Duration) -> Struck {
    if !wait_for_a_loss(world).await || !world.kill(node, Death::Process).await {
        return Struck::Skipped;
    }
    let image = world.disk(node).image();
    sleep(down).await;
    world.restart(node);
    sleep(OLD_LIFE).await;
    if !wait_for_a_loss(world).await || !world.kill(node, Death::Power).await {
        return Struck::Skipped;
    }
    world.put_back(node, &image);
    world.record().fault(Kind::OldFolder, world.now(), &format!("node{node} for {down:?}"));
    sleep(down).await;
    world.restart(node);
    sleep(CONTACT_MARGIN).await;
    demand_silence(world, node).await;
    world.take_away(node);
    Struck::Yes
}

/// The living cluster has contacted the empty node by now, or has been asked to take it in.
async fn demand_refusal(world: &World, node: usize) {
    if world.state(node) == State::Gone {
        return;
    }
    let says = probe::get(world, node, "/shards").await.unwrap_or_else(|why| why);
    let message = format!("node{node} came back with an empty folder beside a living cluster, and stays: {says}");
    world.record().violation(Invariant::Ranges, world.now(), message);
}

/// A store that forgot everything is taken in, and never for the one that promised something.
async fn demand_another(world: &World, node: usize, before: Option<u64>) {
    let message = match store_of(world, node).await {
        Some(after) if Some(after) == before => format!("is store {after} again"),
        Some(_) => return world.record().count("stores that came back as another one", 1),
        // V demands that it comes to life.
        None if world.state(node) == State::Up => return,
        None => "does not stay".to_owned(),
    };
    let message = format!("node{node} came back with an empty folder, and {message}");
    world.record().violation(Invariant::Ranges, world.now(), message);
}

/// Whoever has an old copy is heard by nobody, so it can serve nothing.
async fn demand_silence(world: &World, node: usize) {
    if let Ok(says) = probe::get(world, node, "/ready").await {
        let message = format!("node{node} came back with an old copy of its folder, and is ready: {says}");
        world.record().violation(Invariant::Ranges, world.now(), message);
    }
}
