//! The network over byte streams: every [`Env`] that can listen and connect has it. The server runs it over TCP, and
//! the simulator runs the very same code over its streams.
//!
//! A node dials one connection for each channel and address that it sends to, and answers what came in over accepted
//! ones. A dialled connection is opened when something is to be sent, stays open while it can, and is forgotten after
//! a time in which nobody wanted it back.
//!
//! What becomes of a body:
//! - queued while its peer is being dialled; when that attempt fails, or the connection breaks before the body was
//!   written, it is given back as [`NetworkEvent::Dropped`];
//! - given back at once while the back-off after a failure lasts, or when the queue is full or no frame can hold it;
//! - written, after which [`NetworkEvent::PeerLost`] says that its fate is unknown;
//! - given back means: a [`Body::Request`]. Nobody waits for raft messages and responses; those vanish silently.
//!
//! Invariants:
//! - `send` and `reply` never wait, and nothing that they call does: no caller is part of a deadlock;
//! - what `Dropped` gives back was never written, not even in part;
//! - after `PeerLost` nothing comes in over that connection; it is told after all `Dropped` of that connection, and
//!   before the next one is dialled;
//! - the reader of a connection waits while the node has too many events to handle, and so does the peer's writer
//!   behind it; the writers of this node never wait for its readers, so two nodes cannot block each other;
//! - every task ends when the last handle is dropped, or the receiver of events.
//!
//! Limits, said aloud: one queue of events serves all channels, so a node that is slow to take bulk is slow to take
//! heartbeats. When a node does not take its events, a `Dropped` of its own `send` may be lost as well, which leaves
//! the caller with its time-out. A `reply` to what came in over a dialled connection goes over the one that stands now,
//! perhaps to a later life of the peer; questions are therefore asked over dialled connections alone. No keep-alive is sent: see [`super::link`].

mod accept;
mod connection;
mod dial;
mod outbox;

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicU64},
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    Channel, Env, Identity, Network, NetworkEvent, NetworkLimits, NetworkSetup, Raise, SharedIdentity, Signal, Via,
    link::{BootTable, Stamp, Verdict},
};
use crate::wire::Body;
use outbox::Outbox;

/// How long a connection may take to open, and then the other side's hello to come.
const CONNECT_MAX: Duration = Duration::from_secs(2);
const HELLO_MAX: Duration = Duration::from_secs(2);

/// A network over the byte streams of an [`Env`].
pub struct StreamNetwork<E: Env> {
    shared: Arc<Shared<E>>,
    /// Held by the handles alone: the tasks end when it is dropped.
    _alive: Arc<Raise>,
}

// Derived, it would ask for nothing more, but it would promise nothing about `E` either.
impl<E: Env> Clone for StreamNetwork<E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), _alive: self._alive.clone() }
    }
}

/// What the tasks of a network share.
struct Shared<E: Env> {
    env: E,
    identity: SharedIdentity,
    limits: NetworkLimits,
    stamp: Stamp,
    boots: Mutex<BootTable>,
    dialled: Mutex<BTreeMap<Channel, BTreeMap<String, Arc<Outbox>>>>,
    accepted: Mutex<BTreeMap<u64, Arc<Outbox>>>,
    accepted_last: AtomicU64,
    events: mpsc::Sender<NetworkEvent>,
    /// What `send` could not queue, on its way to `events`: `send` cannot wait until there is room.
    dropped: mpsc::Sender<NetworkEvent>,
    over: Signal,
}

impl<E: Env> StreamNetwork<E> {
    /// Binds every address of `setup` and starts to accept; fails if one cannot be bound.
    pub async fn start(env: E, setup: NetworkSetup) -> io::Result<(Self, mpsc::Receiver<NetworkEvent>)> {
        let Identity { node, boot, .. } = setup.identity.get();
        assert!(!node.is_none() && !boot.is_none(), "a node without a name: no peer would take its hello");
        let mut listeners = Vec::new();
        for listen in &setup.listen {
            listeners.push(env.listen(&listen.address).await?);
        }
        let (events, events_out) = mpsc::channel(setup.limits.events_max);
        let (dropped, dropped_out) = mpsc::channel(setup.limits.events_max);
        let keep_alive = Raise::new();
        let shared = Arc::new(Shared {
            env,
            identity: setup.identity,
            limits: setup.limits,
            stamp: Stamp::default(),
            boots: Mutex::default(),
            dialled: Mutex::default(),
            accepted: Mutex::default(),
            accepted_last: AtomicU64::new(0),
            events,
            dropped,
            over: keep_alive.signal(),
        });
        shared.spawn("dropped envelopes", forward(shared.clone(), dropped_out));
        for (listener, listen) in listeners.into_iter().zip(setup.listen) {
            shared.spawn("accept", accept::accept(shared.clone(), listener, Arc::new(listen)));
        }
        Ok((Self { shared, _alive: Arc::new(keep_alive) }, events_out))
    }
}

