//! The link: one end of a connection between two nodes, as a pure machine. Bytes in; hellos, envelopes and verdicts
//! out. No socket, no clock: [`super::stream_network`] moves the bytes, over TCP or over the simulator's streams.
//!
//! A connection starts with a [`Hello`] each way: the dialler's first, the acceptor's once it took the dialler's.
//! Envelopes follow. A side that will not talk on says why in a last frame, so that both sides log a clear message.
//! A hello is said again when its speaker has learnt its cluster or store; what follows stands under the new one.
//!
//! Invariants:
//! - no envelope passes before a hello that was judged fine, and none that does not match it;
//! - nothing is decoded of a frame before all of it is there and its checksum holds;
//! - a frame's announced length is held against the limit before anything is allocated for it, and memory grows with
//!   the bytes that came, never with the length that was announced;
//! - after a verdict the link is over: it gives the same verdict for ever.
//!
//! There is no keep-alive here: raft's heartbeats notice a silent peer, and [`super::real`] lets the kernel do so.

pub mod frame;
mod hello;
mod stamp;

use bytes::BytesMut;

pub use frame::{ENVELOPE_OVERHEAD_BYTES_MAX, FIRST_FRAME_BYTES_MAX, body_bytes, put_envelope, put_hello, put_refusal};
pub use hello::{BootTable, Hello, NODES_MAX, PROTOCOL, Refusal, judge};
pub use stamp::{Stamp, check};

use super::{Channel, Identity, Sender};
use crate::wire::Body;
use frame::Frame;

/// What an idle connection may hold on to.
const IDLE_BYTES_MAX: usize = 1 << 20;

/// What came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The other side introduced itself, or did so again, and is welcome.
    Hello(Identity, Channel),
    /// An envelope that passed every check.
    Envelope(Sender, Body),
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This side refuses, and should say so.
    Refuse(Refusal),
    /// The other side refused, and this is what it said.
    Refused(String),
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Verdict::Refuse(refusal)
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Link {
    /// What the other side may use this connection for. A dialler allows just what it dialled for.
    channels: Vec<Channel>,
    frame_bytes_max: u64,
    input: BytesMut,
    peer: Option<Hello>,
    claimed: Option<Identity>,
    over: Option<Verdict>,
}

impl Link {
    /// The end that dialled for `channel`, or that accepted at a socket for `channels`.
    pub fn new(channels: &[Channel], frame_bytes_max: u64) -> Self {
        let input = BytesMut::new();
        Self { channels: channels.to_vec(), frame_bytes_max, input, peer: None, claimed: None, over: None }
    }

    /// Append here what was read. Room that one big frame needed is given back.
    pub fn input(&mut self) -> &mut BytesMut {
        if self.input.is_empty() && self.input.capacity() > IDLE_BYTES_MAX {
            self.input = BytesMut::new();
        }
        &mut self.input
    }

    /// Who the other side last said it is, welcome or not.
    pub fn claimed(&self) -> Option<Identity> {
        self.claimed
    }

    /// The next event; `None` until more bytes are there. `ours` is this node as of now.
    pub fn next(&mut self, ours: &Identity, boots: &mut BootTable) -> Result<Option<Event>, Verdict> {
        if let Some(verdict) = &self.over {
            return Err(verdict.clone());
        }
        self.take(ours, boots).inspect_err(|verdict| {
            self.over = Some(verdict.clone());
            self.input = BytesMut::new();
        })
    }

    fn take(&mut self, ours: &Identity, boots: &mut BootTable) -> Result<Option<Event>, Verdict> {
        let frame = match &self.peer {
            Some(_) => frame::take(&mut self.input, self.frame_bytes_max)?,
            None => frame::take_first(&mut self.input)?,
        };
        match frame {
            None => Ok(None),
            Some(Frame::Hello(hello)) => self.meet(ours, boots, hello).map(Some),
            Some(Frame::Refusal(why)) => Err(Verdict::Refused(why)),
            Some(Frame::Envelope(envelope)) => {
                let peer = self.peer.as_ref().ok_or(Refusal::NoHello)?;
                let sender = check(ours, &peer.identity, boots, &envelope)?;
                Ok(Some(Event::Envelope(sender, envelope.body)))
            }
        }
    }

    fn meet(&mut self, ours: &Identity, boots: &mut BootTable, hello: Hello) -> Result<Event, Verdict> {
        self.claimed = Some(hello.identity);
        if self.peer.as_ref().is_some_and(|before| !hello.may_follow(before)) {
            return Err(Refusal::Changed.into());
        }
        judge(ours, &hello, &self.channels, boots)?;
        self.peer = Some(hello);
        Ok(Event::Hello(hello.identity, hello.channel))
    }
}

#[cfg(test)]
mod tests;
