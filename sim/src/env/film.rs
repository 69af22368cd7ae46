//! What a run looked like, for whoever draws it: messages with their fate, facts, cuts, and when nodes lived. It is kept
//! beside the trace, adds nothing to its hash, and only where it is asked for.

use bytes::Bytes;
use matrixkv::types::Fact;

/// Messages that are kept; later ones are only counted.
pub const MESSAGES_MAX: usize = 500_000;

/// Facts that are kept; later ones are only counted.
pub const FACTS_MAX: usize = 500_000;

/// What was sent.
#[derive(Clone, Debug)]
pub enum Said {
    /// An envelope, encoded.
    Envelope(Bytes),
    /// Something of the connection itself.
    Handshake(&'static str),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    /// When it was sent, in nanoseconds.
    pub at: u64,
    /// By whom.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// When it arrives, if it does.
    pub arrives: Option<u64>,
    /// What became of it, in a word.
    pub fate: &'static str,
    /// What it is.
    pub said: Said,
}

/// How a node is from some time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Up,
    /// It stands still.
    Paused,
    /// It is away.
    Down,
}

/// All of it, in the order in which it happened.
#[derive(Clone, Debug, Default)]
pub struct Film {
    /// Messages.
    pub flights: Vec<Flight>,
    /// Facts: when, on which node.
    pub facts: Vec<(u64, usize, Fact)>,
    /// When a node became so.
    pub lives: Vec<(u64, usize, Life)>,
    /// When one direction was cut (true) or mended.
    pub cuts: Vec<(u64, (usize, usize), bool)>,
    /// Messages and facts beyond the limits.
    pub missing: usize,
}

impl Film {
    /// A message is sent.
    pub fn flight(&mut self, flight: Flight) {
        match self.flights.len() < MESSAGES_MAX {
            true => self.flights.push(flight),
            false => self.missing += 1,
        }
    }

    /// A fact is said.
    pub fn fact(&mut self, at: u64, node: usize, fact: &Fact) {
        match self.facts.len() < FACTS_MAX {
            true => self.facts.push((at, node, fact.clone())),
            false => self.missing += 1,
        }
    }
}