impl<E: Env> Network for StreamNetwork<E> {
    fn send(&self, channel: Channel, address: &str, body: Body) {
        if let Some(body) = self.shared.outbox(channel, address).push(body) {
            self.shared.drop_now(channel, address, body);
        }
    }

    fn reply(&self, via: &Via, body: Body) {
        match via {
            Via::Dialled { channel, address } => self.send(*channel, address, body),
            Via::Accepted(number) => {
                let outbox = lock(&self.shared.accepted).get(number).cloned();
                if outbox.is_none_or(|outbox| outbox.push(body).is_some()) {
                    tracing::debug!(number, "an answer is dropped: the connection is gone or full");
                }
            }
        }
    }
}

impl<E: Env> Shared<E> {
    /// Runs `task` until it ends, or the network does.
    fn spawn(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (over, events) = (self.over.clone(), self.events.clone());
        self.env.spawn(name, async move {
            tokio::select! {
                biased;
                // Nothing is ever sent: it resolves when the last handle is gone.
                () = over.raised() => {}
                () = events.closed() => {}
                () = task => {}
            }
        });
    }

    /// The queue to a peer, with a task that empties it.
    fn outbox(self: &Arc<Self>, channel: Channel, address: &str) -> Arc<Outbox> {
        let mut dialled = lock(&self.dialled);
        let peers = dialled.entry(channel).or_default();
        if let Some(outbox) = peers.get(address) {
            return outbox.clone();
        }
        let outbox = Arc::new(Outbox::new(self.limits));
        peers.insert(address.to_owned(), outbox.clone());
        drop(dialled);
        let peer = dial::Peer { shared: self.clone(), channel, address: address.to_owned(), outbox: outbox.clone() };
        self.spawn("dial", peer.run());
        outbox
    }

    /// Tells the node. Waits until it has room; if it is gone, this task is about to end as well.
    async fn tell(&self, event: NetworkEvent) {
        let _ = self.events.send(event).await;
    }

    /// Tells the node that `body` was never sent, from a place that cannot wait.
    fn drop_now(&self, channel: Channel, address: &str, body: Body) {
        if let Some(event) = dropped(channel, address, body)
            && self.dropped.try_send(event).is_err()
        {
            tracing::warn!(?channel, address, "a request is dropped, and the node is too slow to hear of it");
        }
    }

    /// Tells the node of a cluster, while it has none.
    async fn tell_contact(&self, peer: Identity) {
        if !peer.cluster.is_none() && self.identity.get().cluster.is_none() {
            self.tell(NetworkEvent::Contact { peer }).await;
        }
    }

    /// Tells the node of a refusal, whoever refused.
    async fn tell_refused(&self, peer: Option<Identity>, address: &str, verdict: &Verdict) {
        let why = match verdict {
            Verdict::Refuse(refusal) => refusal.to_string(),
            Verdict::Refused(why) => format!("the other side refused: {why}"),
        };
        self.tell(NetworkEvent::Refused { peer, address: address.to_owned(), why }).await;
    }
}

/// The event for a body that was never sent, where somebody waits for an answer.
fn dropped(channel: Channel, address: &str, body: Body) -> Option<NetworkEvent> {
    match body {
        Body::Request { .. } => Some(NetworkEvent::Dropped { channel, address: address.to_owned(), body }),
        _ => None,
    }
}

async fn forward<E: Env>(shared: Arc<Shared<E>>, mut dropped: mpsc::Receiver<NetworkEvent>) {
    while let Some(event) = dropped.recv().await {
        shared.tell(event).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}
