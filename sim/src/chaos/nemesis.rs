//! Does to processes what the plan says, where it can be done to them; the rest is counted as skipped. What is done to links
//! and by operators is the very code that does it in the simulator.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::cluster::Cluster;
use crate::{
    check::probe,
    nemesis::{
        Network, Struck,
        cluster::{self as operators, Drained},
        stranger,
    },
    plan::{Fault, Kind, Stranger, Target, Timed},
    workload::Ground,
};

/// How long a node that dies in a loop stays away each time.
const LOOP_DOWN: Duration = Duration::from_millis(20);

/// The faults of a plan, under way.
pub struct Nemesis {
    tasks: Vec<JoinHandle<()>>,
    drained: Drained,
}

/// Sets out to do what a plan says, so much later than it says.
pub fn unleash<'a>(cluster: &Cluster, faults: impl Iterator<Item = (usize, &'a Timed)>, later: Duration) -> Nemesis {
    let (network, drained) = (Network::default(), Drained::default());
    let strike = |(_, timed): (usize, &Timed)| {
        let strike = Strike { cluster: cluster.clone(), network: network.clone(), drained: drained.clone() };
        let timed = timed.later(later);
        cluster.run(async move { strike.run(timed).await })
    };
    Nemesis { tasks: faults.map(strike).collect(), drained }
}

/// Ends all faults for good: everybody runs and hears everybody.
pub async fn heal(cluster: &Cluster, nemesis: Nemesis) {
    for task in nemesis.tasks {
        task.abort();
        // Whether it was over already is all the same.
        let _ = task.await;
    }
    cluster.mend_all();
    for node in 0..cluster.knobs().nodes {
        cluster.resume(node);
        if !cluster.nodes_up().contains(&node) {
            cluster.wait_until_gone(node).await;
            cluster.start(node);
        }
    }
    nemesis.drained.end(cluster).into_iter().for_each(|task| drop(cluster.run(task)));
}

struct Strike {
    cluster: Cluster,
    network: Network,
    drained: Drained,
}

impl Strike {
    async fn run(self, timed: Timed) {
        self.cluster.sleep_until(timed.at).await;
        if self.harm(&timed.fault).await == Struck::Skipped {
            self.cluster.record().count(&format!("skipped {}", timed.fault.kind()), 1);
        }
    }

    async fn harm(&self, fault: &Fault) -> Struck {
        let (cluster, network, kind) = (&self.cluster, &self.network, fault.kind());
        match fault {
            Fault::Restart { node, down } => self.restart(*node, *down).await,
            Fault::Kill { node, down } => self.kill(kind, *node, *down).await,
            Fault::KillLoop { node, lives } => self.kill_loop(*node, lives).await,
            Fault::Pause { node, lasts } => self.pause(*node, *lasts).await,
            Fault::Reset { a, b } => self.reset(*a, *b).await,
            Fault::CutPair { a, b, lasts } => network.cut_sides(cluster, kind, &[*a], &[*b], *lasts).await,
            Fault::CutOneWay { from, to, lasts } => network.cut(cluster, kind, &[(*from, *to)], *lasts).await,
            Fault::Isolate { node, lasts } => match cluster.resolve(*node).await {
                Some(node) => network.isolate(cluster, kind, node, *lasts).await,
                None => Struck::Skipped,
            },
            Fault::Split { side, lasts } => network.split(cluster, side, *lasts).await,
            Fault::Swizzle { order, back, every } => network.swizzle(cluster, order, back, *every).await,
            Fault::Flapping { a, b, every, lasts } => network.flap(cluster, (*a, *b), *every, *lasts).await,
            Fault::SplitAt { key } => operators::split_at(cluster, *key).await,
            Fault::Move { what, group, node } => operators::move_replica(cluster, *what, *group, *node).await,
            Fault::Drain { node, lasts } => self.drained.drain(cluster, *node, *lasts).await,
            Fault::Stranger { node, who } => self.knock(*node, *who).await,
            // Power, disks, clocks and single messages are not ours to harm on a machine that is in use.
            _ => Struck::Skipped,
        }
    }

    fn tell(&self, kind: Kind, what: &str) {
        self.cluster.record().fault(kind, self.cluster.since(), what);
    }

    async fn restart(&self, node: Target, down: Duration) -> Struck {
        let cluster = &self.cluster;
        let Some(node) = cluster.resolve(node).await.filter(|node| cluster.ask_to_stop(*node)) else {
            return Struck::Skipped;
        };
        self.tell(Kind::Restart, &format!("node{node} for {down:?}"));
        cluster.wait_until_gone(node).await;
        cluster.sleep(down).await;
        cluster.start(node);
        Struck::Yes
    }

    async fn kill(&self, kind: Kind, node: Target, down: Duration) -> Struck {
        let Some(node) = self.cluster.resolve(node).await else { return Struck::Skipped };
        if !self.cluster.kill(node).await {
            return Struck::Skipped;
        }
        self.tell(kind, &format!("node{node} for {down:?}"));
        self.cluster.sleep(down).await;
        self.cluster.start(node);
        Struck::Yes
    }

    async fn kill_loop(&self, node: Target, lives: &[Duration]) -> Struck {
        let Some(node) = self.cluster.resolve(node).await else { return Struck::Skipped };
        let mut struck = Struck::Skipped;
        for life in lives {
            if self.cluster.kill(node).await {
                self.tell(Kind::KillLoop, &format!("node{node}, then it lives {life:?}"));
                struck = Struck::Yes;
                self.cluster.sleep(LOOP_DOWN).await;
                self.cluster.start(node);
            }
            self.cluster.sleep(*life).await;
        }
        struck
    }

    async fn pause(&self, node: Target, lasts: Duration) -> Struck {
        let cluster = &self.cluster;
        let Some(node) = cluster.resolve(node).await.filter(|node| cluster.pause(*node)) else {
            return Struck::Skipped;
        };
        self.tell(Kind::Pause, &format!("node{node} for {lasts:?}"));
        cluster.sleep(lasts).await;
        cluster.resume(node);
        Struck::Yes
    }

    async fn reset(&self, a: usize, b: usize) -> Struck {
        if !self.cluster.reset(a, b).await {
            return Struck::Skipped;
        }
        self.tell(Kind::Reset, &format!("node{a} | node{b}"));
        Struck::Yes
    }

    /// A stranger knocks at a node that is in its cluster, and stays in it: no folder is lost here.
    async fn knock(&self, node: usize, who: Stranger) -> Struck {
        let cluster = &self.cluster;
        if probe::get(cluster, node, "/ready").await.is_err() {
            return Struck::Skipped;
        }
        let (env, address) = (cluster.client_env(0), cluster.raft_address(node));
        let Some(stream) = stranger::enter(cluster, &env, (node, &address), who).await else { return Struck::Skipped };
        // Half a frame is all that comes: the stream ends here.
        if who != Stranger::HalfFrame {
            stranger::listen(cluster, &env, (node, stream), who, || true).await;
        }
        Struck::Yes
    }
}
