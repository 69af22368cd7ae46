//! The JSON that is answered, field by field in the order of the specification.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::Response,
};
use serde::Serialize;

use super::ask::ApiError;
use crate::{
    client::{Answer, ClusterStatus, Failure},
    types::{Peer, PeerRole, ReplicaId, ShardRoute, StoreId},
};

#[derive(Serialize)]
struct Written<'a> {
    key: &'a str,
    error: &'a str,
}

#[derive(Serialize)]
struct Read<'a> {
    key: &'a str,
    value: &'a str,
    error: &'a str,
    found: bool,
}

/// `/health` and `/ready`.
#[derive(Serialize)]
pub(super) struct Said<'a> {
    pub status: &'a str,
    pub error: &'a str,
}

/// `/version`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Version {
    version: &'static str,
    wire: u8,
    data_format: u64,
}

impl Version {
    pub fn here() -> Version {
        let (wire, data_format) = (crate::wire::VERSION, crate::engine::FORMAT_VERSION);
        Version { version: env!("CARGO_PKG_VERSION"), wire, data_format }
    }
}

/// `/shards`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Shards {
    store_id: u64,
    /// `null` where there are none.
    shards: Option<Vec<ShardView>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ShardView {
    shard_id: u64,
    replicas: Vec<ReplicaView>,
    /// Bytes that are not UTF-8 are shown as replacement characters; an empty end is the end of the key space.
    range: RangeView,
    epoch: EpochView,
    term: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ReplicaView {
    replica_id: u64,
    store_id: u64,
    role: &'static str,
    learner: bool,
    /// Whether it is out of service, and is to be replaced.
    quarantined: bool,
}

#[derive(Serialize)]
struct RangeView {
    start: String,
    end: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct EpochView {
    conf_ver: u64,
    version: u64,
}

impl Shards {
    pub fn new(store: StoreId, routes: Vec<ShardRoute>, quarantined: &BTreeSet<ReplicaId>) -> Shards {
        let views: Vec<_> = routes.iter().map(|route| ShardView::new(route, quarantined)).collect();
        Shards { store_id: store.0, shards: (!views.is_empty()).then_some(views) }
    }
}

impl ShardView {
    fn new(ShardRoute { shard, leader, term }: &ShardRoute, quarantined: &BTreeSet<ReplicaId>) -> ShardView {
        let leads = |peer: &Peer| leader.is_some_and(|leader| leader.replica == peer.replica);
        let replica = |peer: &Peer| ReplicaView {
            replica_id: peer.replica.0,
            store_id: peer.store.0,
            role: if leads(peer) { "L" } else { "F" },
            learner: peer.role == PeerRole::Learner,
            quarantined: quarantined.contains(&peer.replica),
        };
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        ShardView {
            shard_id: shard.id.0,
            replicas: shard.peers.iter().map(replica).collect(),
            range: RangeView { start: text(&shard.range.start), end: text(&shard.range.end) },
            epoch: EpochView { conf_ver: shard.epoch.conf_ver, version: shard.epoch.version },
            term: *term,
        }
    }
}

/// `/stores`.
#[derive(Serialize)]
pub(super) struct Stores {
    /// False if Prophet does not answer: then this is what was heard last.
    fresh: bool,
    stores: Vec<StoreView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct StoreView {
    store_id: u64,
    raft_address: String,
    client_address: String,
    labels: Vec<(String, String)>,
    capacity: u64,
    available: u64,
    shard_count: u64,
    leader_count: u64,
    state: &'static str,
    /// `null` if Prophet's leader has not heard of it since it leads.
    last_heartbeat_ms_ago: Option<u64>,
}

impl Stores {
    pub fn new(status: &ClusterStatus) -> Stores {
        let view = |store: &crate::wire::StoreInfo| StoreView {
            store_id: store.id.0,
            raft_address: store.raft_address.clone(),
            client_address: store.client_address.clone(),
            labels: store.labels.clone(),
            capacity: store.capacity,
            available: store.available,
            shard_count: store.shard_count,
            leader_count: store.leader_count,
            state: store.state.name(),
            last_heartbeat_ms_ago: store.heard_ms_ago,
        };
        Stores { fresh: status.fresh, stores: status.stores.iter().map(view).collect() }
    }
}

/// `/prophet`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Prophet {
    fresh: bool,
    cluster_id: u64,
    /// The leading member's id; zero if it is not known.
    leader: u64,
    members: Vec<MemberView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MemberView {
    id: u64,
    name: String,
    peer_address: String,
    client_url: String,
    rpc_address: String,
    voter: bool,
}

impl Prophet {
    pub fn new(status: &ClusterStatus) -> Prophet {
        let view = |member: &crate::wire::MemberInfo| MemberView {
            id: member.id.0,
            name: member.name.clone(),
            peer_address: member.peer_address.clone(),
            client_url: member.client_url.clone(),
            rpc_address: member.rpc_address.clone(),
            voter: member.voter,
        };
        let members = status.members.iter().map(view).collect();
        Prophet { fresh: status.fresh, cluster_id: status.cluster.0, leader: status.leader.0, members }
    }
}

/// The answer to a data request.
pub(super) fn data(key: &str, result: Result<Answer, Failure>, is_read: bool) -> Response {
    match result {
        Ok(Answer::Value(Some(value))) => match std::str::from_utf8(&value) {
            Ok(value) => json(StatusCode::OK, &Read { key, value, error: "", found: true }),
            Err(_) => {
                failed(key, StatusCode::SERVICE_UNAVAILABLE, "the value is not UTF-8: JSON cannot carry it", true)
            }
        },
        Ok(Answer::Value(None)) => json(StatusCode::OK, &Read { key, value: "", error: "", found: false }),
        Ok(Answer::Written | Answer::Rows { .. }) => json(StatusCode::OK, &Written { key, error: "" }),
        Err(Failure::Invalid(why)) => failed(key, StatusCode::BAD_REQUEST, &why, is_read),
        Err(Failure::NotNow(why)) => failed(key, StatusCode::SERVICE_UNAVAILABLE, &why, is_read),
        Err(Failure::Unknown(why)) => failed(key, StatusCode::GATEWAY_TIMEOUT, &why, is_read),
    }
}

fn failed(key: &str, status: StatusCode, error: &str, is_read: bool) -> Response {
    if is_read {
        json(status, &Read { key, value: "", error, found: false })
    } else {
        json(status, &Written { key, error })
    }
}

/// An error of anything but a read.
pub(super) fn plain_error(error: &ApiError) -> Response {
    failed(&error.key, error.status, &error.error, false)
}

/// An error of a read, which has a value and whether it was found all the same.
pub(super) fn get_error(error: &ApiError) -> Response {
    failed(&error.key, error.status, &error.error, true)
}

/// Any answer.
pub(super) fn json<T: Serialize>(status: StatusCode, answer: &T) -> Response {
    let body = serde_json::to_vec(answer).expect("our answers are JSON");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
