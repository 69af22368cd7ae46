//! Envelopes between nodes: channels, who speaks, and what the network knows of their fate.

use std::sync::{Arc, Mutex};

use crate::{
    types::{Boot, ClusterId, NodeToken, StoreId},
    wire::Body,
};

/// What a connection is used for. Each has a connection of its own, so that bulk never starves heartbeats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Channel {
    /// Raft messages between stores (`addr-raft`).
    Raft,
    /// Snapshots and big entries between stores (`addr-raft`).
    Bulk,
    /// Requests to a store (`addr-client`).
    Client,
    /// Heartbeats and look-ups (`[prophet] rpc-addr`).
    Prophet,
    /// Prophet's own raft traffic, and joins (`peer-urls`).
    Member,
}

impl Channel {
    /// All of them.
    pub const ALL: [Channel; 5] = [Channel::Raft, Channel::Bulk, Channel::Client, Channel::Prophet, Channel::Member];
}

/// Who a node is, as said in the hello of each connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Its cluster; [`ClusterId::NONE`] for "not yet".
    pub cluster: ClusterId,
    /// Its data folder.
    pub node: NodeToken,
    /// Its store; [`StoreId::NONE`] for "not yet".
    pub store: StoreId,
    /// Its life.
    pub boot: Boot,
}

/// The identity of this node, shared with its network: cluster and store are learnt after the start.
#[derive(Clone, Debug, Default)]
pub struct SharedIdentity(Arc<Mutex<Identity>>);

impl SharedIdentity {
    /// Starts as `identity`.
    pub fn new(identity: Identity) -> Self {
        Self(Arc::new(Mutex::new(identity)))
    }

    /// As of now.
    pub fn get(&self) -> Identity {
        *self.0.lock().expect("no holder panics")
    }

    /// The cluster is known. It never changes once it is.
    pub fn set_cluster(&self, cluster: ClusterId) {
        let mut identity = self.0.lock().expect("no holder panics");
        assert!(identity.cluster.is_none() || identity.cluster == cluster, "a node changes its cluster");
        identity.cluster = cluster;
    }

    /// The store is known. It never changes once it is.
    pub fn set_store(&self, store: StoreId) {
        let mut identity = self.0.lock().expect("no holder panics");
        assert!(identity.store.is_none() || identity.store == store, "a node changes its store");
        identity.store = store;
    }
}

/// An address to bind and what is said there.
#[derive(Clone, Debug)]
pub struct Listen {
    /// `host:port`.
    pub address: String,
    /// The channels that may come in here; a hello with another one is refused.
    pub channels: Vec<Channel>,
}

/// Limits of a network, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct NetworkLimits {
    /// Envelopes that wait for one peer and channel; more are dropped (and said to be).
    pub queue_messages_max: usize,
    /// Bytes that wait for one peer and channel.
    pub queue_bytes_max: u64,
    /// Bytes of one frame; a longer one ends the connection.
    pub frame_bytes_max: u64,
    /// Events that wait for the node.
    pub events_max: usize,
    /// Connections that are accepted at once, over all addresses.
    pub connections_max: usize,
}

/// How to start a network.
#[derive(Clone, Debug)]
pub struct NetworkSetup {
    /// Who this node is.
    pub identity: SharedIdentity,
    /// What to bind.
    pub listen: Vec<Listen>,
    /// Bounds.
    pub limits: NetworkLimits,
}

/// Who sent an envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sender {
    /// As in its hello.
    pub identity: Identity,
    /// The envelope's number.
    pub seq: u64,
}

/// The way back to whoever sent an envelope.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Via {
    /// It came in over a connection that this node dialled.
    Dialled {
        /// The channel.
        channel: Channel,
        /// `host:port`.
        address: String,
    },
    /// It came in over a connection that this node accepted; the number names it within this boot.
    Accepted(u64),
}

/// Sends envelopes. Cheap to clone. Neither call waits: what does not fit into a queue is dropped, and
/// [`NetworkEvent::Dropped`] says so where somebody may wait for an answer.
pub trait Network: Clone + Send + Sync + 'static {
    /// Sends `body` to the node at `address` over the connection that this node dials for `channel`. Connects (and
    /// reconnects, with jittered back-off) by itself; names are looked up at each attempt.
    fn send(&self, channel: Channel, address: &str, body: Body);

    /// Sends `body` back where an envelope came from. Lost without notice if that connection is gone.
    fn reply(&self, via: &Via, body: Body);
}

/// What the network tells the node.
#[derive(Debug)]
pub enum NetworkEvent {
    /// An envelope came in, and passed the checks of version, checksum, cluster and boot.
    Message {
        /// Where it came in.
        channel: Channel,
        /// Who sent it.
        sender: Sender,
        /// The way back.
        via: Via,
        /// What it says.
        body: Body,
    },
    /// A dialled connection stands; the peer introduced itself.
    PeerUp {
        /// The channel.
        channel: Channel,
        /// The address that was dialled.
        address: String,
        /// Who answered.
        peer: Identity,
    },
    /// A dialled connection broke. What was sent over it may or may not have arrived; answers to it will not come.
    PeerLost {
        /// The channel.
        channel: Channel,
        /// The address that was dialled.
        address: String,
    },
    /// This was never sent: it did not happen. The queue was full, or there was no connection for too long.
    Dropped {
        /// The channel.
        channel: Channel,
        /// Where it should have gone.
        address: String,
        /// What was dropped.
        body: Body,
    },
    /// A hello named a cluster that exists while this node has none: seen by a node that wonders whether to found
    /// one.
    Contact {
        /// The other node.
        peer: Identity,
    },
    /// A connection was refused, by us or by the other side, because of who one of us is. `channel` and `address`
    /// are those of the dialled connection, or of the accepting socket.
    Refused {
        /// Who the other side said it was, if it got that far.
        peer: Option<Identity>,
        /// The address, for people.
        address: String,
        /// Why: another cluster, another protocol version, an old copy of a folder.
        why: String,
    },
}
