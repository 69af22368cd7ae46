//! The list of all keys. Code, reference and default file have their defaults and ranges from here alone.

use std::fmt;

use super::kind::Kind::{self, *};
use super::units::{GB, KB, MB, TB};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The greatest number of things that any queue or list may be told to hold.
const MANY: u64 = 16_777_216;

/// One key: what it is called, what it is where nobody says, and what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The key with its section, as `raft.tick-interval`.
    pub path: &'static str,
    /// What holds where the file does not say.
    pub default: Fallback,
    /// What its value may be.
    pub kind: Kind,
    /// What it means, in a sentence.
    pub meaning: &'static str,
}

/// What holds where the file does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value, as TOML.
    Value(&'static str),
    /// What another key says.
    SameAs(&'static str),
    /// Something that is found out when the node starts, in words.
    Found(&'static str),
}

impl KeyInfo {
    const fn new(path: &'static str, default: Fallback, kind: Kind, meaning: &'static str) -> Self {
        Self { path, default, kind, meaning }
    }

    /// The section, `""` for keys above all sections.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The key without its section.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The key of this path, if there is one.
    pub(super) fn find(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.path == path)
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(toml) => f.write_str(toml),
            Self::SameAs(path) => write!(f, "= {path}"),
            Self::Found(words) => f.write_str(words),
        }
    }
}

const fn key(path: &'static str, default: &'static str, kind: Kind, meaning: &'static str) -> KeyInfo {
    KeyInfo::new(path, Fallback::Value(default), kind, meaning)
}

const fn same(path: &'static str, other: &'static str, kind: Kind, meaning: &'static str) -> KeyInfo {
    KeyInfo::new(path, Fallback::SameAs(other), kind, meaning)
}

const fn found(path: &'static str, words: &'static str, kind: Kind, meaning: &'static str) -> KeyInfo {
    KeyInfo::new(path, Fallback::Found(words), kind, meaning)
}

