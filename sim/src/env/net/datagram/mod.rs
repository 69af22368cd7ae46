//! Envelopes as datagrams: the network of a node where it does not run the real one over byte streams. It keeps the same
//! promises (see `matrixkv::env::stream_network`) and the same checks (`matrixkv::env::link`), and breaks more of what
//! nobody promised: envelopes are lost, doubled and overtaken one by one.
//!
//! A node that sends to an address opens a session: it says hello until it is welcomed, refused or out of patience.
//!
//! What becomes of a body:
//! - queued while its peer is being called; when that fails it is given back as `Dropped`;
//! - given back at once while the back-off after a failure lasts, or when the queue is full or no frame can hold it;
//! - sent, and then at the mercy of the link; `PeerLost` says that nothing more comes over that session.
//!
//! Invariants:
//! - every envelope is encoded when it is sent and decoded when it arrives, and goes with the identity that its sender
//!   has at that moment, which is judged as the hello was;
//! - an envelope for a session or a life that is over is never handed up: it is answered with a reset;
//! - `Dropped` gives back what was never sent; `PeerLost` comes after all `Dropped` of its session.

mod accept;
mod dial;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use bytes::Bytes;
use matrixkv::{
    env::{
        Channel, Identity, Network, NetworkEvent, NetworkLimits, NetworkSetup, SharedIdentity, Via,
        link::{BootTable, Hello, Stamp},
    },
    types::{Boot, Rng},
    wire::{self, Body, Envelope},
};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use self::{accept::Guest, dial::Session};
use super::{
    Net,
    fabric::{Fabric, Socket},
};
use crate::env::film;

/// A network of datagrams. Cheap to clone; with the last clone it ends.
#[derive(Clone)]
pub struct SimNetwork(Arc<Handle>);

struct Handle {
    net: Net,
    endpoint: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.net.with(|fabric, now| fabric.close_endpoint(now, self.endpoint));
    }
}

/// The network of one life of a node.
pub(super) struct Endpoint {
    node: usize,
    identity: SharedIdentity,
    limits: NetworkLimits,
    events: mpsc::Sender<NetworkEvent>,
    boots: BootTable,
    stamp: Stamp,
    rng: Rng,
    sessions: BTreeMap<(Channel, String), Session>,
    /// Which session has this number.
    called: BTreeMap<u64, (Channel, String)>,
    guests: BTreeMap<u64, Guest>,
    /// Which guest is the session of an endpoint.
    guest_of: BTreeMap<(u64, u64), u64>,
}

/// A datagram.
#[derive(Clone)]
pub(super) struct Packet {
    from: usize,
    to: Destination,
    /// The session that it belongs to, and the endpoint that opened it.
    session: (u64, u64),
    said: Said,
}

#[derive(Clone, Copy)]
enum Destination {
    /// Whoever is bound there.
    Address(usize, u16),
    /// Back to the endpoint that opened the session, on this node.
    Caller(usize),
}

#[derive(Clone)]
enum Said {
    Hello(Hello),
    /// The hello of who took the call, and its endpoint.
    Welcome(Hello, u64),
    /// Who sends it, as of then, and the envelope's encoding.
    Envelope(Hello, Bytes),
    Refusal(String),
    /// Nobody here knows this session.
    Reset,
    /// The session ends.
    Farewell,
}

impl Packet {
    pub(super) fn bytes(&self) -> u64 {
        match &self.said {
            Said::Envelope(_, bytes) => bytes.len() as u64,
            _ => 0,
        }
    }

    /// What it is, for a film.
    pub(super) fn said(&self) -> film::Said {
        match &self.said {
            Said::Envelope(_, bytes) => film::Said::Envelope(bytes.clone()),
            Said::Hello(_) => film::Said::Handshake("hello"),
            Said::Welcome(..) => film::Said::Handshake("welcome"),
            Said::Refusal(_) => film::Said::Handshake("refusal"),
            Said::Reset => film::Said::Handshake("reset"),
            Said::Farewell => film::Said::Handshake("farewell"),
        }
    }

    /// What tells two packets apart in the trace.
    pub(super) fn digest(&self) -> u64 {
        match &self.said {
            Said::Envelope(_, bytes) => xxh3_64(bytes),
            said => match said {
                Said::Hello(_) => 1,
                Said::Welcome(..) => 2,
                Said::Refusal(_) => 3,
                Said::Reset => 4,
                _ => 5,
            },
        }
    }
}

impl SimNetwork {
    /// Binds every address of `setup` on `node`, or fails naming the one that cannot be bound.
    pub(in crate::env) fn start(
        net: &Net,
        node: usize,
        setup: NetworkSetup,
    ) -> io::Result<(Self, mpsc::Receiver<NetworkEvent>)> {
        let Identity { node: token, boot, .. } = setup.identity.get();
        assert!(!token.is_none() && !boot.is_none(), "a node without a name: no peer would take its hello");
        // Half of it is kept for events that are not messages.
        let (events, events_out) = mpsc::channel(setup.limits.events_max * 2);
        let endpoint = net.with(|fabric, _| fabric.open_endpoint(node, setup, events))?;
        Ok((SimNetwork(Arc::new(Handle { net: net.clone(), endpoint })), events_out))
    }
}

