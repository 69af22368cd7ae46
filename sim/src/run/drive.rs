//! The course of a run, inside the runtime: start everything, let the nemesis loose, heal, demand that the cluster
//! becomes whole, read every key through every node, take a leader away and read again through the others, stop.

use std::time::Duration;

use madsim::{task::spawn, time::sleep};

use super::{
    Record,
    liveness::{demand_service, wait_for_illness},
};
use crate::{
    check::{Invariant, converge, matching::Kept, probe, sums},
    env::{Death, Trace},
    knobs::Knobs,
    nemesis,
    plan::{Plan, Target},
    workload::{self, Ground},
    world::{State, World},
};

/// How long the nodes may take to stop at the end.
const STOPPING_MAX: Duration = Duration::from_secs(10);

/// How the run ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// When.
    pub simulated: Duration,
    /// When the final reads began, if they ended.
    pub reads_from: Option<Duration>,
}

/// Runs `plan`.
pub async fn drive(knobs: Knobs, plan: Plan, record: Record, trace: Trace) -> End {
    let world = World::new(knobs, trace, record);
    start_nodes(&world);
    let clients = start_all(&world, workload::clients(&world, &plan));
    let mut nemesis = nemesis::unleash(&world, plan.faults_of(false), Duration::ZERO);
    let beside = start_all(&world, workload::clients_beside(&world, &plan));
    if let Some(liveness) = &plan.liveness {
        world.sleep_until(liveness.from).await;
        nemesis::heal(&world, nemesis).await;
        let ill = wait_for_illness(&world, &plan, liveness).await;
        nemesis = nemesis::unleash(&world, plan.faults_of(true).filter(|_| ill), world.now() - liveness.from);
        if ill {
            demand_service(&world, liveness).await;
        }
    }
    world.sleep_until(plan.heal_at).await;
    nemesis::heal(&world, nemesis).await;
    let whole = demand_whole(&world, converge::bound(world.knobs(), &plan)).await;
    world.sleep_until(plan.end_at).await;
    for client in clients {
        client.await.expect("clients do not die");
    }
    for client in beside {
        client.await.expect("clients do not die");
    }
    let reads_from = if whole { read_all(&world, 0, "all nodes are up").await } else { None };
    world.tell_stores_down();
    if reads_from.is_some() {
        demand_everything_everywhere(&world).await;
    }
    if reads_from.is_some() {
        lose_a_leader(&world).await;
    }
    if whole {
        stop_nodes(&world).await;
        recount(&world);
    }
    world.tell_counters();
    End { simulated: world.now(), reads_from }
}

fn start_nodes(world: &World) {
    for (node, at) in world.knobs().starts.iter().copied().enumerate() {
        let world = world.clone();
        spawn(async move {
            world.sleep_until(at).await;
            world.start(node);
        });
    }
}

/// Sets these clients to work.
pub(crate) fn start_all<G: Ground>(
    ground: &G,
    clients: Vec<(usize, impl Future<Output = ()> + Send + 'static)>,
) -> Vec<impl Future<Output = Result<(), String>> + Send + 'static> {
    clients.into_iter().map(|(number, work)| ground.spawn(number, work)).collect()
}

/// V, first part: every node says, within `bound`, that every shard has its voters and a leader.
pub(crate) async fn demand_whole(world: &impl Ground, bound: Duration) -> bool {
    let healed = world.now();
    match probe::wait_until_whole(world, healed + bound).await {
        Ok(whole) => {
            world.record().count("convergence in ms", (whole - healed).as_millis() as u64);
            true
        }
        Err(why) => {
            let message = format!("not whole {bound:?} after everything was healed: {why}");
            world.record().violation(Invariant::Converged, world.now(), message);
            false
        }
    }
}

/// V, second part: every key answers from every node that is up. When the reads began, if all were answered.
pub(crate) async fn read_all(world: &impl Ground, reader: usize, when: &str) -> Option<Duration> {
    let from = world.now();
    // Each read may find its shard without a leader, once; they come one after the other.
    let bound = world.knobs().election_timeout() * 10 + world.knobs().request_deadline * 2 + Duration::from_secs(10);
    let number = world.knobs().clients + reader;
    let reads = world.spawn(number, workload::read_all(world.clone(), number, from + bound));
    match reads.await.unwrap_or_else(Err) {
        Ok(()) => Some(from),
        Err(why) => {
            let message = format!("{when}, and after {bound:?}: {why}");
            world.record().violation(Invariant::Converged, world.now(), message);
            None
        }
    }
}

/// V: nobody writes any more, so every replica has all that any has. (One that never catches up serves nobody, and only
/// shows when the others are gone.)
async fn demand_everything_everywhere(world: &World) {
    let bound = world.knobs().election_timeout() * 20 + Duration::from_secs(5);
    let until = world.now() + bound;
    while let Some(laggard) = world.record().observer.laggard().filter(|_| !world.lost_a_folder()) {
        if world.now() >= until {
            let message = format!("{bound:?} after the last write, {laggard}");
            return world.record().violation(Invariant::Converged, world.now(), message);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// V, third part: with one node gone for good, every key still answers from every other node, also from those that
/// last asked for its shard when only that node had it. A shard that lost a voter before is not whole enough for that, nor is
/// one that has fewer than three.
async fn lose_a_leader(world: &World) {
    let seed = world.knobs().seed;
    let is_whole_enough = !world.lost_a_folder() && world.knobs().replicas >= 3;
    let Some(node) = world.resolve(Target::Leader(seed)).filter(|_| is_whole_enough) else { return };
    let death = if seed.is_multiple_of(2) { Death::Process } else { Death::Power };
    if world.kill(node, death).await {
        world.record().count("leaders lost at the end", 1);
        read_all(world, 1, &format!("node{node} is gone")).await;
    }
}

/// Every node stops when it is asked to.
async fn stop_nodes(world: &World) {
    let patience = world.now() + STOPPING_MAX;
    world.nodes_in(State::Up).into_iter().for_each(|node| assert!(world.ask_to_stop(node)));
    while world.now() < patience && !world.nodes_in(State::Stopping).is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    for node in world.nodes_in(State::Stopping) {
        let message = format!("node{node} still runs {STOPPING_MAX:?} after it was asked to stop");
        world.record().violation(Invariant::Stopped, world.now(), message);
    }
}

/// A, R and M, once more: what each replica has counted is what its rows add up to, every row has an owner, and logs match.
fn recount(world: &World) {
    let mut kept = Kept::default();
    // A bit that flipped may be read here for the first time.
    for node in world.nodes_in(State::Down).into_iter().filter(|node| !world.is_spoiled(*node)) {
        for (invariant, message) in sums::recount(node, &world.disk(node), &mut kept) {
            world.record().violation(invariant, world.now(), format!("node{node}: {message}"));
        }
    }
    for message in kept.judge() {
        world.record().violation(Invariant::LogMatching, world.now(), message);
    }
}
