//! The parts together: an engine on a disk that loses power anywhere, and a small world that must be the same each time.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use madsim::{runtime::Handle, task::NodeId, time::sleep};
use matrixkv::{
    engine::{Batch, Engine, EngineError, Table},
    env::{
        Channel, Disk, Env, Identity, Listen, Network, NetworkEvent, NetworkLimits, NetworkSetup, SharedIdentity, Via,
    },
    types::{Boot, CallId, ClusterId, DiskFact, Fact, NodeToken, Rng},
    wire::{Body, Request, Response},
};

use super::*;

const FILE: &str = "/data/store.redb";

type Rows = BTreeMap<u8, Vec<u8>>;

/// What must be in the engine, and what may be instead: one of the states after it, through batches that may be lost and
/// the one whose commit failed.
#[derive(Default)]
struct Model {
    rows: Rows,
    /// Each with whether its commit has ended.
    later: Vec<(Rows, bool)>,
    /// Ended commits of batches that may be lost: those that a crash took, and those that were there at the next opening.
    lost: u64,
    kept: u64,
}

impl Model {
    /// Commits some batches until the disk dies, or enough are committed.
    fn work(&mut self, disk: &SimDisk, rng: &mut Rng) -> Result<(), EngineError> {
        let engine = Engine::open(disk, Path::new(FILE))?;
        self.verify(&engine);
        for _ in 0..rng.between(1, 12) {
            let newest = self.later.last().map_or(&self.rows, |(rows, _)| rows).clone();
            assert!(rows_equal(&newest, &engine), "a view shows something else than what is committed");
            let (mut batch, mut after) = (Batch::new(engine.view()?), newest);
            for _ in 0..rng.between(1, 8) {
                let (key, value) = (rng.below(64) as u8, vec![rng.below(256) as u8; rng.below(3000) as usize]);
                batch.put(Table::Data, vec![key], Bytes::from(value.clone()));
                after.insert(key, value);
            }
            self.later.push((after, false));
            if rng.chance(0.5) {
                batch.may_be_lost();
            }
            let must_sync = batch.must_sync();
            engine.commit(batch)?;
            let (rows, _) = self.later.pop().expect("it was just put there");
            if must_sync {
                self.rows = rows;
                self.later.clear();
            } else {
                self.later.push((rows, true));
            }
        }
        Ok(())
    }

    /// All of each batch that is durable is there, and of the later ones those up to some one of them, each as a whole.
    fn verify(&mut self, engine: &Engine) {
        let rows = engine.view().unwrap().scan(Table::Data, &[], &[]).unwrap().map(|row| row.unwrap());
        let rows: Rows = rows.map(|(key, value)| (key[0], value.to_vec())).collect();
        let later = std::mem::take(&mut self.later);
        let kept = later.iter().rposition(|(state, _)| *state == rows).map_or(0, |index| index + 1);
        let ended = |states: &[(Rows, bool)]| states.iter().filter(|(_, has_ended)| *has_ended).count() as u64;
        self.kept += ended(&later[..kept]);
        self.lost += ended(&later[kept..]);
        self.rows = if kept > 0 { rows } else { std::mem::take(&mut self.rows) };
        assert!(rows_equal(&self.rows, engine), "committed rows are lost, or a batch is there in part");
    }
}

fn rows_equal(expected: &Rows, engine: &Engine) -> bool {
    let rows = engine.view().unwrap().scan(Table::Data, &[], &[]).unwrap();
    rows.map(|row| row.map(|(key, value)| (key[0], value.to_vec())).unwrap()).eq(expected.clone())
}