impl Network for SimNetwork {
    fn send(&self, channel: Channel, address: &str, body: Body) {
        self.0.net.with(|fabric, now| fabric.send(now, self.0.endpoint, channel, address, body));
    }

    fn reply(&self, via: &Via, body: Body) {
        match via {
            Via::Dialled { channel, address } => self.send(*channel, address, body),
            Via::Accepted(guest) => self.0.net.with(|fabric, now| fabric.answer(now, self.0.endpoint, *guest, body)),
        }
    }
}

impl Fabric {
    fn open_endpoint(
        &mut self,
        node: usize,
        setup: NetworkSetup,
        events: mpsc::Sender<NetworkEvent>,
    ) -> io::Result<u64> {
        let endpoint = self.id();
        for listen in &setup.listen {
            let socket = Socket::Datagrams { endpoint, channels: listen.channels.clone() };
            self.bind(node, &listen.address, socket).inspect_err(|_| self.unbind_datagrams(endpoint))?;
        }
        // Nobody else would tell those who had an earlier life as their guest.
        self.forget_guests(|_, guest| guest == node);
        let rng = self.dice(node);
        self.endpoints.insert(endpoint, Endpoint::new(node, setup, events, rng));
        Ok(endpoint)
    }

    fn unbind_datagrams(&mut self, number: u64) {
        self.sockets.retain(|_, socket| !matches!(socket, Socket::Datagrams { endpoint, .. } if *endpoint == number));
    }

    /// Its process is over, and its machine tells the peers.
    fn close_endpoint(&mut self, now: u64, number: u64) {
        let Some(endpoint) = self.endpoints.remove(&number) else { return };
        self.unbind_datagrams(number);
        for (key, session) in &endpoint.sessions {
            self.end_session(now, number, endpoint.node, session, &key.1);
        }
        for guest in endpoint.guests.values() {
            self.speak_back(now, endpoint.node, guest, Said::Reset);
        }
    }

    pub(super) fn close_endpoints(&mut self, now: u64, node: usize) {
        self.endpoints_of(node).into_iter().for_each(|endpoint| self.close_endpoint(now, endpoint));
    }

    /// Its machine lost power.
    pub(super) fn forget_endpoints(&mut self, node: usize) {
        self.endpoints.retain(|_, endpoint| endpoint.node != node);
    }

    fn endpoints_of(&self, node: usize) -> Vec<u64> {
        self.endpoints.iter().filter(|(_, endpoint)| endpoint.node == node).map(|(number, _)| *number).collect()
    }

    pub(super) fn packet_arrives(&mut self, now: u64, packet: Packet) {
        let (Destination::Address(node, _) | Destination::Caller(node)) = packet.to;
        self.trace.note(now, node, "<- node{}, session {}", [packet.from as u64, packet.session.1]);
        match packet.to {
            Destination::Address(node, port) => self.arrives_at_door(now, node, port, packet),
            Destination::Caller(node) => self.arrives_at_caller(now, node, packet),
        }
    }

    /// Hands an event up. Of what does not fit, messages are lost as on any full socket.
    fn tell(&mut self, endpoint: u64, event: NetworkEvent) {
        let Some(found) = self.endpoints.get(&endpoint) else { return };
        let message = matches!(event, NetworkEvent::Message { .. });
        let full = message && found.events.capacity() <= found.limits.events_max;
        if full || found.events.try_send(event).is_err() {
            self.counters.overflowed += 1;
        } else if message {
            self.counters.delivered += 1;
        }
    }

    /// Tells a node of a cluster, while it has none.
    fn tell_contact(&mut self, endpoint: u64, peer: Identity) {
        let lonely = self.endpoints.get(&endpoint).is_some_and(|found| found.identity.get().cluster.is_none());
        if lonely && !peer.cluster.is_none() {
            self.tell(endpoint, NetworkEvent::Contact { peer });
        }
    }

    fn tell_refused(&mut self, endpoint: u64, peer: Option<Identity>, address: String, why: String) {
        self.counters.refused += 1;
        self.tell(endpoint, NetworkEvent::Refused { peer, address, why });
    }
}

impl Endpoint {
    fn new(node: usize, setup: NetworkSetup, events: mpsc::Sender<NetworkEvent>, rng: Rng) -> Self {
        Endpoint {
            node,
            identity: setup.identity,
            limits: setup.limits,
            events,
            boots: BootTable::default(),
            stamp: Stamp::default(),
            rng,
            sessions: BTreeMap::new(),
            called: BTreeMap::new(),
            guests: BTreeMap::new(),
            guest_of: BTreeMap::new(),
        }
    }

    /// `body` for the life `to` of a peer, as it goes out.
    fn envelope(&self, channel: Channel, to: Boot, body: Body) -> Said {
        let ours = self.identity.get();
        let envelope: Envelope = self.stamp.envelope(&ours, to, body);
        Said::Envelope(Hello::new(ours, channel), wire::encode(&envelope).into())
    }

    /// Whether `body` fits into a frame of the real network.
    fn fits(&self, bytes: u64) -> bool {
        bytes + matrixkv::env::link::ENVELOPE_OVERHEAD_BYTES_MAX <= self.limits.frame_bytes_max
    }
}

/// Bodies that wait, and their bytes.
type Waiting = VecDeque<(u64, Body)>;
