//! Prophet's client URL: who the members are and who leads, as plain HTTP with JSON.

use std::time::Duration;

use axum::{
    Router as App,
    extract::State,
    http::{Method, StatusCode},
    response::Response,
    routing::any,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    answers::{Said, json},
    api::{only, unknown_path},
    client::Connection,
};
use crate::{
    config::host_port,
    env::{Env, within},
    types::{ClusterId, NodeToken, ReplicaId},
    wire::MemberInfo,
};

/// What a member knows of Prophet; empty before it belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// The cluster.
    pub cluster: ClusterId,
    /// The leading member; none if not known.
    pub leader: ReplicaId,
    /// All members.
    pub members: Vec<MemberInfo>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DiscoveryJson {
    cluster_id: u64,
    leader: u64,
    members: Vec<MemberJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MemberJson {
    id: u64,
    node: u64,
    name: String,
    peer_address: String,
    client_url: String,
    rpc_address: String,
    voter: bool,
}

/// `GET /members` and `GET /health`.
pub fn discovery(source: watch::Receiver<Discovery>) -> App {
    App::new()
        .route("/members", only(Method::GET, any(members)))
        .route("/health", only(Method::GET, any(health)))
        .fallback(unknown_path)
        .with_state(source)
}

async fn members(State(source): State<watch::Receiver<Discovery>>) -> Response {
    let Discovery { cluster, leader, members } = source.borrow().clone();
    let members = members.into_iter().map(MemberJson::from).collect();
    json(StatusCode::OK, &DiscoveryJson { cluster_id: cluster.0, leader: leader.0, members })
}

/// Healthy is a member that knows who leads.
async fn health(State(source): State<watch::Receiver<Discovery>>) -> Response {
    if source.borrow().leader.is_none() {
        let why = Said { status: "unhealthy", error: "no leader of Prophet is known" };
        return json(StatusCode::SERVICE_UNAVAILABLE, &why);
    }
    json(StatusCode::OK, &Said { status: "healthy", error: "" })
}

/// Asks the member at `url` (`http://host:port`) who the members are.
pub async fn fetch_members<E: Env>(env: &E, url: &str, timeout: Duration) -> Result<Discovery, String> {
    let address = host_port(url).map_err(|error| error.to_string())?;
    let asking = async {
        let mut connection = Connection::open(env, &address).await?;
        connection.request("GET", "/members", &[]).await
    };
    let answer = within(env, timeout, asking).await.ok_or("no answer in time")?.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    let found: DiscoveryJson = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let members = found.members.into_iter().map(MemberInfo::from).collect();
    Ok(Discovery { cluster: ClusterId(found.cluster_id), leader: ReplicaId(found.leader), members })
}

impl From<MemberInfo> for MemberJson {
    fn from(member: MemberInfo) -> MemberJson {
        let MemberInfo { id, node, name, peer_address, client_url, rpc_address, voter } = member;
        MemberJson { id: id.0, node: node.0, name, peer_address, client_url, rpc_address, voter }
    }
}

impl From<MemberJson> for MemberInfo {
    fn from(member: MemberJson) -> MemberInfo {
        let MemberJson { id, node, name, peer_address, client_url, rpc_address, voter } = member;
        MemberInfo { id: ReplicaId(id), node: NodeToken(node), name, peer_address, client_url, rpc_address, voter }
    }
}