/// Every key, in the order of the reference; keys of one section stand together.
// One key in two lines reads as a table; the formatter would make six of them.
#[rustfmt::skip]
pub const KEYS: &[KeyInfo] = &[
    key("addr-raft", r#""127.0.0.1:20001""#, Address,
        "bound for raft messages and snapshots between stores"),
    same("addr-advertise-raft", "addr-raft", Address,
        "what other stores dial for raft"),
    key("addr-client", r#""127.0.0.1:20002""#, Address,
        "bound for requests that another node or the client library sends here"),
    same("addr-advertise-client", "addr-client", Address,
        "what others dial for requests"),
    key("dir-data", r#""/tmp/matrixkv""#, Directory,
        "where data is kept; capacity and free space of its disk are reported to Prophet"),
    key("labels", "[]", Labels,
        "what this store is labelled with, for placement"),
    found("capacity", "disk size", Size(1, 1024 * 1024 * TB),
        "what to report to Prophet instead of the disk's size"),

    key("raft.tick-interval", r#""100ms""#, Duration(1, MINUTE),
        "raft's clock"),
    key("raft.heartbeat-ticks", "2", Count(1, 1000),
        "ticks between a leader's heartbeats"),
    key("raft.election-timeout-ticks", "10", Count(3, 10_000),
        "ticks without a leader until an election; over twice heartbeat-ticks"),
    key("raft.quiet-after-ticks", "30", Count(0, 1_000_000),
        "ticks without traffic after which a shard sends no heartbeats of its own; 0 is never"),
    key("raft.max-entry-bytes", r#""10MB""#, Size(KB, GB),
        "no proposal is larger; one request over it is refused; fits a frame"),
    key("raft.max-size-per-msg", r#""1MB""#, Size(KB, GB),
        "bytes of entries in one append message; one entry always goes, whatever its size"),
    key("raft.max-inflight-msgs", "256", Count(1, MANY),
        "append messages under way to one follower"),
    key("raft.batch-bytes-max", r#""256KB""#, Size(1, GB),
        "limit of one batched proposal, so that a large batch does not starve heartbeats; never over max-entry-bytes"),
    key("raft.raft-log.compact-threshold", "256", Count(1, MANY),
        "entries kept before the log is compacted; four times as many for a follower that lags"),
    key("raft.raft-log.compact-bytes", r#""16MB""#, Size(1, TB),
        "bytes of entries over which fewer are kept; four times as many for a follower that lags"),

    key("snapshot.snap-chunk-size", r#""4MB""#, Size(64, GB),
        "bytes of keys and values in one chunk of a snapshot, about: a row is never cut"),
    key("snapshot.max-concurrency-snap-chunks", "8", Count(1, 1024),
        "snapshot chunks that one store has under way at once"),

    key("replication.max-peer-down-time", r#""30m""#, Duration(SECOND, 365 * DAY),
        "a replica unreachable longer is held permanently failed and is replaced"),
    key("replication.shard-heartbeat-duration", r#""2s""#, Duration(10, HOUR),
        "how often a leader reports its shard; lowered to a fifth of the shorter down-time"),
    key("replication.store-heartbeat-duration", r#""10s""#, Duration(10, HOUR),
        "how often a store reports itself; lowered to a fifth of the shorter down-time"),
    key("replication.shard-state-check-duration", r#""60s""#, Duration(10, DAY),
        "how often a replica asks whether it is still a member"),

    found("prophet.name", "prophet-<hostname>", Name,
        "this node's name in Prophet; unique"),
    key("prophet.rpc-addr", r#""127.0.0.1:10001""#, Address,
        "bound on a Prophet node for heartbeats and look-ups"),
    same("prophet.rpc-advertise-addr", "prophet.rpc-addr", Address,
        "what stores dial for heartbeats and look-ups"),
    key("prophet.prophet-node", "false", Flag,
        "whether this node is a Prophet member"),
    key("prophet.external-etcd", "[]", Urls,
        "on a node that is no Prophet member: the members' client URLs"),
    key("prophet.founding-wait", r#""3s""#, Duration(0, HOUR),
        "how long an empty first Prophet node listens for a living cluster before it founds one"),

    key("prophet.schedule.max-container-down-time", r#""30m""#, Duration(SECOND, 365 * DAY),
        "a store without heartbeat this long is Down and what it had is rebuilt elsewhere"),
    key("prophet.schedule.leader-schedule-limit", "4", Count(0, MANY),
        "leader moves under way at once; 0 is none"),
    key("prophet.schedule.resource-schedule-limit", "2048", Count(0, MANY),
        "shard moves under way at once; 0 is none"),
    key("prophet.schedule.replica-schedule-limit", "64", Count(0, MANY),
        "repairs under way at once; 0 is none"),
    key("prophet.schedule.max-snapshot-count", "3", Count(1, MANY),
        "a store with more snapshots under way gets no more replicas; those under 1MB do not count"),
    key("prophet.schedule.max-pending-peer-count", "16", Count(1, MANY),
        "a store with more replicas that lag gets no more"),
    key("prophet.schedule.low-space-ratio", "0.8", Ratio,
        "a store fuller than this gets no more replicas; over high-space-ratio"),
    key("prophet.schedule.high-space-ratio", "0.7", Ratio,
        "up to here a store counts as having space enough"),

    key("prophet.embed-etcd.join", r#""""#, UrlsWithCommas,
        "empty on the first Prophet node; on a later one, peer URLs of existing members"),
    key("prophet.embed-etcd.client-urls", r#""http://127.0.0.1:2379""#, Url,
        "bound on a Prophet node: where stores find Prophet, plain HTTP with JSON"),
    same("prophet.embed-etcd.advertise-client-urls", "prophet.embed-etcd.client-urls", Url,
        "what others dial to find Prophet"),
    key("prophet.embed-etcd.peer-urls", r#""http://127.0.0.1:2380""#, Url,
        "bound on a Prophet node for Prophet's own raft traffic"),
    same("prophet.embed-etcd.advertise-peer-urls", "prophet.embed-etcd.peer-urls", Url,
        "what other Prophet members dial"),

    key("prophet.replication.max-replicas", "3", Count(1, 9),
        "replicas that each shard is given"),
    key("prophet.replication.location-labels", "[]", Names,
        "labels by which replicas are kept apart"),
    key("prophet.replication.initial-split-keys", "[]", AscendingKeys,
        "the first shard is created cut at these keys; none longer than limits.key-bytes-max"),

    key("limits.request-deadline", r#""5s""#, Duration(10, HOUR),
        "how long a request may take until it is answered 503 or 504"),
    key("limits.key-bytes-max", r#""4KB""#, Size(1, MB),
        "longest key"),
    key("limits.value-bytes-max", r#""8MB""#, Size(1, GB),
        "longest value"),
    found("limits.body-bytes-max", "value-bytes-max + key-bytes-max + 64KB", Size(1, 2 * GB),
        "longest HTTP body, as sent: what JSON escapes add counts"),
    key("limits.headers-max", "64", Count(1, 1024),
        "headers of one request"),
    key("limits.header-bytes-max", r#""64KB""#, Size(8 * KB, MB),
        "bytes of all headers of one request together"),
    key("limits.header-timeout", r#""10s""#, Duration(10, HOUR),
        "how long a connection may take to send its headers"),
    key("limits.connections-max", "4096", Count(1, MANY),
        "HTTP connections at once"),
    key("limits.requests-in-flight-max", "4096", Count(1, MANY),
        "HTTP requests at once; one more is answered 503. A store has eight times as many under way, whoever asks"),
    key("limits.inbox-messages-max", "65536", Count(16, MANY),
        "messages waiting for the store's loop, and for Prophet's"),
    key("limits.peer-queue-bytes-max", r#""64MB""#, Size(KB, 16 * GB),
        "bytes waiting to be sent to one peer on one channel"),
    key("limits.peer-queue-messages-max", "8192", Count(1, MANY),
        "messages waiting to be sent to one peer on one channel"),
    key("limits.frame-bytes-max", r#""256MB""#, Size(2 * MB, 2 * GB),
        "longest message between nodes; 1MB over max-entry-bytes and max-size-per-msg at least, and over a chunk with a value"),
    key("limits.proposals-pending-max", "16384", Count(1, MANY),
        "writes of one shard that wait for their decision"),
    key("limits.reads-pending-max", "16384", Count(1, MANY),
        "reads of one shard that wait for their read index"),
    key("limits.file-slack-max", r#""64MB""#, Size(1, TB),
        "free bytes of a data file over which it is compacted at the start, if more than half of it is free"),
    key("limits.disk-stall-max", r#""60s""#, Duration(SECOND, DAY),
        "a read or a commit that takes longer ends the node, so that others lead what it led"),
    key("limits.disk-reserve", r#""256MB""#, Size(0, 1024 * TB),
        "free bytes of the disk of dir-data below which writes are refused; below half of it nothing is taken from leaders; less than 64MB may not be enough for what is in memory until a checkpoint; 0 is never"),
];
