//! The dialled side: one task for each channel and address that this node sends to.

use std::{sync::Arc, time::Duration};

use super::{
    CONNECT_MAX, Shared, connection,
    connection::{Connection, End},
    dropped, lock,
    outbox::Outbox,
};
use crate::{
    env::{Channel, Env, NetworkEvent, Via, within},
    types::Rng,
};

/// Pauses after a failure: the first, and the longest after more of them.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A peer that is not connected is forgotten when nothing was to be sent for this long.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// A peer that this node sends to.
pub(super) struct Peer<E: Env> {
    pub(super) shared: Arc<Shared<E>>,
    pub(super) channel: Channel,
    pub(super) address: String,
    pub(super) outbox: Arc<Outbox>,
}

impl<E: Env> Peer<E> {
    /// Connects whenever something waits, until the peer is forgotten.
    pub(super) async fn run(self) {
        let mut rng = self.shared.env.rng();
        let mut failures = 0;
        while self.wanted().await {
            failures = match self.connect().await {
                Ok(connection) => {
                    self.serve(connection).await;
                    0
                }
                Err(end) => {
                    self.fail(end).await;
                    failures + 1
                }
            };
            self.shared.env.sleep(backoff(&mut rng, failures)).await;
            self.outbox.open();
        }
    }

    /// Resolves once something waits to be sent; `false` if this peer is forgotten instead.
    async fn wanted(&self) -> bool {
        loop {
            if within(&self.shared.env, FORGET_AFTER, self.outbox.filled()).await.is_some() {
                return true;
            }
            if self.forget() {
                return false;
            }
        }
    }

    /// Forgets this peer unless something waits by now. Whoever still holds the queue finds it closed.
    fn forget(&self) -> bool {
        let mut dialled = lock(&self.shared.dialled);
        if !self.outbox.close_if_empty() {
            return false;
        }
        dialled.get_mut(&self.channel).and_then(|peers| peers.remove(&self.address));
        true
    }

    async fn connect(&self) -> Result<Connection<E>, End> {
        let connect = within(&self.shared.env, CONNECT_MAX, self.shared.env.connect(&self.address));
        let stream = connect.await.ok_or_else(connection::too_slow)??;
        Connection::dialled(&self.shared, stream, self.channel).await
    }

    async fn serve(&self, connection: Connection<E>) {
        let (channel, address) = (self.channel, self.address.clone());
        let peer = connection.peer();
        self.shared.tell(NetworkEvent::PeerUp { channel, address: address.clone(), peer }).await;
        self.shared.tell_contact(peer).await;
        let via = Via::Dialled { channel, address: address.clone() };
        let end = connection.run(&self.shared, &via, &self.outbox).await;
        self.fail(end).await;
        self.shared.tell(NetworkEvent::PeerLost { channel, address }).await;
    }

    /// Gives back what was not sent, and says why if somebody refused.
    async fn fail(&self, end: End) {
        for event in self.outbox.close().into_iter().filter_map(|body| dropped(self.channel, &self.address, body)) {
            self.shared.tell(event).await;
        }
        match end {
            End::Verdict(peer, verdict) => self.shared.tell_refused(peer, &self.address, &verdict).await,
            End::Broken(why) => {
                tracing::debug!(channel = ?self.channel, address = self.address, why, "not connected");
            }
        }
    }
}

fn backoff(rng: &mut Rng, failures: u32) -> Duration {
    rng.jitter((BACKOFF_MIN * (1 << failures.saturating_sub(1).min(10))).min(BACKOFF_MAX))
}
