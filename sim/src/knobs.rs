//! What a seed decides before anything runs: how large the world is, how fast its clocks tick, how small its limits
//! are. Everything is small or short enough that a minute of simulated time is eventful: few keys, so that clients
//! meet on them; short logs, so that snapshots happen; short heartbeats, so that repairs are seen.
//!
//! Invariants:
//! - the same seed draws the same knobs;
//! - each purpose has dice of its own ([`dice`]), so a knob that is added or removed leaves the others as they were.

mod show;

use std::{collections::BTreeSet, time::Duration};

use matrixkv::{config::Config, types::Rng};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{plan::span, workload::Workload, world::READERS};

/// Prophet nodes; each of them is a store too. They are the first nodes.
pub const PROPHET_NODES: usize = 3;

/// Where each node serves HTTP.
pub const HTTP_PORT: u16 = 8080;

/// A down-time that no run sees the end of.
pub const LONG_DOWN_TIME: Duration = Duration::from_secs(1800);

/// `[limits] disk-reserve` of every node.
pub const DISK_RESERVE: u64 = 8 << 20;

/// Dice of `seed` for one purpose, which share no throw with those of another.
pub fn dice(seed: u64, purpose: &str) -> Rng {
    Rng::new(xxh3_64_with_seed(purpose.as_bytes(), seed))
}

/// The zone of `node`, where there are so many; 0 is none.
pub fn zone(node: usize, zones: usize) -> usize {
    node % zones.max(1)
}

/// How envelopes travel between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Links {
    /// The shortest and the longest time that an envelope usually takes.
    #[serde(with = "span::pair")]
    pub latency: (Duration, Duration),
    /// The chance that it is lost.
    pub loss: f64,
    /// The chance that it arrives twice.
    pub duplicate: f64,
    /// The chance that it is late, and overtaken by those behind it.
    pub late: f64,
    /// How much later the late ones are at most.
    #[serde(with = "span")]
    pub late_by: Duration,
}

/// How messages between nodes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Envelopes one by one, each with a fate of its own.
    Datagrams,
    /// The link over byte streams, as on real sockets.
    Streams,
}

/// What the clients' keys look like. All of them are ascending by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyShape {
    /// A letter and a number.
    Short,
    /// Equal in the first kilobyte.
    Alike,
    /// They begin with what JSON, URLs and terminals make something of, or with more than one byte a character.
    Odd,
}

/// How [`KeyShape::Odd`] ones begin, ascending.
const ODD: [&str; 14] =
    ["\0", "\n", " ", "\"", "%2F", "&k=", "+", "../", "=", "\\u0000", "\u{e9}", "\u{20ac}", "\u{ffff}", "\u{1f980}"];

