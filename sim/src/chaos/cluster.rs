//! The processes of a run: started, stopped, killed, paused, cut off, asked.

#![allow(clippy::disallowed_methods, reason = "real processes at the edge")]

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use matrixkv::{
    env::{Env, real::RealEnv},
    http::client::Answer,
    planted::Bug,
};
use rustix::process::Signal;

use super::{
    Options, ended,
    places::{HOOK, Places, RAFT},
    process::{Process, Start, make_folder},
    wires::{self, Wires},
};
use crate::{
    check::{Invariant, probe},
    env::{Film, Life},
    knobs::Knobs,
    nemesis::Wired,
    run::Record,
    workload::Ground,
};

/// How long a node may take to stop when it is asked to.
pub const STOPPING_MAX: Duration = Duration::from_secs(15);

/// How often it is looked whether a process has ended, and whether all know what is cut.
const GLANCE: Duration = Duration::from_millis(20);

/// The cluster. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    knobs: Knobs,
    bug: Option<Bug>,
    server: PathBuf,
    places: Places,
    record: Record,
    env: RealEnv,
    began: Instant,
    nodes: Mutex<Vec<Process>>,
    wires: Mutex<Wires>,
    film: Mutex<Film>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Cluster {
    /// The nodes of `options`, none of them started. Writes their configurations.
    pub fn new(options: &Options) -> Result<Self, String> {
        let Options { knobs, bug, server, folder, .. } = options;
        make_folder(folder)?;
        let places = Places::find(knobs.nodes, folder)?;
        for node in 0..knobs.nodes {
            let text = knobs.config_text_at(node, &|node| places.of(node));
            let path = places.file(&format!("node{node}.toml"));
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let inner = Inner {
            knobs: knobs.clone(),
            bug: *bug,
            server: server.clone(),
            places,
            record: Record::aloud(),
            env: RealEnv::new(),
            began: Instant::now(),
            nodes: Mutex::new((0..knobs.nodes).map(|_| Process::new()).collect()),
            wires: Mutex::default(),
            film: Mutex::default(),
        };
        Ok(Cluster(Arc::new(inner)))
    }

    /// Starts each node at its moment, and looks after all of them from now on.
    pub fn begin(&self) -> Result<(), String> {
        for (node, at) in self.0.knobs.starts.iter().copied().enumerate() {
            let cluster = self.clone();
            self.0.env.spawn("start", async move {
                cluster.sleep_until(at).await;
                cluster.start(node);
            });
            self.0.env.spawn("tell", self.clone().keep_told(node));
        }
        let cluster = self.clone();
        self.0.env.spawn("watch", async move { cluster.watch().await });
        Ok(())
    }

    /// Starts `node` unless it is there.
    pub fn start(&self, node: usize) {
        let mut nodes = lock(&self.0.nodes);
        if nodes[node].is_there() {
            return;
        }
        let file = |name: &str| self.0.places.file(&format!("node{node}.{name}"));
        let start = Start {
            server: &self.0.server,
            config: &file("toml"),
            log: &file("log"),
            http: &self.0.places.address(node, 0),
            hook: &self.0.places.address(node, HOOK),
            shard_capacity: self.0.knobs.shard_capacity,
            bug: self.0.bug,
        };
        match nodes[node].start(&start) {
            Ok(()) => self.lives(node, Life::Up),
            Err(why) => self.0.record.violation(Invariant::Stopped, self.since(), why),
        }
    }

    /// Kills `node` and waits until it is gone. Whether it was there.
    pub async fn kill(&self, node: usize) -> bool {
        {
            let mut nodes = lock(&self.0.nodes);
            if !nodes[node].is_there() || nodes[node].is_stopping {
                return false;
            }
            nodes[node].is_stopping = true;
            nodes[node].signal(Signal::KILL);
        }
        self.wait_until_gone(node).await;
        true
    }

    /// Asks `node` to stop. Whether it runs.
    pub fn ask_to_stop(&self, node: usize) -> bool {
        let mut nodes = lock(&self.0.nodes);
        let process = &mut nodes[node];
        if process.life != Life::Up || process.is_stopping {
            return false;
        }
        process.is_stopping = true;
        process.signal(Signal::TERM);
        true
    }

    /// Waits until a node that was asked to stop is gone; one that takes too long is a violation, and killed.
    pub async fn wait_until_gone(&self, node: usize) {
        let patience = self.since() + STOPPING_MAX;
        while lock(&self.0.nodes)[node].is_there() {
            if self.since() > patience {
                let message = format!("node{node} still runs {STOPPING_MAX:?} after it was asked to stop");
                self.0.record.violation(Invariant::Stopped, self.since(), message);
                lock(&self.0.nodes)[node].signal(Signal::KILL);
                return;
            }
            self.0.env.sleep(GLANCE).await;
        }
    }

    /// Has `node` stand still. Whether it runs.
    pub fn pause(&self, node: usize) -> bool {
        let mut nodes = lock(&self.0.nodes);
        let process = &mut nodes[node];
        if process.life != Life::Up || process.is_stopping {
            return false;
        }
        process.life = Life::Paused;
        process.signal(Signal::STOP);
        self.lives(node, Life::Paused);
        true
    }

    /// Has it go on, if it stands still.
    pub fn resume(&self, node: usize) {
        let mut nodes = lock(&self.0.nodes);
        let process = &mut nodes[node];
        process.signal(Signal::CONT);
        if process.life == Life::Paused {
            process.life = Life::Up;
            self.lives(node, Life::Up);
        }
    }

    /// Breaks all connections between two nodes. Whether both run.
    pub async fn reset(&self, a: usize, b: usize) -> bool {
        let up = self.nodes_up();
        if a == b || !up.contains(&a) || !up.contains(&b) {
            return false;
        }
        let mut struck = false;
        for (node, other) in [(a, b), (b, a)] {
            let command = lock(&self.0.wires).command(&self.0.places, self.0.knobs.nodes, node, Some(other));
            struck |= wires::tell(&self.0.env, &self.0.places, node, &command).await;
        }
        struck
    }

    /// Mends every link.
    pub fn mend_all(&self) {
        let cut = std::mem::take(&mut lock(&self.0.wires).cut);
        let now = self.since().as_nanos() as u64;
        lock(&self.0.film).cuts.extend(cut.iter().map(|direction| (now, *direction, false)));
        lock(&self.0.wires).number += 1;
    }

    /// Tells `node` what is cut, whenever it does not know the newest state.
    async fn keep_told(self, node: usize) {
        loop {
            let stale = {
                let (nodes, mut wires) = (lock(&self.0.nodes), lock(&self.0.wires));
                let stale = nodes[node].life == Life::Up && nodes[node].told < wires.number;
                stale.then(|| (wires.number, wires.command(&self.0.places, self.0.knobs.nodes, node, None)))
            };
            if let Some((state, command)) = stale
                && wires::tell(&self.0.env, &self.0.places, node, &command).await
            {
                let mut nodes = lock(&self.0.nodes);
                nodes[node].told = nodes[node].told.max(state);
            }
            self.0.env.sleep(GLANCE).await;
        }
    }

    /// Sees processes end.
    async fn watch(&self) {
        loop {
            for node in 0..self.0.knobs.nodes {
                let mut nodes = lock(&self.0.nodes);
                let Some(status) = nodes[node].has_ended() else { continue };
                let was_asked = nodes[node].is_stopping;
                nodes[node].life = Life::Down;
                drop(nodes);
                self.lives(node, Life::Down);
                if !was_asked {
                    ended(self, node, &status.to_string());
                }
            }
            self.0.env.sleep(GLANCE).await;
        }
    }

    /// Asks all to stop, and waits.
    pub async fn stop_all(&self) {
        let asked: Vec<_> = (0..self.0.knobs.nodes).filter(|node| self.ask_to_stop(*node)).collect();
        for node in asked {
            self.wait_until_gone(node).await;
        }
    }

    /// Kills whatever is left.
    pub async fn kill_all(&self) {
        for node in 0..self.0.knobs.nodes {
            lock(&self.0.nodes)[node].is_stopping = false;
            self.kill(node).await;
        }
    }

    /// The last line of a node's log.
    pub fn last_words(&self, node: usize) -> String {
        let log = std::fs::read_to_string(self.0.places.file(&format!("node{node}.log"))).unwrap_or_default();
        log.lines().last().unwrap_or("nothing").to_owned()
    }

    /// A panic that did not end its process is in the log.
    pub fn look_for_panics(&self) {
        for node in 0..self.0.knobs.nodes {
            let log = std::fs::read_to_string(self.0.places.file(&format!("node{node}.log"))).unwrap_or_default();
            if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
                self.0.record.violation(Invariant::Panic, self.since(), format!("node{node}: {line}"));
            }
        }
    }

    fn lives(&self, node: usize, life: Life) {
        lock(&self.0.film).lives.push((self.since().as_nanos() as u64, node, life));
    }

    /// What a page is drawn from.
    pub fn take_film(&self) -> Film {
        std::mem::take(&mut *lock(&self.0.film))
    }

    /// Since the start of the run.
    pub fn since(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Resolves at `at` since the start of the run.
    pub async fn sleep_until(&self, at: Duration) {
        self.0.env.sleep(at.saturating_sub(self.since())).await;
    }

    /// Where `node` hears its peers.
    pub fn raft_address(&self, node: usize) -> String {
        self.0.places.address(node, RAFT)
    }

    /// The seed of the knobs.
    pub fn seed(&self) -> u64 {
        self.0.knobs.seed
    }

    /// Where it is written down.
    pub fn record_of(&self) -> &Record {
        &self.0.record
    }

    /// Runs `task` beside the others.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        tokio::spawn(task)
    }
}

