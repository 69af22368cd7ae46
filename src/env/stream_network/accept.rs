//! The accepted side: one task for each bound address, and one for each connection.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Shared,
    connection::{Connection, End},
    lock,
    outbox::Outbox,
};
use crate::env::{Env, Listen, Listener, Via};

/// The pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts at one address for ever.
pub(super) async fn accept<E: Env>(shared: Arc<Shared<E>>, mut listener: E::Listener, listen: Arc<Listen>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => start(&shared, &listen, stream, from),
            Err(error) => pause(&shared, &listen, error).await,
        }
    }
}

async fn pause<E: Env>(shared: &Shared<E>, listen: &Listen, error: io::Error) {
    tracing::warn!(address = listen.address, %error, "cannot accept");
    shared.env.sleep(ACCEPT_PAUSE).await;
}

fn start<E: Env>(shared: &Arc<Shared<E>>, listen: &Arc<Listen>, stream: E::Stream, from: String) {
    let Some(slot) = Slot::take(shared) else {
        tracing::warn!(address = listen.address, from, "too many connections: one more is closed");
        return;
    };
    shared.spawn("accepted", serve(slot, listen.clone(), stream, from));
}

async fn serve<E: Env>(slot: Slot<E>, listen: Arc<Listen>, stream: E::Stream, from: String) {
    let shared = &slot.shared;
    let end = match Connection::accepted(shared, stream, &listen.channels).await {
        Ok(connection) => {
            shared.tell_contact(connection.peer()).await;
            connection.run(shared, &Via::Accepted(slot.number), &slot.outbox).await
        }
        Err(end) => end,
    };
    match end {
        End::Verdict(peer, verdict) => {
            let address = format!("{}, from {from}", listen.address);
            shared.tell_refused(peer, &address, &verdict).await;
        }
        End::Broken(why) => tracing::debug!(address = listen.address, from, why, "an accepted connection ended"),
    }
}

/// One of the connections that may be accepted at once, and the queue of answers to it.
struct Slot<E: Env> {
    shared: Arc<Shared<E>>,
    number: u64,
    outbox: Arc<Outbox>,
}

impl<E: Env> Slot<E> {
    fn take(shared: &Arc<Shared<E>>) -> Option<Self> {
        let mut accepted = lock(&shared.accepted);
        if accepted.len() >= shared.limits.connections_max {
            return None;
        }
        let number = shared.accepted_last.fetch_add(1, Ordering::Relaxed) + 1;
        let outbox = Arc::new(Outbox::new(shared.limits));
        accepted.insert(number, outbox.clone());
        Some(Self { shared: shared.clone(), number, outbox })
    }
}

impl<E: Env> Drop for Slot<E> {
    fn drop(&mut self) {
        lock(&self.shared.accepted).remove(&self.number);
    }
}
