//! What a run looked like, for whoever draws it: messages with their fate or the bytes of their streams, facts, cuts, and when
//! nodes lived. It is kept beside the trace, adds nothing to its hash, and only where it is asked for.

use bytes::Bytes;
use matrixkv::types::Fact;

/// Messages that are kept; later ones are only counted.
pub const MESSAGES_MAX: usize = 500_000;

/// Pieces of streams that are kept, one for each write and each arrival; later ones are only counted.
pub const PIECES_MAX: usize = 2 * MESSAGES_MAX;

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

/// Something of a stream: bytes that one end wrote, or the other one got.
#[derive(Clone, Debug)]
pub struct Piece {
    /// When, in nanoseconds.
    pub at: u64,
    /// Of which stream, and which of its ends wrote it.
    pub stream: (u64, usize),
    /// By whom, to whom.
    pub direction: (usize, usize),
    /// What happened to it.
    pub moved: Moved,
}

/// What happened to bytes of a stream.
#[derive(Clone, Debug)]
pub enum Moved {
    /// They were written.
    Written(Bytes),
    /// So many arrived.
    Arrived(usize),
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
    /// What was written to streams between nodes, and what arrived.
    pub pieces: Vec<Piece>,
    /// Facts: when, on which node.
    pub facts: Vec<(u64, usize, Fact)>,
    /// When a node became so.
    pub lives: Vec<(u64, usize, Life)>,
    /// When one direction was cut (true) or mended.
    pub cuts: Vec<(u64, (usize, usize), bool)>,
    /// Messages, pieces and facts beyond the limits.
    pub missing: usize,
}

impl Film {
    /// A message is sent.
    pub fn flight(&mut self, flight: Flight) {
        keep(&mut self.flights, MESSAGES_MAX, flight, &mut self.missing);
    }

    /// Bytes of a stream are written, or arrive.
    pub fn piece(&mut self, piece: Piece) {
        keep(&mut self.pieces, PIECES_MAX, piece, &mut self.missing);
    }

    /// A fact is said.
    pub fn fact(&mut self, at: u64, node: usize, fact: &Fact) {
        keep(&mut self.facts, FACTS_MAX, (at, node, fact.clone()), &mut self.missing);
    }
}

/// Keeps `one`, where there are not too many already.
fn keep<T>(list: &mut Vec<T>, most: usize, one: T, missing: &mut usize) {
    match list.len() < most {
        true => list.push(one),
        false => *missing += 1,
    }
}
