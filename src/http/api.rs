//! The API's paths.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router as App,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{MethodRouter, any},
};

use super::{
    answers::{self, data, get_error, json, plain_error},
    ask::{self, ApiError},
    operate,
};
use crate::{client::Router, config::Limits, env::Env, wire::Op};

/// What every handler has.
pub(super) struct Api<E: Env> {
    pub env: E,
    pub router: Router<E>,
    pub limits: Limits,
    in_flight: AtomicUsize,
}

pub(super) type Shared<E> = State<Arc<Api<E>>>;

/// The API over `router`.
pub fn api<E: Env>(env: E, router: Router<E>, limits: &Limits) -> App {
    let api = Arc::new(Api { env, router, limits: limits.clone(), in_flight: AtomicUsize::new(0) });
    App::new()
        .route("/set", only(Method::POST, any(set::<E>)))
        .route("/get", only(Method::GET, any(get::<E>)))
        .route("/delete", only(Method::POST, any(delete::<E>)))
        .route("/scan", only(Method::GET, any(operate::scan::<E>)))
        .route("/split", only(Method::POST, any(operate::split::<E>)))
        .route("/operators", any(operators::<E>))
        .route("/explain", only(Method::GET, any(operate::explain::<E>)))
        .route("/shards", only(Method::GET, any(shards::<E>)))
        .route("/stores", only(Method::GET, any(stores::<E>)))
        .route("/prophet", only(Method::GET, any(prophet::<E>)))
        .route("/health", only(Method::GET, any(health)))
        .route("/ready", only(Method::GET, any(ready::<E>)))
        .route("/version", only(Method::GET, any(version)))
        .fallback(unknown_path)
        .with_state(api)
}

/// The path takes `method` alone; any other one is told so.
pub(super) fn only<S: Clone + Send + Sync + 'static>(method: Method, handler: MethodRouter<S>) -> MethodRouter<S> {
    handler.layer(axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| {
        let method = method.clone();
        async move {
            if request.method() == method {
                return next.run(request).await;
            }
            let why = format!("{} {}: this path takes {method}", request.method(), request.uri().path());
            let answer = plain_error(&ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "", why));
            ([("allow", method.as_str())], answer).into_response()
        }
    }))
}

pub(super) async fn unknown_path(uri: Uri) -> Response {
    plain_error(&ApiError::new(StatusCode::NOT_FOUND, "", format!("there is no path {}", uri.path())))
}

async fn set<E: Env>(State(api): Shared<E>, body: Body) -> Response {
    let asked = ask::read_body(&api.env, body, &api.limits).await.and_then(|body| ask::set(&body, &api.limits));
    write(&api, asked).await
}

async fn delete<E: Env>(State(api): Shared<E>, body: Body) -> Response {
    let asked = ask::read_body(&api.env, body, &api.limits).await.and_then(|body| ask::delete(&body, &api.limits));
    write(&api, asked).await
}

async fn write<E: Env>(api: &Api<E>, asked: Result<(String, Op), ApiError>) -> Response {
    match asked {
        Err(error) => plain_error(&error),
        Ok((key, op)) => match api.admit(&key) {
            Err(error) => plain_error(&error),
            Ok(_one) => data(&key, api.router.execute(op).await, false),
        },
    }
}

async fn get<E: Env>(State(api): Shared<E>, uri: Uri) -> Response {
    match ask::get(&uri, &api.limits) {
        Err(error) => get_error(&error),
        Ok((key, op)) => match api.admit(&key) {
            Err(error) => get_error(&error),
            Ok(_one) => data(&key, api.router.execute(op).await, true),
        },
    }
}

async fn shards<E: Env>(State(api): Shared<E>, uri: Uri) -> Response {
    match ask::is_local(&uri) {
        Err(error) => plain_error(&error),
        Ok(true) => {
            let store = api.router.store();
            let (routes, quarantined) = api.router.local().await;
            json(StatusCode::OK, &answers::Shards::new(store, routes, &quarantined))
        }
        Ok(false) => {
            let status = api.router.status().await;
            json(StatusCode::OK, &answers::Shards::new(status.store, status.routes, &status.quarantined))
        }
    }
}

async fn operators<E: Env>(State(api): Shared<E>, method: Method, body: Body) -> Response {
    match method {
        Method::GET => operate::operators(api).await,
        Method::POST => operate::admin(api, body).await,
        other => {
            let why = format!("{other} /operators: this path takes GET and POST");
            let answer = plain_error(&ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "", why));
            ([("allow", "GET, POST")], answer).into_response()
        }
    }
}

async fn stores<E: Env>(State(api): Shared<E>) -> Response {
    json(StatusCode::OK, &answers::Stores::new(&api.router.status().await))
}

async fn prophet<E: Env>(State(api): Shared<E>) -> Response {
    json(StatusCode::OK, &answers::Prophet::new(&api.router.status().await))
}

async fn health() -> Response {
    json(StatusCode::OK, &answers::Said { status: "ok", error: "" })
}

async fn ready<E: Env>(State(api): Shared<E>) -> Response {
    match api.router.ready().await {
        Ok(()) => json(StatusCode::OK, &answers::Said { status: "ready", error: "" }),
        Err(why) => json(StatusCode::SERVICE_UNAVAILABLE, &answers::Said { status: "not ready", error: &why }),
    }
}

async fn version() -> Response {
    json(StatusCode::OK, &answers::Version::here())
}

/// A request in flight, until it is dropped.
struct One<'a>(&'a AtomicUsize);

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<E: Env> Api<E> {
    fn admit(&self, key: &str) -> Result<One<'_>, ApiError> {
        let one = One(&self.in_flight);
        let max = self.limits.requests_in_flight_max;
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < max {
            return Ok(one);
        }
        let why = format!("overloaded: {max} requests are in flight (limits.requests-in-flight-max)");
        Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, key, why))
    }
}
