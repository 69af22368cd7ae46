//! From settings to the configuration: a line for each key, and the few defaults that follow from other keys.

use super::model::*;
use super::settings::Settings;
use super::units::KB;

/// What a body may have over its key and value: the JSON around them, and some escapes.
const BODY_BYTES_OVER: usize = 64 * KB as usize;

/// Every key as the file or the default has it.
pub(super) fn build(settings: &Settings) -> Config {
    Config {
        addr_raft: settings.text("addr-raft"),
        addr_advertise_raft: settings.text("addr-advertise-raft"),
        addr_client: settings.text("addr-client"),
        addr_advertise_client: settings.text("addr-advertise-client"),
        dir_data: settings.text("dir-data").into(),
        labels: settings.pairs("labels"),
        capacity: settings.is_given("capacity").then(|| settings.number("capacity")),
        raft: raft(settings),
        snapshot: snapshot(settings),
        replication: replication(settings),
        prophet: prophet(settings),
        limits: limits(settings),
    }
}

fn raft(settings: &Settings) -> RaftConfig {
    let max_entry_bytes = settings.number("raft.max-entry-bytes");
    RaftConfig {
        tick_interval: settings.duration("raft.tick-interval"),
        heartbeat_ticks: settings.count("raft.heartbeat-ticks"),
        election_timeout_ticks: settings.count("raft.election-timeout-ticks"),
        quiet_after_ticks: settings.number("raft.quiet-after-ticks"),
        max_entry_bytes,
        max_size_per_msg: settings.number("raft.max-size-per-msg"),
        max_inflight_msgs: settings.count("raft.max-inflight-msgs"),
        // A batch is a proposal: whoever makes proposals small has made batches small.
        batch_bytes_max: settings.number("raft.batch-bytes-max").min(max_entry_bytes),
        raft_log: RaftLogConfig {
            compact_threshold: settings.number("raft.raft-log.compact-threshold"),
            compact_bytes: settings.number("raft.raft-log.compact-bytes"),
        },
    }
}

fn snapshot(settings: &Settings) -> SnapshotConfig {
    SnapshotConfig {
        snap_chunk_size: settings.number("snapshot.snap-chunk-size"),
        max_concurrency_snap_chunks: settings.count("snapshot.max-concurrency-snap-chunks"),
    }
}

fn replication(settings: &Settings) -> ReplicationConfig {
    ReplicationConfig {
        max_peer_down_time: settings.duration("replication.max-peer-down-time"),
        shard_heartbeat_duration: settings.duration("replication.shard-heartbeat-duration"),
        store_heartbeat_duration: settings.duration("replication.store-heartbeat-duration"),
        shard_state_check_duration: settings.duration("replication.shard-state-check-duration"),
    }
}

fn prophet(settings: &Settings) -> ProphetConfig {
    ProphetConfig {
        name: if settings.is_given("prophet.name") { settings.text("prophet.name") } else { name_of_host() },
        rpc_addr: settings.text("prophet.rpc-addr"),
        rpc_advertise_addr: settings.text("prophet.rpc-advertise-addr"),
        prophet_node: settings.flag("prophet.prophet-node"),
        external_etcd: settings.list("prophet.external-etcd"),
        founding_wait: settings.duration("prophet.founding-wait"),
        schedule: schedule(settings),
        embed_etcd: embed_etcd(settings),
        replication: ProphetReplicationConfig {
            max_replicas: settings.count("prophet.replication.max-replicas"),
            location_labels: settings.list("prophet.replication.location-labels"),
            initial_split_keys: settings.list("prophet.replication.initial-split-keys"),
        },
    }
}

fn name_of_host() -> String {
    format!("prophet-{}", rustix::system::uname().nodename().to_string_lossy())
}

fn schedule(settings: &Settings) -> ScheduleConfig {
    ScheduleConfig {
        max_container_down_time: settings.duration("prophet.schedule.max-container-down-time"),
        leader_schedule_limit: settings.number("prophet.schedule.leader-schedule-limit"),
        resource_schedule_limit: settings.number("prophet.schedule.resource-schedule-limit"),
        replica_schedule_limit: settings.number("prophet.schedule.replica-schedule-limit"),
        max_snapshot_count: settings.number("prophet.schedule.max-snapshot-count"),
        max_pending_peer_count: settings.number("prophet.schedule.max-pending-peer-count"),
        low_space_ratio: settings.ratio("prophet.schedule.low-space-ratio"),
        high_space_ratio: settings.ratio("prophet.schedule.high-space-ratio"),
    }
}

fn embed_etcd(settings: &Settings) -> EmbedEtcdConfig {
    EmbedEtcdConfig {
        join: settings.list("prophet.embed-etcd.join"),
        client_urls: settings.text("prophet.embed-etcd.client-urls"),
        advertise_client_urls: settings.text("prophet.embed-etcd.advertise-client-urls"),
        peer_urls: settings.text("prophet.embed-etcd.peer-urls"),
        advertise_peer_urls: settings.text("prophet.embed-etcd.advertise-peer-urls"),
    }
}

fn limits(settings: &Settings) -> Limits {
    let key_bytes_max = settings.count("limits.key-bytes-max");
    let value_bytes_max = settings.count("limits.value-bytes-max");
    let body_given = settings.is_given("limits.body-bytes-max").then(|| settings.count("limits.body-bytes-max"));
    Limits {
        request_deadline: settings.duration("limits.request-deadline"),
        key_bytes_max,
        value_bytes_max,
        body_bytes_max: body_given.unwrap_or(value_bytes_max + key_bytes_max + BODY_BYTES_OVER),
        headers_max: settings.count("limits.headers-max"),
        header_bytes_max: settings.count("limits.header-bytes-max"),
        header_timeout: settings.duration("limits.header-timeout"),
        connections_max: settings.count("limits.connections-max"),
        requests_in_flight_max: settings.count("limits.requests-in-flight-max"),
        inbox_messages_max: settings.count("limits.inbox-messages-max"),
        peer_queue_bytes_max: settings.number("limits.peer-queue-bytes-max"),
        peer_queue_messages_max: settings.count("limits.peer-queue-messages-max"),
        frame_bytes_max: settings.number("limits.frame-bytes-max"),
        proposals_pending_max: settings.count("limits.proposals-pending-max"),
        reads_pending_max: settings.count("limits.reads-pending-max"),
        file_slack_max: settings.number("limits.file-slack-max"),
        disk_stall_max: settings.duration("limits.disk-stall-max"),
        disk_reserve: settings.number("limits.disk-reserve"),
    }
}
