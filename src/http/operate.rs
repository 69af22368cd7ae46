//! What operators ask for and look at: splits, scans, Prophet's operators.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use serde::{Deserialize, Serialize};

use super::{
    answers::{data, json, plain_error},
    api::{Api, Shared},
    ask::{self, ApiError},
};
use crate::{
    client::{Answer, Failure},
    env::Env,
    types::{KeyRange, ShardId, StoreId},
    wire::{AdminRequest, Decision, OperatorInfo, ProphetReply, ProphetRequest},
};

/// Rows of one answer to a scan, if nobody says how many.
const SCAN_ROWS: usize = 100;
/// Rows of one answer to a scan at the most.
const SCAN_ROWS_MAX: usize = 10_000;
/// Bytes of keys and values of one answer to a scan, about.
const SCAN_BYTES_MAX: usize = 1 << 20;

/// `POST /split {"key": ...}`: the key becomes the first one of a new shard.
pub(super) async fn split<E: Env>(State(api): Shared<E>, body: Body) -> Response {
    let asked = ask::read_body(&api.env, body, &api.limits).await.and_then(|body| ask::split(&body, &api.limits));
    match asked {
        Err(error) => plain_error(&error),
        Ok((key, op)) => data(&key, api.router.execute(op).await, false),
    }
}

#[derive(Serialize)]
struct Scanned {
    rows: Vec<Row>,
    /// Where to go on; `null` at the end.
    next: Option<String>,
    error: String,
}

#[derive(Serialize)]
struct Row {
    key: String,
    value: String,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `GET /scan?start=&end=&limit=`.
pub(super) async fn scan<E: Env>(State(api): Shared<E>, uri: Uri) -> Response {
    let (range, rows_max) = match scan_range(&uri, &api) {
        Ok(asked) => asked,
        Err(error) => return plain_error(&error),
    };
    match api.router.scan(range, rows_max, SCAN_BYTES_MAX).await {
        Ok(Answer::Rows { rows, next }) => {
            let rows = rows.iter().map(|(key, value)| Row { key: text(key), value: text(value) }).collect();
            let next = next.map(|next| text(&next));
            json(StatusCode::OK, &Scanned { rows, next, error: String::new() })
        }
        Ok(_) => refused(&Failure::NotNow("a scan was answered with something else".into())),
        Err(failure) => refused(&failure),
    }
}

fn scan_range<E: Env>(uri: &Uri, api: &Api<E>) -> Result<(KeyRange, usize), ApiError> {
    let (mut range, mut rows_max) = (KeyRange::all(), SCAN_ROWS);
    for (name, value) in ask::query(uri)? {
        match name.as_str() {
            "start" => range.start = value.into_bytes(),
            "end" => range.end = value.into_bytes(),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=SCAN_ROWS_MAX).contains(limit));
                let why = || ApiError::bad("", format!("limit={value}: 1 to {SCAN_ROWS_MAX} are valid"));
                rows_max = limit.ok_or_else(why)?;
            }
            other => {
                let why = format!("unknown parameter {other:?}; /scan takes start, end and limit");
                return Err(ApiError::bad("", why));
            }
        }
    }
    let max = api.limits.key_bytes_max;
    if range.start.len() > max || range.end.len() > max {
        return Err(ApiError::bad("", format!("start and end: 0 to {max} bytes are valid")));
    }
    if !range.end.is_empty() && range.end <= range.start {
        return Err(ApiError::bad("", "end: must come after start; an empty end is the end of all keys"));
    }
    Ok((range, rows_max))
}

fn refused(failure: &Failure) -> Response {
    let status = match failure {
        Failure::Invalid(_) => StatusCode::BAD_REQUEST,
        Failure::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Unknown(_) => StatusCode::GATEWAY_TIMEOUT,
    };
    plain_error(&ApiError::new(status, "", failure.to_string()))
}

#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
enum Admin {
    TransferLeader { shard: u64, store: u64 },
    AddReplica { shard: u64, store: u64 },
    RemoveReplica { shard: u64, store: u64 },
    Drain { store: u64 },
    Undrain { store: u64 },
    RemoveStore { store: u64 },
}

impl From<Admin> for AdminRequest {
    fn from(admin: Admin) -> AdminRequest {
        match admin {
            Admin::TransferLeader { shard, store } => AdminRequest::TransferLeader(ShardId(shard), StoreId(store)),
            Admin::AddReplica { shard, store } => AdminRequest::AddReplica(ShardId(shard), StoreId(store)),
            Admin::RemoveReplica { shard, store } => AdminRequest::RemoveReplica(ShardId(shard), StoreId(store)),
            Admin::Drain { store } => AdminRequest::Drain(StoreId(store)),
            Admin::Undrain { store } => AdminRequest::Undrain(StoreId(store)),
            Admin::RemoveStore { store } => AdminRequest::RemoveStore(StoreId(store)),
        }
    }
}

#[derive(Serialize)]
struct Done {
    error: String,
}

/// `POST /operators`: what an operator wants of Prophet. 200 says that it is decided and begins.
pub(super) async fn admin<E: Env>(api: Arc<Api<E>>, body: Body) -> Response {
    let body = match ask::read_body(&api.env, body, &api.limits).await {
        Ok(body) => body,
        Err(error) => return plain_error(&error),
    };
    let admin: Admin = match serde_json::from_slice(&body) {
        Ok(admin) => admin,
        Err(error) => return plain_error(&ApiError::bad("", format!("the body is no command: {error}"))),
    };
    match api.router.ask_prophet_for(ProphetRequest::Admin(admin.into())).await {
        Ok(ProphetReply::Accepted) => json(StatusCode::OK, &Done { error: String::new() }),
        Ok(_) => refused(&Failure::NotNow("Prophet answered something else".into())),
        Err(failure) => refused(&failure),
    }
}

#[derive(Serialize)]
struct Operators {
    running: Vec<OperatorInfo>,
    recent: Vec<OperatorInfo>,
    decisions: Vec<Decision>,
    total: u64,
}

/// `GET /operators`: under way, and ended lately; and what was decided about stores.
pub(super) async fn operators<E: Env>(api: Arc<Api<E>>) -> Response {
    match api.router.ask_prophet_for(ProphetRequest::Operators).await {
        Ok(ProphetReply::Operators { running, recent, decisions, total }) => {
            json(StatusCode::OK, &Operators { running, recent, decisions, total })
        }
        Ok(_) => refused(&Failure::NotNow("Prophet answered something else".into())),
        Err(failure) => refused(&failure),
    }
}

#[derive(Serialize)]
struct Explained {
    explanation: Vec<String>,
    error: String,
}

/// `GET /explain?shard=ID`: why the shard is as it is, and why it is not being moved.
pub(super) async fn explain<E: Env>(State(api): Shared<E>, uri: Uri) -> Response {
    let shard = match ask::shard_id(&uri) {
        Ok(shard) => shard,
        Err(error) => return plain_error(&error),
    };
    match api.router.ask_prophet_for(ProphetRequest::Explain(shard)).await {
        Ok(ProphetReply::Explained(explanation)) => {
            json(StatusCode::OK, &Explained { explanation, error: String::new() })
        }
        Ok(_) => refused(&Failure::NotNow("Prophet answered something else".into())),
        Err(failure) => refused(&failure),
    }
}
