//! The two networks that a node may have in the simulator.

use matrixkv::{
    env::{Channel, Network, Via, stream_network::StreamNetwork},
    wire::Body,
};

use super::{SimEnv, SimNetwork};

/// One of them.
#[derive(Clone)]
pub enum EitherNetwork {
    /// See [`super::NetworkKind::Datagrams`].
    Datagrams(SimNetwork),
    /// See [`super::NetworkKind::Streams`].
    Streams(StreamNetwork<SimEnv>),
}

impl Network for EitherNetwork {
    fn send(&self, channel: Channel, address: &str, body: Body) {
        match self {
            EitherNetwork::Datagrams(network) => network.send(channel, address, body),
            EitherNetwork::Streams(network) => network.send(channel, address, body),
        }
    }

    fn reply(&self, via: &Via, body: Body) {
        match self {
            EitherNetwork::Datagrams(network) => network.reply(via, body),
            EitherNetwork::Streams(network) => network.reply(via, body),
        }
    }
}
