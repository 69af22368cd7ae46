//! What waits to be sent over one connection: bounded by count and bytes, filled from any task, emptied by one.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard},
};

use tokio::sync::Notify;

use crate::{
    env::{
        NetworkLimits,
        link::{ENVELOPE_OVERHEAD_BYTES_MAX, body_bytes},
    },
    wire::Body,
};

/// A queue of bodies. While it is closed it takes nothing.
#[derive(Debug)]
pub(super) struct Outbox {
    limits: NetworkLimits,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bodies: VecDeque<(u64, Body)>,
    bytes: u64,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(limits: NetworkLimits) -> Self {
        Self { limits, waiting: Mutex::default(), filled: Notify::new() }
    }

    /// Queues `body`, or gives it back where it cannot: the queue is full or closed, or no frame can hold it. One that is alone in
    /// the queue may exceed the queue's bytes, so that a big one passes at all.
    #[must_use]
    pub(super) fn push(&self, body: Body) -> Option<Body> {
        let bytes = body_bytes(&body);
        if bytes + ENVELOPE_OVERHEAD_BYTES_MAX > self.limits.frame_bytes_max {
            return Some(body);
        }
        let mut waiting = self.lock();
        if waiting.closed || !waiting.has_room(bytes, &self.limits) {
            return Some(body);
        }
        waiting.bytes += bytes;
        waiting.bodies.push_back((bytes, body));
        drop(waiting);
        self.filled.notify_one();
        None
    }

    /// Resolves once something waits. For one caller at a time.
    pub(super) async fn filled(&self) {
        while self.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().bodies.is_empty()
    }

    /// Takes what waits, from the front, until `bytes_max` is reached.
    pub(super) fn take(&self, bytes_max: u64) -> Vec<Body> {
        let mut waiting = self.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some((size, body)) = waiting.bodies.pop_front() else { break };
            bytes += size;
            taken.push(body);
        }
        waiting.bytes -= bytes;
        taken
    }

    /// Takes nothing from now on, and gives back what waits.
    pub(super) fn close(&self) -> Vec<Body> {
        let waiting = mem::replace(&mut *self.lock(), Waiting { closed: true, ..Waiting::default() });
        waiting.bodies.into_iter().map(|(_, body)| body).collect()
    }

    /// Closes if nothing waits; whether it did.
    pub(super) fn close_if_empty(&self) -> bool {
        let mut waiting = self.lock();
        waiting.closed |= waiting.bodies.is_empty();
        waiting.closed
    }

    /// Takes something again.
    pub(super) fn open(&self) {
        self.lock().closed = false;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder panics")
    }
}

impl Waiting {
    fn has_room(&self, bytes: u64, limits: &NetworkLimits) -> bool {
        self.bodies.is_empty()
            || (self.bodies.len() < limits.queue_messages_max && self.bytes + bytes <= limits.queue_bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{types::CallId, wire::Request};

    fn outbox() -> Outbox {
        Outbox::new(NetworkLimits {
            queue_messages_max: 3,
            queue_bytes_max: 1000,
            frame_bytes_max: 5000,
            events_max: 1,
            connections_max: 1,
        })
    }

    fn body(call: u64) -> Body {
        Body::Request { call: CallId(call), request: Request::Routes }
    }

    fn big(bytes: usize) -> Body {
        let message = vec![0; bytes].into();
        let peer = crate::types::Peer {
            replica: Default::default(),
            store: Default::default(),
            role: crate::types::PeerRole::Voter,
        };
        let (shard, epoch) = (Default::default(), Default::default());
        Body::Raft(crate::wire::RaftMessage { shard, from: peer, to: peer, epoch, range: None, quiet: None, message })
    }

    #[test]
    fn it_is_bounded_by_count() {
        let outbox = outbox();
        assert!((0..3).all(|call| outbox.push(body(call)).is_none()));
        assert_eq!(outbox.push(body(3)), Some(body(3)));
        assert_eq!(outbox.take(u64::MAX), [body(0), body(1), body(2)]);
        assert!(outbox.push(body(4)).is_none());
    }

    #[test]
    fn it_is_bounded_by_bytes_but_for_the_first() {
        let outbox = outbox();
        assert!(outbox.push(big(4000)).is_none());
        assert!(outbox.push(body(1)).is_some());
        assert_eq!(outbox.take(1).len(), 1);
        assert!(outbox.push(big(500)).is_none());
        assert!(outbox.push(big(500)).is_some());
        assert!(outbox.push(big(300)).is_none());
    }

    #[test]
    fn what_fits_into_no_frame_is_given_back() {
        assert!(outbox().push(big(4990)).is_some());
    }

    #[test]
    fn while_closed_it_takes_nothing() {
        let outbox = outbox();
        assert_eq!(outbox.push(body(1)), None);
        assert_eq!(outbox.close(), [body(1)]);
        assert!(outbox.push(body(2)).is_some());
        outbox.open();
        assert!(outbox.push(body(3)).is_none());
        assert_eq!(outbox.take(u64::MAX), [body(3)]);
    }
}