/// What a seed decides before the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Knobs {
    /// The seed.
    pub seed: u64,
    /// Nodes; the first [`PROPHET_NODES`] are Prophet members, all are stores.
    pub nodes: usize,
    /// `[prophet.replication] max-replicas`.
    #[serde(default = "usual_replicas")]
    pub replicas: usize,
    /// Zones that the nodes stand in, by turns: each store has its own as a label, and replicas are kept apart by it. 0 is none.
    #[serde(default)]
    pub zones: usize,
    /// Clients.
    pub clients: usize,
    /// Shards that the key space is cut into from the start.
    pub shards: usize,
    /// `--shard-capacity`.
    pub shard_capacity: u64,
    /// Keys that the clients use.
    pub keys: usize,
    /// What they look like.
    pub key_shape: KeyShape,
    /// Bytes of the longest value.
    pub value_bytes_max: usize,
    /// How strongly clients prefer the first keys: 1 is not at all.
    pub skew: u32,
    /// The longest pause of a client between two requests.
    #[serde(with = "span")]
    pub think_max: Duration,
    /// `[limits] request-deadline`.
    #[serde(with = "span")]
    pub request_deadline: Duration,
    /// `[limits] requests-in-flight-max`.
    #[serde(default = "usual_requests")]
    pub requests_max: u64,
    /// `[raft] tick-interval`.
    #[serde(with = "span")]
    pub tick: Duration,
    /// `[raft] heartbeat-ticks`.
    pub heartbeat_ticks: u64,
    /// `[raft] election-timeout-ticks`.
    pub election_ticks: u64,
    /// `[raft] quiet-after-ticks`.
    pub quiet_after_ticks: u64,
    /// `[raft] batch-bytes-max`.
    pub batch_bytes_max: u64,
    /// `[raft] max-inflight-msgs`.
    pub inflight_max: u64,
    /// `[raft.raft-log] compact-threshold`.
    pub compact_threshold: u64,
    /// `[raft.raft-log] compact-bytes`.
    #[serde(default = "usual_log_bytes")]
    pub compact_bytes: u64,
    /// `[snapshot] snap-chunk-size`.
    pub chunk_bytes: u64,
    /// `[snapshot] max-concurrency-snap-chunks`.
    pub chunks_max: u64,
    /// `[replication] shard-heartbeat-duration`.
    #[serde(with = "span")]
    pub shard_heartbeat: Duration,
    /// `[replication] store-heartbeat-duration`.
    #[serde(with = "span")]
    pub store_heartbeat: Duration,
    /// `[replication] max-peer-down-time`.
    #[serde(with = "span")]
    pub peer_down_time: Duration,
    /// `[prophet.schedule] max-container-down-time`.
    #[serde(with = "span")]
    pub store_down_time: Duration,
    /// `[replication] shard-state-check-duration`.
    #[serde(with = "span")]
    pub membership_check: Duration,
    /// `[prophet] founding-wait`.
    #[serde(with = "span")]
    pub founding_wait: Duration,
    /// The shortest and the longest time that a disk operation takes.
    #[serde(with = "span::pair")]
    pub disk_latency: (Duration, Duration),
    /// `[limits] file-slack-max`.
    pub file_slack_max: u64,
    /// `[limits] disk-stall-max`.
    #[serde(with = "span")]
    pub disk_stall_max: Duration,
    /// What is asked beside the registers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub workloads: BTreeSet<Workload>,
    /// How messages between nodes travel.
    pub transport: Transport,
    /// How envelopes travel while no fault says otherwise.
    pub links: Links,
    /// When each node is started for the first time.
    #[serde(with = "span::many")]
    pub starts: Vec<Duration>,
}

/// Where a node is.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it binds.
    pub bind: String,
    /// How others reach it.
    pub host: String,
    /// Its HTTP port; the inner ones are the five behind it.
    pub port: u16,
    /// Its data folder.
    pub data: String,
}

impl Place {
    fn simulated(node: usize) -> Self {
        Place { bind: "0.0.0.0".into(), host: Knobs::host(node), port: HTTP_PORT, data: "/data/matrixkv".into() }
    }
}

fn usual_replicas() -> usize {
    3
}

fn usual_log_bytes() -> u64 {
    16 << 20
}

fn usual_requests() -> u64 {
    4096
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.below(choices.len() as u64) as usize]
}