impl Ground for Cluster {
    type Env = RealEnv;

    fn client_env(&self, _number: usize) -> RealEnv {
        self.0.env.clone()
    }

    fn knobs(&self) -> &Knobs {
        &self.0.knobs
    }

    fn record(&self) -> &Record {
        &self.0.record
    }

    fn now(&self) -> Duration {
        self.since()
    }

    fn nodes_up(&self) -> Vec<usize> {
        let nodes = lock(&self.0.nodes);
        (0..nodes.len()).filter(|node| nodes[*node].life == Life::Up && !nodes[*node].is_stopping).collect()
    }

    fn http_address(&self, node: usize) -> String {
        self.0.places.address(node, 0)
    }

    async fn sleep(&self, duration: Duration) {
        self.0.env.sleep(duration).await;
    }

    async fn think(&self, duration: Duration) {
        self.0.env.sleep(duration).await;
    }

    fn spawn<T: Send + 'static>(
        &self,
        number: usize,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, String>> + Send + 'static {
        let running = tokio::spawn(task);
        async move { running.await.map_err(|error| format!("client {number} died: {error}")) }
    }

    async fn ask(&self, node: usize, method: &'static str, path: &'static str, body: String) -> Result<Answer, String> {
        probe::exchange(&self.0.env, &self.http_address(node), node, method, path, body).await
    }

    fn lost_a_folder(&self) -> bool {
        false
    }
}

impl Wired for Cluster {
    fn cut(&self, from: usize, to: usize) {
        self.change(from, to, true);
    }

    fn mend(&self, from: usize, to: usize) {
        self.change(from, to, false);
    }
}

impl Cluster {
    fn change(&self, from: usize, to: usize, is_cut: bool) {
        let mut wires = lock(&self.0.wires);
        let changed = if is_cut { wires.cut.insert((from, to)) } else { wires.cut.remove(&(from, to)) };
        if changed {
            wires.number += 1;
            lock(&self.0.film).cuts.push((self.since().as_nanos() as u64, (from, to), is_cut));
        }
    }
}
