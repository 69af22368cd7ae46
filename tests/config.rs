//! Configuration files as a user writes them: what each key does, what is refused and in which words, and that
//! code, reference and shipped files agree.

#![allow(clippy::disallowed_methods, reason = "a test reads the documentation")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use matrixkv::config::{Config, ConfigError, KEYS, KeyInfo, Warning, default_toml};

/// The least that makes a configuration valid.
const PROPHET_NODE: &str = "prophet.prophet-node = true\n";

/// A valid value other than the default, for each key.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("addr-raft", r#""127.0.0.1:1""#),
    ("addr-advertise-raft", r#""node0:2""#),
    ("addr-client", r#""[::1]:3""#),
    ("addr-advertise-client", r#""node0.example:4""#),
    ("dir-data", r#""/data""#),
    ("labels", r#"[["zone", "z1"], ["rack", "r1"]]"#),
    ("capacity", r#""2TB""#),
    ("raft.tick-interval", r#""50ms""#),
    ("raft.heartbeat-ticks", "1"),
    ("raft.election-timeout-ticks", "20"),
    ("raft.quiet-after-ticks", "7"),
    ("raft.max-entry-bytes", r#""200MB""#),
    ("raft.max-size-per-msg", r#""2MB""#),
    ("raft.max-inflight-msgs", "16"),
    ("raft.batch-bytes-max", r#""1MB""#),
    ("raft.raft-log.compact-threshold", "16"),
    ("raft.raft-log.compact-bytes", r#""1MB""#),
    ("snapshot.snap-chunk-size", r#""1MB""#),
    ("snapshot.max-concurrency-snap-chunks", "2"),
    ("replication.max-peer-down-time", r#""15s""#),
    ("replication.shard-heartbeat-duration", r#""1s""#),
    ("replication.store-heartbeat-duration", r#""1s""#),
    ("replication.shard-state-check-duration", r#""1s""#),
    ("prophet.name", r#""node0""#),
    ("prophet.rpc-addr", r#""127.0.0.1:5""#),
    ("prophet.rpc-advertise-addr", r#""node0:5""#),
    ("prophet.prophet-node", "true"),
    ("prophet.external-etcd", r#"["http://node0:8084"]"#),
    ("prophet.founding-wait", r#""0s""#),
    ("prophet.schedule.max-container-down-time", r#""10s""#),
    ("prophet.schedule.leader-schedule-limit", "0"),
    ("prophet.schedule.resource-schedule-limit", "1"),
    ("prophet.schedule.replica-schedule-limit", "1"),
    ("prophet.schedule.max-snapshot-count", "1"),
    ("prophet.schedule.max-pending-peer-count", "1"),
    ("prophet.schedule.low-space-ratio", "1"),
    ("prophet.schedule.high-space-ratio", "0.5"),
    ("prophet.embed-etcd.join", r#""http://node0:8085, http://node1:8085/""#),
    ("prophet.embed-etcd.client-urls", r#""http://127.0.0.1:6""#),
    ("prophet.embed-etcd.advertise-client-urls", r#""http://node0:6""#),
    ("prophet.embed-etcd.peer-urls", r#""http://127.0.0.1:7""#),
    ("prophet.embed-etcd.advertise-peer-urls", r#""http://node0:7""#),
    ("prophet.replication.max-replicas", "5"),
    ("prophet.replication.location-labels", r#"["zone"]"#),
    ("prophet.replication.initial-split-keys", r#"["g", "n"]"#),
    ("limits.request-deadline", r#""1s""#),
    ("limits.key-bytes-max", "16"),
    ("limits.value-bytes-max", r#""1MB""#),
    ("limits.body-bytes-max", r#""1KB""#),
    ("limits.headers-max", "8"),
    ("limits.header-bytes-max", r#""8KB""#),
    ("limits.header-timeout", r#""1s""#),
    ("limits.connections-max", "1"),
    ("limits.requests-in-flight-max", "1"),
    ("limits.inbox-messages-max", "64"),
    ("limits.peer-queue-bytes-max", r#""1MB""#),
    ("limits.peer-queue-messages-max", "1"),
    ("limits.frame-bytes-max", r#""512MB""#),
    ("limits.proposals-pending-max", "1"),
    ("limits.reads-pending-max", "1"),
    ("limits.file-slack-max", r#""1MB""#),
    ("limits.disk-stall-max", r#""1s""#),
    ("limits.disk-reserve", r#""0B""#),
];

fn read(text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
    let base = if text.contains("prophet-node") { "" } else { PROPHET_NODE };
    Config::parse(&format!("{base}{text}"), "cube.toml")
}

fn accepted(text: &str) -> Config {
    read(text).unwrap_or_else(|error| panic!("{text}: {error}")).0
}

fn refused(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

fn warned(text: &str) -> Vec<String> {
    read(text).unwrap().1.iter().map(Warning::to_string).collect()
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn every_key_changes_the_configuration_and_is_warned_about_only_where_it_does_nothing() {
    let paths: Vec<_> = OTHER_VALUES.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, KEYS.iter().map(|key| key.path).collect::<Vec<_>>());
    for (path, value) in OTHER_VALUES {
        let (config, warnings) = read(&format!("{path} = {value}")).unwrap();
        assert_ne!(config, Config::default(), "{path}");
        assert_eq!(*path == "prophet.prophet-node", config == accepted(""), "{path}");
        let expected = *path == "prophet.external-etcd";
        assert_eq!(!warnings.is_empty(), expected, "{path}: {warnings:?}");
    }
}

#[test]
fn a_bad_value_of_any_key_is_refused_by_file_key_value_and_what_would_be_valid() {
    for key in KEYS {
        let base = if key.path == "prophet.prophet-node" { "" } else { PROPHET_NODE };
        for bad in ["-1", "[-1]", "\"\\u0000\""] {
            let error = Config::parse(&format!("{base}{} = {bad}", key.path), "cube.toml").unwrap_err().to_string();
            let expected = format!("cube.toml: {} = {bad}: expected {}", key.path, key.kind);
            assert_eq!(error, expected);
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_specification() {
    let config = Config::default();
    assert_eq!(config.addr_raft, "127.0.0.1:20001");
    assert_eq!(config.addr_advertise_raft, "127.0.0.1:20001");
    assert_eq!(config.dir_data, Path::new("/tmp/matrixkv"));
    assert_eq!(config.capacity, None);
    assert_eq!(config.raft.tick_interval, Duration::from_millis(100));
    assert_eq!(config.raft.max_entry_bytes, 10 * 1_048_576);
    assert_eq!(config.replication.max_peer_down_time, seconds(1800));
    assert!(config.prophet.name.starts_with("prophet-"));
    assert!(!config.prophet.prophet_node);
    assert_eq!(config.prophet.replication.max_replicas, 3);
    assert_eq!(config.limits.key_bytes_max, 4096);
    assert_eq!(config.limits.value_bytes_max, 8 << 20);
    assert_eq!(config.limits.body_bytes_max, (8 << 20) + 4096 + 65536);
}

#[test]
fn an_advertised_address_follows_the_bound_one() {
    let config = accepted("addr-client = \"node0:1\"\nprophet.embed-etcd.peer-urls = \"http://node0:2/\"");
    assert_eq!(config.addr_advertise_client, "node0:1");
    assert_eq!(config.prophet.embed_etcd.advertise_peer_urls, "http://node0:2");
    assert_eq!(config.peer_address(), "node0:2");
    assert_eq!(config.client_url_address(), "127.0.0.1:2379");
}

#[test]
fn the_body_limit_follows_the_value_limit_and_a_batch_is_never_over_an_entry() {
    let config = accepted("limits.value-bytes-max = 100\nlimits.key-bytes-max = 10\nraft.max-entry-bytes = \"1KB\"");
    assert_eq!(config.limits.body_bytes_max, 100 + 10 + 65536);
    assert_eq!(config.raft.batch_bytes_max, 1024);
}

#[test]
fn heartbeats_are_lowered_to_a_fifth_of_the_shorter_down_time() {
    let relaxed = accepted("");
    assert_eq!(relaxed.store_heartbeat_effective(), seconds(10));
    assert_eq!(relaxed.shard_heartbeat_effective(), seconds(2));
    let demo = accepted(
        "replication.max-peer-down-time = \"15s\"\nprophet.schedule.max-container-down-time = \"10s\"\n\
         replication.shard-heartbeat-duration = \"50ms\"",
    );
    assert_eq!(demo.store_heartbeat_effective(), seconds(2));
    assert_eq!(demo.shard_heartbeat_effective(), Duration::from_millis(50));
    let mut hasty = relaxed;
    hasty.replication.max_peer_down_time = Duration::from_millis(10);
    assert_eq!(hasty.store_heartbeat_effective(), Duration::from_millis(100));
}

#[test]
fn what_does_nothing_is_a_warning_that_names_it() {
    let mut warnings = warned("colour = 1\n[raft]\ntick-intervall = \"1s\"\n[raft.more]\nx = 1\n");
    warnings.sort();
    assert_eq!(
        warnings,
        [
            "cube.toml: colour: unknown key, ignored (`matrixkv config default` lists all keys)",
            "cube.toml: raft.more: unknown key, ignored (`matrixkv config default` lists all keys)",
            "cube.toml: raft.tick-intervall: unknown key, ignored (`matrixkv config default` lists all keys)",
        ]
    );
    assert_eq!(
        warned("prophet.external-etcd = [\"http://a:1\"]"),
        ["cube.toml: prophet.external-etcd: ignored, because prophet.prophet-node is true"]
    );
    assert_eq!(
        warned("[prophet]\nprophet-node = false\nexternal-etcd = [\"http://a:1\"]\nembed-etcd.join = \"http://b:1\""),
        ["cube.toml: prophet.embed-etcd.join: ignored, because prophet.prophet-node is false"]
    );
}

#[test]
fn values_out_of_range_are_refused() {
    for (text, valid) in [
        ("addr-raft = \"node0:0\"", "expected \"host:port\", port 1 to 65535"),
        ("addr-raft = \"node0:65536\"", "expected \"host:port\""),
        ("raft.tick-interval = 100", "expected a duration from \"1ms\" to \"1m\""),
        ("raft.tick-interval = \"0s\"", "expected a duration from \"1ms\" to \"1m\""),
        ("raft.max-entry-bytes = \"99999999TB\"", "expected a size from \"1KB\" to \"1GB\""),
        ("capacity = 0", "expected a size from \"1B\" to"),
        ("prophet.replication.max-replicas = 10", "expected a number from 1 to 9"),
        ("prophet.replication.max-replicas = \"3\"", "expected a number from 1 to 9"),
        ("prophet.replication.initial-split-keys = [\"b\", \"a\"]", "strictly ascending"),
        ("prophet.replication.initial-split-keys = [\"a\", \"a\"]", "strictly ascending"),
        ("prophet.replication.initial-split-keys = [\"\"]", "non-empty"),
        ("prophet.schedule.low-space-ratio = 1.1", "expected a number over 0, up to 1"),
        ("prophet.schedule.low-space-ratio = nan", "expected a number over 0, up to 1"),
        ("prophet.embed-etcd.join = \"http://a:1,\"", "several with commas"),
        ("prophet.embed-etcd.client-urls = \"https://a:1\"", "expected \"http://host:port\""),
        ("labels = [[\"zone\", \"a\"], [\"zone\", \"b\"]]", "each name once"),
        ("raft = 3", "expected a section, [raft]"),
        ("dir-data = {}", "expected a folder's path"),
    ] {
        let error = refused(text);
        assert!(error.starts_with("cube.toml: ") && error.contains(valid), "{text}: {error}");
    }
}

#[test]
fn keys_that_do_not_fit_together_are_refused() {
    for (text, expected) in [
        ("raft.heartbeat-ticks = 5", "raft.election-timeout-ticks = 10: expected more than twice raft.heartbeat-ticks"),
        ("prophet.schedule.high-space-ratio = 0.9", "low-space-ratio = 0.8: expected more than"),
        ("raft.max-entry-bytes = \"1GB\"", "raft.max-entry-bytes = \"1GB\": expected at most \"255MB\""),
        ("limits.frame-bytes-max = \"12MB\"", "snapshot.snap-chunk-size = \"4MB\": expected at most"),
        (
            "limits.key-bytes-max = 1\nprophet.replication.initial-split-keys = [\"ab\"]",
            "\"ab\": expected keys of at most",
        ),
        ("prophet.prophet-node = false", "prophet.external-etcd = []: expected the client URLs"),
        ("prophet.embed-etcd.join = \"http://127.0.0.1:2380\"", "expected peer URLs of other members"),
        (
            "addr-raft = \"127.0.0.1:20002\"",
            "addr-client = \"127.0.0.1:20002\": expected an address of its own; addr-raft",
        ),
        (
            "addr-raft = \"0.0.0.0:2379\"\naddr-advertise-raft = \"a:1\"",
            "client-urls = \"http://127.0.0.1:2379\": expected an",
        ),
        ("addr-advertise-raft = \"a:1\"\naddr-advertise-client = \"a:1\"", "addr-advertise-raft has this one"),
        ("addr-raft = \"0.0.0.0:1\"", "addr-advertise-raft = \"0.0.0.0:1\": expected an address that others can dial"),
    ] {
        let error = refused(text);
        assert!(error.starts_with("cube.toml: ") && error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn addresses_that_are_not_bound_do_not_collide() {
    let store_only = "prophet.prophet-node = false\nprophet.external-etcd = [\"http://a:1\"]\n";
    accepted(&format!("{store_only}addr-raft = \"127.0.0.1:2379\""));
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_the_line() {
    let error = refused("addr-raft = ");
    assert!(error.starts_with("cube.toml: is not TOML: ") && error.contains("line 2"), "{error}");
}

#[test]
fn a_missing_file_says_how_to_get_one() {
    let error = Config::load(Path::new("no/such/cube.toml")).unwrap_err().to_string();
    for part in ["no/such/cube.toml", "matrixkv config default", "matrixkv demo"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(matches!(Config::load(Path::new("/")), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn the_default_file_is_the_default_and_passes_its_own_check() {
    let text = default_toml();
    let (config, warnings) = Config::parse(&text, "default").unwrap();
    assert_eq!(config, accepted(""));
    assert_eq!(warnings, []);
    for key in KEYS {
        let start = format!("{} =", key.name());
        assert!(text.lines().any(|line| line.trim_start_matches("# ").starts_with(&start)), "{}", key.path);
    }
}

#[test]
fn the_shipped_files_are_the_demo_cluster() {
    for node in 0..4 {
        let (config, warnings) = Config::load(&project(&format!("cfg/node{node}.toml"))).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(config.addr_advertise_raft, format!("node{node}:8081"));
        assert_eq!(config.addr_advertise_client, format!("node{node}:8082"));
        assert_eq!(config.dir_data, Path::new("/data/matrixkv"));
        assert_eq!(config.raft.max_entry_bytes, 200 << 20);
        assert_eq!(config.replication.max_peer_down_time, seconds(15));
        assert_eq!(config.prophet.schedule.max_container_down_time, seconds(10));
        assert_eq!(config.prophet.prophet_node, node < 3);
        assert_eq!(config.join_addresses().is_empty(), node == 0 || node == 3);
        assert_eq!(config.external_addresses().len(), if node == 3 { 3 } else { 0 });
    }
}

/// A key's row in the reference.
fn row(key: &KeyInfo) -> String {
    let section = if key.section().is_empty() { String::new() } else { format!("`[{}]`", key.section()) };
    format!("| {section} | `{}` | `{}` | {} | {}. |", key.name(), key.default, key.kind, key.meaning)
}

#[test]
fn the_reference_lists_every_key_as_the_code_has_it() {
    let text = std::fs::read_to_string(project("docs/configuration.md")).unwrap();
    let is_row = |line: &&str| line.starts_with("| `[") || line.starts_with("|  |");
    let written: Vec<&str> = text.lines().filter(is_row).collect();
    let expected: Vec<String> = KEYS.iter().map(row).collect();
    assert_eq!(written, expected, "the table in docs/configuration.md would be:\n{}\n", expected.join("\n"));
}