impl Knobs {
    /// The knobs of `seed`.
    pub fn draw(seed: u64) -> Self {
        let mut world = dice(seed, "world");
        let nodes = PROPHET_NODES + world.between(1, 2) as usize;
        let keys = world.between(5, 30) as usize;
        let mut load = dice(seed, "load");
        let mut raft = dice(seed, "raft");
        let mut prophet = dice(seed, "prophet");
        let mut disk = dice(seed, "disk");
        let mut net = dice(seed, "links");
        let mut split = dice(seed, "split");
        let mut down = dice(seed, "down-times");
        let mut chunks = dice(seed, "chunks");
        // Many clients that ask now and then: some are free to ask while others wait for a node that does not answer.
        let crowd = dice(seed, "crowd").chance(0.25);
        let clients = load.between(3, 8) as usize;
        Self {
            seed,
            nodes,
            replicas: usual_replicas(),
            zones: pick(&mut dice(seed, "zones"), &[0, 0, 0, 2, 3]),
            clients: if crowd { clients * 8 } else { clients },
            shards: world.between(1, 8).min(keys as u64) as usize,
            shard_capacity: pick(&mut split, &[16, 64, 256, 1024, 8192, 64 << 20]),
            keys,
            key_shape: pick(
                &mut dice(seed, "key-shape"),
                &[KeyShape::Short, KeyShape::Short, KeyShape::Short, KeyShape::Short, KeyShape::Alike, KeyShape::Odd],
            ),
            value_bytes_max: pick(&mut load, &[24, 24, 200, 4000]),
            skew: pick(&mut load, &[1, 2, 3]),
            think_max: millis(pick(&mut load, &[20, 60, 200])) * if crowd { 8 } else { 1 },
            request_deadline: millis(pick(&mut load, &[500, 1000, 2000, 5000])),
            requests_max: pick(&mut dice(seed, "requests"), &[usual_requests(), usual_requests(), usual_requests(), 6]),
            tick: millis(pick(&mut raft, &[40, 60, 100])),
            heartbeat_ticks: raft.between(1, 3),
            election_ticks: raft.between(8, 14),
            quiet_after_ticks: pick(&mut dice(seed, "quiet"), &[0, 2, 10, 30]),
            batch_bytes_max: pick(&mut raft, &[64, 1024, 256 * 1024]),
            inflight_max: pick(&mut raft, &[2, 16, 256]),
            compact_threshold: pick(&mut raft, &[4, 16, 64, 256]),
            // Where values are long, or batches large.
            compact_bytes: pick(&mut dice(seed, "log-bytes"), &[usual_log_bytes(), usual_log_bytes(), 16 << 10]),
            chunk_bytes: pick(&mut chunks, &[64, 256, 4096, 4 << 20]),
            chunks_max: pick(&mut chunks, &[1, 2, 8]),
            shard_heartbeat: millis(pick(&mut prophet, &[300, 600, 1000])),
            store_heartbeat: millis(pick(&mut prophet, &[300, 600, 1000])),
            peer_down_time: pick(&mut down, &[millis(2000), millis(6000), LONG_DOWN_TIME]),
            store_down_time: pick(&mut down, &[millis(2000), millis(6000), LONG_DOWN_TIME]),
            membership_check: millis(pick(&mut down, &[500, 2000, 6000])),
            founding_wait: millis(pick(&mut prophet, &[1000, 2000])),
            disk_latency: pick(
                &mut disk,
                &[(micros(20), micros(100)), (micros(50), millis(2)), (millis(1), millis(8))],
            ),
            // From every start to none: a file is a few hundred kilobytes, and grows by doubling.
            file_slack_max: pick(&mut dice(seed, "slack"), &[1, 256 << 10, 64 << 20]),
            disk_stall_max: millis(pick(&mut dice(seed, "disk-stall-max"), &[60_000, 60_000, 2000])),
            workloads: draw_workloads(seed),
            transport: if net.chance(0.2) { Transport::Streams } else { Transport::Datagrams },
            links: draw_links(&mut net),
            starts: draw_starts(seed, nodes),
        }
    }

    /// The knobs of `seed` for real processes: what only a simulated disk bears is left out.
    pub fn draw_real(seed: u64) -> Self {
        let drawn = Knobs::draw(seed);
        let mut down = dice(seed, "real down-times");
        Knobs {
            nodes: 5,
            clients: 8,
            shard_capacity: drawn.shard_capacity.max(256),
            think_max: millis(60),
            peer_down_time: pick(&mut down, &[millis(6000), LONG_DOWN_TIME]),
            store_down_time: pick(&mut down, &[millis(6000), LONG_DOWN_TIME]),
            disk_stall_max: millis(60_000),
            workloads: Workload::ALL.iter().copied().collect(),
            transport: Transport::Streams,
            starts: draw_starts(seed, 5),
            ..drawn
        }
    }

    /// The clients' keys, ascending.
    pub fn key(&self, index: usize) -> String {
        assert!(index < self.keys, "key {index} of {}", self.keys);
        match self.key_shape {
            KeyShape::Short => format!("k{index:03}"),
            KeyShape::Alike => format!("{:k<1024}{index:03}", ""),
            KeyShape::Odd => format!("{}{index:03}", ODD[index * ODD.len() / self.keys]),
        }
    }

    /// The keys at which the first shard is cut.
    pub fn split_keys(&self) -> Vec<String> {
        (1..self.shards).map(|shard| self.key(shard * self.keys / self.shards)).collect()
    }

    /// Keys that are used beside the registers, at most.
    pub fn keys_beside(&self) -> usize {
        self.workloads.iter().map(|workload| workload.keys_max(self)).sum()
    }

    /// In how many lanes processes are counted: each client takes its own number, and after an unknown outcome the next one
    /// so many further on.
    pub fn lanes(&self) -> usize {
        self.prober() + 1
    }

    /// The number of the client that asks while a minority is ill: behind those of the registers, the last readers, the watcher
    /// and the other workloads.
    pub fn prober(&self) -> usize {
        let beside: usize = self.workloads.iter().map(|workload| workload.clients()).sum();
        self.clients + READERS + 1 + beside
    }

    /// Whether what clients write may outgrow a shard.
    pub fn splits(&self) -> bool {
        self.shard_capacity < 1 << 20
    }

