//! What one key alone cannot say: keys that must fit together.

use super::error::{ConfigError, Warning};
use super::model::Config;
use super::units::{MB, bare_address, format_size, is_wildcard, split_address};

/// What a frame carries beside an entry or a snapshot: epochs, headers, other messages' share.
const FRAME_BYTES_OVER: u64 = MB;

/// A key, its value as TOML, and what would be valid.
type Fault = (&'static str, String, String);

/// One service of a node: the key and the address that it is bound to, and those that others dial.
struct Service<'a> {
    bind_key: &'static str,
    bind: &'a str,
    advertise_key: &'static str,
    advertise: &'a str,
}

impl Config {
    /// Checks that the keys fit together. The range of each one alone is checked as a file is read; a caller who
    /// fills fields by hand answers for those. `file_name` is what the error calls this configuration.
    pub fn validate(&self, file_name: &str) -> Result<(), ConfigError> {
        let checks = [check_raft, check_space, check_frames, check_split_keys, check_prophet, check_services];
        match checks.iter().find_map(|check| check(self).err()) {
            None => Ok(()),
            Some((key, value, valid)) => {
                Err(ConfigError::Value { file: file_name.to_owned(), key: key.to_owned(), value, valid })
            }
        }
    }

    /// Keys that were set and do nothing beside others.
    pub(super) fn ignored(&self, file_name: &str) -> Vec<Warning> {
        let ignored = |key: &str, why: &str| Warning::Ignored {
            file: file_name.to_owned(),
            key: key.to_owned(),
            why: why.to_owned(),
        };
        let mut warnings = Vec::new();
        if self.prophet.prophet_node && !self.prophet.external_etcd.is_empty() {
            warnings.push(ignored("prophet.external-etcd", "prophet.prophet-node is true"));
        }
        if !self.prophet.prophet_node && !self.prophet.embed_etcd.join.is_empty() {
            warnings.push(ignored("prophet.embed-etcd.join", "prophet.prophet-node is false"));
        }
        warnings
    }

    /// The services that this node binds.
    fn services(&self) -> Vec<Service<'_>> {
        let mut services = vec![
            service("addr-raft", &self.addr_raft, "addr-advertise-raft", &self.addr_advertise_raft),
            service("addr-client", &self.addr_client, "addr-advertise-client", &self.addr_advertise_client),
        ];
        if self.prophet.prophet_node {
            services.extend(self.prophet_services());
        }
        services
    }

    fn prophet_services(&self) -> [Service<'_>; 3] {
        let prophet = &self.prophet;
        let etcd = &prophet.embed_etcd;
        [
            service("prophet.rpc-addr", &prophet.rpc_addr, "prophet.rpc-advertise-addr", &prophet.rpc_advertise_addr),
            service(
                "prophet.embed-etcd.client-urls",
                &etcd.client_urls,
                "prophet.embed-etcd.advertise-client-urls",
                &etcd.advertise_client_urls,
            ),
            service(
                "prophet.embed-etcd.peer-urls",
                &etcd.peer_urls,
                "prophet.embed-etcd.advertise-peer-urls",
                &etcd.advertise_peer_urls,
            ),
        ]
    }
}

fn service<'a>(bind_key: &'static str, bind: &'a str, advertise_key: &'static str, advertise: &'a str) -> Service<'a> {
    Service { bind_key, bind, advertise_key, advertise }
}

/// One lost heartbeat must not be an election.
fn check_raft(config: &Config) -> Result<(), Fault> {
    let raft = &config.raft;
    if raft.election_timeout_ticks > 2 * raft.heartbeat_ticks {
        return Ok(());
    }
    let valid = format!("more than twice raft.heartbeat-ticks, which is {}", raft.heartbeat_ticks);
    Err(("raft.election-timeout-ticks", raft.election_timeout_ticks.to_string(), valid))
}

fn check_space(config: &Config) -> Result<(), Fault> {
    let schedule = &config.prophet.schedule;
    if schedule.low_space_ratio > schedule.high_space_ratio {
        return Ok(());
    }
    let valid = format!("more than prophet.schedule.high-space-ratio, which is {}", schedule.high_space_ratio);
    Err(("prophet.schedule.low-space-ratio", schedule.low_space_ratio.to_string(), valid))
}

