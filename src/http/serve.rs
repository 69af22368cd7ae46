//! The accept loop, and one connection.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use futures_util::future::{Either, select};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};

use super::timer::EnvTimer;
use crate::{
    config::Limits,
    env::{Env, Listener, within},
    node::Stop,
};

/// How long a stopping server waits for requests in flight.
const GRACE: Duration = Duration::from_secs(3);
/// Pause after a failed accept: out of file descriptors, for one, passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between looks at whether the last connection is done.
const POLL: Duration = Duration::from_millis(10);
/// hyper takes no smaller buffer.
const BUFFER_MIN: usize = 8192;

/// One connection less when it ends, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves `app` until `stop` says so; then requests in flight are answered, for a bounded time. A connection over
/// `connections-max` is closed at once.
pub async fn serve<E: Env>(env: E, mut listener: E::Listener, app: Router, limits: Limits, stop: Stop) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = match select(pin!(listener.accept()), pin!(stop.raised())).await {
            Either::Left((accepted, _)) => accepted,
            Either::Right(_) => break,
        };
        let Ok((stream, from)) = accepted else {
            env.sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if open.load(Ordering::Relaxed) >= limits.connections_max {
            tracing::warn!(from, "too many connections; this one is closed");
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(open.clone());
        let connection = connection(env.clone(), stream, app.clone(), limits.clone(), stop.clone());
        env.spawn("http connection", async move {
            connection.await;
            drop(counted);
        });
    }
    drop(listener);
    let drained = async {
        while open.load(Ordering::Relaxed) > 0 {
            env.sleep(POLL).await;
        }
    };
    within(&env, GRACE, drained).await;
}

async fn connection<E: Env>(env: E, stream: E::Stream, app: Router, limits: Limits, stop: Stop) {
    let connection = http1::Builder::new()
        .timer(EnvTimer(env))
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER_MIN))
        // The date is a clock's, and nobody needs it.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    let ended = match select(connection.as_mut(), pin!(stop.raised())).await {
        Either::Left((ended, _)) => ended,
        Either::Right(_) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