    /// Whether no run sees the end of what a replica or a store may be silent for.
    pub fn forgives_silence(&self) -> bool {
        self.peer_down_time.min(self.store_down_time) == LONG_DOWN_TIME
    }

    /// The usual election time-out, without the dice's part.
    pub fn election_timeout(&self) -> Duration {
        self.tick * self.election_ticks as u32
    }

    /// The host name of a node.
    pub fn host(node: usize) -> String {
        format!("node{node}")
    }

    /// Where `node` serves HTTP.
    pub fn http_address(node: usize) -> String {
        format!("{}:{HTTP_PORT}", Self::host(node))
    }

    /// The configuration of `node`, through the very parser that reads a file.
    pub fn config(&self, node: usize) -> Config {
        let text = self.config_text(node);
        match Config::parse(&text, &format!("{}.toml", Self::host(node))) {
            Ok((config, _)) => config,
            Err(error) => panic!("the simulator wrote a bad configuration: {error}\n{text}"),
        }
    }

    /// The same as text.
    pub(crate) fn config_text(&self, node: usize) -> String {
        self.config_text_at(node, &Place::simulated)
    }

    /// The configuration of `node` as text, where `place` says where each node is.
    pub(crate) fn config_text_at(&self, node: usize, place: &dyn Fn(usize) -> Place) -> String {
        let Place { bind, host, port, data } = place(node);
        let ms = |duration: Duration| format!("\"{}ms\"", duration.as_millis());
        let membership = if node < PROPHET_NODES { member_keys(&bind, port) } else { external_keys(place) };
        let etcd = if node < PROPHET_NODES { etcd_section(node, place) } else { String::new() };
        format!(
            "addr-raft = \"{bind}:{raft}\"\naddr-advertise-raft = \"{host}:{raft}\"\n\
             addr-client = \"{bind}:{client}\"\naddr-advertise-client = \"{host}:{client}\"\n\
             dir-data = {data:?}\nlabels = {labels}\n\
             [raft]\ntick-interval = {tick}\nheartbeat-ticks = {heartbeat}\nelection-timeout-ticks = {election}\n\
             quiet-after-ticks = {quiet}\nbatch-bytes-max = {batch}\nmax-inflight-msgs = {inflight}\n\
             [raft.raft-log]\ncompact-threshold = {compact}\ncompact-bytes = \"{log_bytes}B\"\n\
             [snapshot]\nsnap-chunk-size = \"{chunk}B\"\nmax-concurrency-snap-chunks = {chunks}\n\
             [replication]\nmax-peer-down-time = {peer_down}\nshard-state-check-duration = {check}\n\
             shard-heartbeat-duration = {shard_beat}\nstore-heartbeat-duration = {store_beat}\n\
             [prophet]\nname = \"node{node}\"\nfounding-wait = {founding}\n{membership}{etcd}\
             [prophet.schedule]\nmax-container-down-time = {store_down}\n\
             [prophet.replication]\nmax-replicas = {replicas}\nlocation-labels = {names}\ninitial-split-keys = {splits}\n\
             [limits]\nrequest-deadline = {deadline}\nfile-slack-max = {slack}\ndisk-stall-max = {stall}\n\
             disk-reserve = {DISK_RESERVE}\nrequests-in-flight-max = {requests}\n",
            labels =
                if self.zones > 0 { format!("[[\"zone\", \"z{}\"]]", zone(node, self.zones)) } else { "[]".into() },
            names = if self.zones > 0 { "[\"zone\"]" } else { "[]" },
            requests = self.requests_max,
            raft = port + 1,
            client = port + 2,
            tick = ms(self.tick),
            heartbeat = self.heartbeat_ticks,
            election = self.election_ticks,
            quiet = self.quiet_after_ticks,
            batch = self.batch_bytes_max,
            inflight = self.inflight_max,
            compact = self.compact_threshold,
            log_bytes = self.compact_bytes,
            chunk = self.chunk_bytes,
            chunks = self.chunks_max,
            shard_beat = ms(self.shard_heartbeat),
            store_beat = ms(self.store_heartbeat),
            founding = ms(self.founding_wait),
            peer_down = ms(self.peer_down_time),
            store_down = ms(self.store_down_time),
            check = ms(self.membership_check),
            replicas = self.replicas,
            // What JSON escapes, TOML reads alike.
            splits = serde_json::json!(self.split_keys()),
            deadline = ms(self.request_deadline),
            slack = self.file_slack_max,
            stall = ms(self.disk_stall_max),
        )
    }
}

