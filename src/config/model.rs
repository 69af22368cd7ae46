//! The configuration as a value: a field for each key, a struct for each section. What the keys mean is said once,
//! in [`KEYS`](super::KEYS).

use std::path::PathBuf;
use std::time::Duration;

use super::units::bare_address;

/// The shortest beat that a short down-time brings about; below it heartbeats would be most of what a store does.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);

/// A down-time is judged by this many missed heartbeats at least, so that one lost message fails nobody.
const HEARTBEATS_IN_DOWN_TIME: u32 = 5;

/// All that a node is told by its file.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct Config {
    pub addr_raft: String,
    pub addr_advertise_raft: String,
    pub addr_client: String,
    pub addr_advertise_client: String,
    pub dir_data: PathBuf,
    pub labels: Vec<(String, String)>,
    pub capacity: Option<u64>,
    pub raft: RaftConfig,
    pub snapshot: SnapshotConfig,
    pub replication: ReplicationConfig,
    pub prophet: ProphetConfig,
    pub limits: Limits,
}

/// Section `[raft]`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct RaftConfig {
    pub tick_interval: Duration,
    pub heartbeat_ticks: usize,
    pub election_timeout_ticks: usize,
    pub quiet_after_ticks: u64,
    pub max_entry_bytes: u64,
    pub max_size_per_msg: u64,
    pub max_inflight_msgs: usize,
    pub batch_bytes_max: u64,
    pub raft_log: RaftLogConfig,
}

/// Section `[raft.raft-log]`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct RaftLogConfig {
    pub compact_threshold: u64,
    /// Bytes of entries over which fewer are kept.
    pub compact_bytes: u64,
}

/// Section `[snapshot]`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct SnapshotConfig {
    pub snap_chunk_size: u64,
    pub max_concurrency_snap_chunks: usize,
}

/// Section `[replication]`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct ReplicationConfig {
    pub max_peer_down_time: Duration,
    pub shard_heartbeat_duration: Duration,
    pub store_heartbeat_duration: Duration,
    pub shard_state_check_duration: Duration,
}

/// Section `[prophet]`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct ProphetConfig {
    pub name: String,
    pub rpc_addr: String,
    pub rpc_advertise_addr: String,
    pub prophet_node: bool,
    pub external_etcd: Vec<String>,
    pub founding_wait: Duration,
    pub schedule: ScheduleConfig,
    pub embed_etcd: EmbedEtcdConfig,
    pub replication: ProphetReplicationConfig,
}

/// Section `[prophet.schedule]`; a "container" is a store, a "resource" a shard.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct ScheduleConfig {
    pub max_container_down_time: Duration,
    pub leader_schedule_limit: u64,
    pub resource_schedule_limit: u64,
    pub replica_schedule_limit: u64,
    pub max_snapshot_count: u64,
    pub max_pending_peer_count: u64,
    pub low_space_ratio: f64,
    pub high_space_ratio: f64,
}

/// Section `[prophet.embed-etcd]`; no etcd is embedded, the metadata group is Prophet's own.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct EmbedEtcdConfig {
    pub join: Vec<String>,
    pub client_urls: String,
    pub advertise_client_urls: String,
    pub peer_urls: String,
    pub advertise_peer_urls: String,
}

/// Section `[prophet.replication]`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct ProphetReplicationConfig {
    pub max_replicas: usize,
    pub location_labels: Vec<String>,
    pub initial_split_keys: Vec<String>,
}

/// Section `[limits]`: over each of these a client hears no, instead of the node growing.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is a key, and KEYS says what it means")]
pub struct Limits {
    pub request_deadline: Duration,
    pub key_bytes_max: usize,
    pub value_bytes_max: usize,
    pub body_bytes_max: usize,
    pub headers_max: usize,
    pub header_bytes_max: usize,
    pub header_timeout: Duration,
    pub connections_max: usize,
    pub requests_in_flight_max: usize,
    pub inbox_messages_max: usize,
    pub peer_queue_bytes_max: u64,
    pub peer_queue_messages_max: usize,
    pub frame_bytes_max: u64,
    pub proposals_pending_max: usize,
    pub reads_pending_max: usize,
    pub file_slack_max: u64,
    pub disk_stall_max: Duration,
    pub disk_reserve: u64,
}

impl Config {
    /// How often a store reports itself: as configured, or more often where a down-time is short.
    pub fn store_heartbeat_effective(&self) -> Duration {
        self.beat_within_down_time(self.replication.store_heartbeat_duration)
    }

    /// How often a shard's leader reports it: as configured, or more often where a down-time is short.
    pub fn shard_heartbeat_effective(&self) -> Duration {
        self.beat_within_down_time(self.replication.shard_heartbeat_duration)
    }

    fn beat_within_down_time(&self, configured: Duration) -> Duration {
        let down_time = self.replication.max_peer_down_time.min(self.prophet.schedule.max_container_down_time);
        configured.min((down_time / HEARTBEATS_IN_DOWN_TIME).max(HEARTBEAT_MIN))
    }

    /// `host:port` at which other Prophet members dial this one.
    pub fn peer_address(&self) -> String {
        bare_address(&self.prophet.embed_etcd.advertise_peer_urls).to_owned()
    }

    /// `host:port` that Prophet's own raft traffic is bound to.
    pub fn peer_bind_address(&self) -> String {
        bare_address(&self.prophet.embed_etcd.peer_urls).to_owned()
    }

    /// `host:port` at which others ask this Prophet member who leads.
    pub fn client_url_address(&self) -> String {
        bare_address(&self.prophet.embed_etcd.advertise_client_urls).to_owned()
    }

    /// `host:port` that the client URL is bound to.
    pub fn client_url_bind_address(&self) -> String {
        bare_address(&self.prophet.embed_etcd.client_urls).to_owned()
    }

    /// `host:port` of each Prophet member that this one joins through; empty on the first.
    pub fn join_addresses(&self) -> Vec<String> {
        self.prophet.embed_etcd.join.iter().map(|url| bare_address(url).to_owned()).collect()
    }

    /// `host:port` of the client URL of each Prophet member, on a node that is none.
    pub fn external_addresses(&self) -> Vec<String> {
        self.prophet.external_etcd.iter().map(|url| bare_address(url).to_owned()).collect()
    }
}