/// What may be proposed must also be sendable, or a follower would never get it.
fn check_frames(config: &Config) -> Result<(), Fault> {
    let frame = config.limits.frame_bytes_max;
    let room = frame.saturating_sub(FRAME_BYTES_OVER);
    let sizes = [
        ("raft.max-entry-bytes", config.raft.max_entry_bytes),
        ("raft.max-size-per-msg", config.raft.max_size_per_msg),
    ];
    let Some((key, bytes)) = sizes.into_iter().find(|(_, bytes)| *bytes > room) else {
        return check_chunks(config, room);
    };
    let (room, frame) = (format_size(room), format_size(frame));
    let valid = format!("at most \"{room}\", which is 1MB under limits.frame-bytes-max (\"{frame}\"); or raise that");
    Err((key, quoted(&format_size(bytes)), valid))
}

/// A chunk of a snapshot may exceed its size by a row.
fn check_chunks(config: &Config, room: u64) -> Result<(), Fault> {
    let row = (config.limits.value_bytes_max + config.limits.key_bytes_max) as u64;
    let (chunk, room) = (config.snapshot.snap_chunk_size, room.saturating_sub(row));
    if chunk <= room {
        return Ok(());
    }
    let valid = format!("at most \"{}\", so that a chunk and a value fit into a message", format_size(room));
    Err(("snapshot.snap-chunk-size", quoted(&format_size(chunk)), valid))
}

/// A cut at a key that no client may write would leave a shard that nobody can fill.
fn check_split_keys(config: &Config) -> Result<(), Fault> {
    let limit = config.limits.key_bytes_max;
    let keys = &config.prophet.replication.initial_split_keys;
    match keys.iter().find(|key| key.len() > limit) {
        None => Ok(()),
        Some(key) => {
            let valid = format!("keys of at most limits.key-bytes-max, which is {limit} bytes");
            Err(("prophet.replication.initial-split-keys", quoted(key), valid))
        }
    }
}

fn check_prophet(config: &Config) -> Result<(), Fault> {
    let prophet = &config.prophet;
    if !prophet.prophet_node && prophet.external_etcd.is_empty() {
        let valid = "the client URLs of the Prophet members, because prophet.prophet-node is false; \
                     or set that to true, which makes this node a member";
        return Err(("prophet.external-etcd", "[]".to_owned(), valid.to_owned()));
    }
    let own = bare_address(&prophet.embed_etcd.advertise_peer_urls);
    match prophet.embed_etcd.join.iter().find(|url| bare_address(url) == own) {
        Some(url) if prophet.prophet_node => {
            let valid = "peer URLs of other members, not this node's own; \"\" on the first Prophet node";
            Err(("prophet.embed-etcd.join", quoted(url), valid.to_owned()))
        }
        _ => Ok(()),
    }
}

fn check_services(config: &Config) -> Result<(), Fault> {
    let services = config.services();
    for (index, service) in services.iter().enumerate() {
        check_dialable(service)?;
        for earlier in &services[..index] {
            check_apart(earlier, service)?;
        }
    }
    Ok(())
}

fn check_dialable(service: &Service<'_>) -> Result<(), Fault> {
    match split_address(bare_address(service.advertise)) {
        Some((host, _)) if is_wildcard(host) => {
            let valid = format!("an address that others can dial; {host} can only be bound");
            Err((service.advertise_key, quoted(service.advertise), valid))
        }
        _ => Ok(()),
    }
}

fn check_apart(earlier: &Service<'_>, later: &Service<'_>) -> Result<(), Fault> {
    let taken = |by: &str| format!("an address of its own; {by} has this one");
    if collide(bare_address(earlier.bind), bare_address(later.bind)) {
        return Err((later.bind_key, quoted(later.bind), taken(earlier.bind_key)));
    }
    if bare_address(earlier.advertise) == bare_address(later.advertise) {
        return Err((later.advertise_key, quoted(later.advertise), taken(earlier.advertise_key)));
    }
    Ok(())
}

/// Whether the second could not be bound after the first. A wildcard takes its port on every interface.
fn collide(left: &str, right: &str) -> bool {
    let (Some(left), Some(right)) = (split_address(left), split_address(right)) else {
        return left == right;
    };
    left.1 == right.1 && (left.0 == right.0 || is_wildcard(left.0) || is_wildcard(right.0))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