fn member_keys(bind: &str, port: u16) -> String {
    format!("prophet-node = true\nrpc-addr = \"{bind}:{}\"\n", port + 3)
}

fn external_keys(place: &dyn Fn(usize) -> Place) -> String {
    let url = |Place { host, port, .. }: Place| format!("http://{host}:{}", port + 4);
    let urls: Vec<_> = (0..PROPHET_NODES).map(|member| url(place(member))).collect();
    format!("external-etcd = {urls:?}\n")
}

fn etcd_section(node: usize, place: &dyn Fn(usize) -> Place) -> String {
    let Place { bind, host, port, .. } = place(node);
    let others = (0..PROPHET_NODES).filter(|member| *member != node && node != 0).map(place);
    let join: Vec<_> = others.map(|Place { host, port, .. }| format!("http://{host}:{}", port + 5)).collect();
    format!(
        "rpc-advertise-addr = \"{host}:{rpc}\"\n[prophet.embed-etcd]\njoin = \"{join}\"\n\
         client-urls = \"http://{bind}:{urls}\"\nadvertise-client-urls = \"http://{host}:{urls}\"\n\
         peer-urls = \"http://{bind}:{peers}\"\nadvertise-peer-urls = \"http://{host}:{peers}\"\n",
        join = join.join(","),
        rpc = port + 3,
        urls = port + 4,
        peers = port + 5,
    )
}

/// Links are quick or slow, and now and then somewhat unreliable without any fault.
fn draw_links(rng: &mut Rng) -> Links {
    let latency = pick(rng, &[(micros(50), micros(300)), (micros(200), millis(3)), (millis(1), millis(15))]);
    let flaky = rng.chance(0.3);
    let rate = |flaky: bool, rate: f64| if flaky { rate } else { 0.0 };
    Links {
        latency,
        loss: rate(flaky, 0.005),
        duplicate: rate(flaky, 0.01),
        late: rate(flaky, 0.01),
        late_by: millis(50),
    }
}

/// Nothing for about every second seed, one workload for most of the others, and now and then all.
fn draw_workloads(seed: u64) -> BTreeSet<Workload> {
    let mut rng = dice(seed, "workloads");
    match rng.below(16) {
        0..8 => BTreeSet::new(),
        15 => Workload::ALL.iter().copied().collect(),
        _ => BTreeSet::from([pick(&mut rng, Workload::ALL)]),
    }
}

/// All at once, or any order over some seconds.
fn draw_starts(seed: u64, nodes: usize) -> Vec<Duration> {
    let mut rng = dice(seed, "starts");
    let spread = millis(pick(&mut rng, &[0, 200, 4000]));
    let mut starts: Vec<_> = (0..nodes).map(|_| rng.duration(Duration::ZERO, spread)).collect();
    // A store that joins a cluster which is at work.
    if rng.chance(0.25) {
        starts[nodes - 1] = rng.duration(millis(6000), millis(14_000));
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_of_many_seeds_has_a_valid_configuration() {
        for seed in 0..200 {
            let knobs = Knobs::draw(seed);
            assert_eq!(knobs.split_keys().len(), knobs.shards - 1);
            for node in 0..knobs.nodes {
                let config = knobs.config(node);
                assert_eq!(config.prophet.prophet_node, node < PROPHET_NODES);
                assert_eq!(config.join_addresses().is_empty(), node == 0 || node >= PROPHET_NODES);
            }
        }
    }

    #[test]
    fn keys_of_every_shape_ascend() {
        for key_shape in [KeyShape::Short, KeyShape::Alike, KeyShape::Odd] {
            let knobs = Knobs { key_shape, keys: 30, ..Knobs::draw(1) };
            let keys: Vec<_> = (0..30).map(|index| knobs.key(index)).collect();
            assert!(keys.is_sorted_by(|before, after| before < after), "{keys:?}");
        }
    }

    #[test]
    fn half_of_the_seeds_ask_for_registers_alone_and_few_for_everything() {
        let seeds = |count: usize| (0..1000).filter(|seed| draw_workloads(*seed).len() == count).count();
        assert!((400..600).contains(&seeds(0)) && (30..100).contains(&seeds(Workload::ALL.len())));
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_seed_differs() {
        assert_eq!(format!("{:?}", Knobs::draw(7)), format!("{:?}", Knobs::draw(7)));
        assert_ne!(format!("{:?}", Knobs::draw(7)), format!("{:?}", Knobs::draw(8)));
    }
}