#[test]
fn what_an_engine_committed_survives_every_crash() {
    let (mut crashes, mut lost, mut created, mut commits) = (0, 0, 0, (0, 0));
    for seed in 0..60 {
        let (disk, mut rng, mut model) = (SimDisk::new(seed, 0, Trace::new()), Rng::new(seed), Model::default());
        disk.mount().create_dir(Path::new("/data")).unwrap();
        for _ in 0..50 {
            disk.revive();
            disk.arm_crash(rng.between(1, 80));
            let outcome = model.work(&disk.mount(), &mut rng);
            // It may also have died in the engine's destructor, of which nobody hears.
            assert!(outcome.is_ok() || disk.crashed(), "{:?}", outcome.err());
            crashes += u64::from(disk.crashed());
            created += u64::from(disk.crashed() && model.rows.is_empty());
            // Now and then power goes at rest, after the process was killed or ended.
            if rng.chance(0.2) {
                disk.power_loss();
            }
        }
        lost += disk.counters().bytes_lost;
        commits = (commits.0 + model.lost, commits.1 + model.kept);
    }
    assert!(commits.0 > 500 && commits.1 > 100, "{} commits were lost that may be, {} were kept", commits.0, commits.1);
    assert!(crashes > 2000 && created > 30 && lost > 1 << 20, "{crashes} crashes, {created} early, {lost} bytes lost");
}

#[test]
fn a_process_killed_in_any_state_leaves_a_sound_engine() {
    let (disk, mut rng, mut model) = (SimDisk::new(1, 0, Trace::new()), Rng::new(1), Model::default());
    disk.mount().create_dir(Path::new("/data")).unwrap();
    for _ in 0..100 {
        disk.revive();
        model.work(&disk.mount(), &mut rng).unwrap();
        disk.fence();
    }
}

/// A node that asks its neighbour, writes down what it is told, and says so.
async fn live(env: SimEnv, node: usize, nodes: usize, boot: u64) -> Result<(), EngineError> {
    env.disk().create_dir(Path::new("/data")).map_err(|error| EngineError::Disk(error.to_string()))?;
    let engine = Engine::open(env.disk(), Path::new(FILE))?;
    let (identity, limits) = (identity(node, boot), limits());
    let listen = vec![Listen { address: "0.0.0.0:81".into(), channels: vec![Channel::Client] }];
    let (network, mut events) = env.network(NetworkSetup { identity, listen, limits }).await.expect("it can bind");
    let (asker, mut rng) = (network.clone(), env.rng());
    let clock = env.clone();
    env.spawn("asks", async move {
        for call in 1.. {
            clock.sleep(rng.jitter(Duration::from_millis(4))).await;
            let to = rng.below(nodes as u64);
            let request = Body::Request { call: CallId(call), request: Request::Routes };
            asker.send(Channel::Client, &format!("node{to}:81"), request);
        }
    });
    while let Some(event) = events.recv().await {
        let NetworkEvent::Message { sender, via, body, .. } = event else { continue };
        let mut batch = Batch::new(engine.view()?);
        batch.put(Table::Data, sender.seq.to_be_bytes().to_vec(), Bytes::from(format!("{body:?}")));
        let (committer, bytes) = (engine.clone(), batch.bytes());
        env.disk().offload(move || committer.commit(batch)).await?;
        env.observe(&Fact::Disk(DiskFact::Committed { bytes }));
        answer(&network, &via, body);
    }
    Ok(())
}

fn answer(network: &EitherNetwork, via: &Via, body: Body) {
    if let Body::Request { call, .. } = body {
        let response = Response::Routes { routes: vec![], stores: vec![] };
        network.reply(via, Body::Response { call, response });
    }
}

fn identity(node: usize, boot: u64) -> SharedIdentity {
    let (cluster, node) = (ClusterId(1), NodeToken(1 + node as u64));
    SharedIdentity::new(Identity { cluster, node, boot: Boot(boot), ..Identity::default() })
}

fn limits() -> NetworkLimits {
    NetworkLimits {
        queue_messages_max: 100,
        queue_bytes_max: 1 << 20,
        frame_bytes_max: 1 << 20,
        events_max: 1000,
        connections_max: 100,
    }
}

/// What a run of the small world leaves.
#[derive(Debug, PartialEq)]
struct Outcome {
    trace: u64,
    recorded: u64,
    text: String,
    facts: u64,
}

/// Three such nodes for some seconds, with faults of all kinds.
fn small_world(seed: u64, kind: NetworkKind, simulated: Duration) -> (Outcome, NetCounters) {
    run_seed(seed, move || async move {
        let trace = Trace::with_text();
        let net = Net::new(seed, trace.clone());
        let late_by = Duration::from_millis(50);
        net.set_default_policy(Policy { loss: 0.02, duplicate: 0.02, late: 0.05, late_by, ..Policy::GOOD });
        let disks: Vec<_> = (0..3).map(|node| SimDisk::new(seed, node, trace.clone())).collect();
        let facts = Arc::new(AtomicU64::new(0));
        let machines: Vec<_> =
            (0..3).map(|node| machine(seed, kind, node, (&net, &trace, &disks[node]), facts.clone())).collect();
        disturb(&net, &disks, &machines, simulated, &mut dice(seed, "test", &[])).await;
        // The tasks of nodes that live to the end are never dropped otherwise, and their memory is not given back.
        machines.iter().for_each(|machine| Handle::current().kill(*machine));
        sleep(Duration::from_millis(1)).await;
        let facts = facts.load(Ordering::Relaxed);
        let outcome = Outcome { trace: trace.hash(), recorded: trace.recorded(), text: trace.text(), facts };
        (outcome, net.counters())
    })
}

fn machine(
    seed: u64,
    kind: NetworkKind,
    node: usize,
    (net, trace, disk): (&Net, &Trace, &SimDisk),
    facts: Arc<AtomicU64>,
) -> NodeId {
    let (net, trace, disk) = (net.clone(), trace.clone(), disk.clone());
    let boots = Arc::new(AtomicU64::new(0));
    let start = move || {
        let (net, trace, disk, facts) = (net.clone(), trace.clone(), disk.clone(), facts.clone());
        let boot = boots.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            let facts: FactSink = Arc::new(move |_: &Fact| {
                facts.fetch_add(1, Ordering::Relaxed);
            });
            let env = SimEnv::new(SimEnvSetup { node, seed, disk, net, trace, facts, kind });
            live(env, node, 3, boot).await.ok();
        }
    };
    Handle::current().create_node().init(start).build().id()
}

async fn disturb(net: &Net, disks: &[SimDisk], machines: &[NodeId], simulated: Duration, rng: &mut Rng) {
    let began = madsim::time::Instant::now();
    while began.elapsed() < simulated {
        sleep(rng.jitter(Duration::from_millis(800))).await;
        let node = rng.below(3) as usize;
        match rng.below(5) {
            0 => net.cut(node, (node + 1) % 3),
            1 => net.mend_all(),
            2 => net.reset(node, (node + 1) % 3),
            3 => disks[node].arm_crash(rng.between(1, 40)),
            _ => {
                let death = if rng.chance(0.5) { Death::Process } else { Death::Power };
                disks[node].fence();
                net.kill_node(node, death);
                Handle::current().kill(machines[node]);
                sleep(Duration::from_millis(1)).await;
                if death == Death::Power {
                    disks[node].power_loss();
                }
                sleep(rng.jitter(Duration::from_millis(400))).await;
                disks[node].revive();
                Handle::current().restart(machines[node]);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_world_and_another_seed_another() {
    for kind in [NetworkKind::Datagrams, NetworkKind::Streams] {
        let simulated = Duration::from_secs(10);
        let (first, counters) = small_world(1, kind, simulated);
        let (again, _) = small_world(1, kind, simulated);
        if let Some((a, b)) = first.text.lines().zip(again.text.lines()).find(|(a, b)| a != b) {
            panic!("{kind:?}: the traces differ\n{a}\n{b}");
        }
        assert!(first == again);
        let (other, _) = small_world(2, kind, simulated);
        assert_ne!(first.trace, other.trace);
        assert!(first.facts > 500 && first.recorded > 5000, "{} facts, {} entries", first.facts, first.recorded);
        if kind == NetworkKind::Datagrams {
            let NetCounters { lost, duplicated, late, cut, delivered, .. } = counters;
            assert!(lost > 10 && duplicated > 10 && late > 10 && cut > 10 && delivered > 500, "{counters:?}");
        }
    }
}
