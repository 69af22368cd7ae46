//! The messages of a run on streams: frames, found again in the bytes that were written, and when the last byte of each
//! arrived. Whatever is no frame of ours is left out.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use matrixkv::env::link::frame::{self, Frame};

use crate::env::film::{Moved, Piece};

/// A frame on its way. Times are nanoseconds.
pub struct Framed {
    /// When its first byte was written.
    pub at: u64,
    /// By whom, to whom.
    pub direction: (usize, usize),
    /// When its last byte arrived, if it did.
    pub arrives: Option<u64>,
    /// What it says.
    pub frame: Frame,
}

/// One direction of a stream.
#[derive(Default)]
struct Lane {
    direction: (usize, usize),
    /// What was written and is no whole frame yet.
    input: BytesMut,
    /// Where each write ended, counted from the first byte, and when it was.
    writes: VecDeque<(u64, u64)>,
    written: u64,
    /// Bytes of all frames so far.
    framed: u64,
    is_foreign: bool,
    arrived: u64,
    /// Frames that have not arrived, each with the place of its end.
    under_way: VecDeque<(u64, Framed)>,
}

impl Lane {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        if self.is_foreign {
            return;
        }
        self.written += bytes.len() as u64;
        self.writes.push_back((self.written, at));
        self.input.extend_from_slice(bytes);
        while let Some(frame) = self.take() {
            let start = self.framed;
            self.framed = self.written - self.input.len() as u64;
            // Its first byte is of the first write that ended behind it.
            while self.writes.front().is_some_and(|(end, _)| *end <= start) {
                self.writes.pop_front();
            }
            let at = self.writes.front().map_or(at, |(_, at)| *at);
            self.under_way.push_back((self.framed, Framed { at, direction: self.direction, arrives: None, frame }));
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let taken = match self.framed {
            0 => frame::take_first(&mut self.input),
            _ => frame::take(&mut self.input, u64::MAX),
        };
        taken.unwrap_or_else(|_| {
            self.is_foreign = true;
            None
        })
    }

    fn arrive(&mut self, at: u64, bytes: usize, frames: &mut Vec<Framed>) {
        self.arrived += bytes as u64;
        while self.under_way.front().is_some_and(|(end, _)| *end <= self.arrived) {
            let (_, framed) = self.under_way.pop_front().expect("just seen");
            frames.push(Framed { arrives: Some(at), ..framed });
        }
    }
}

/// All frames of these pieces, in the order in which they were sent.
pub fn frames(pieces: &[Piece]) -> Vec<Framed> {
    let (mut lanes, mut frames) = (BTreeMap::<_, Lane>::new(), Vec::new());
    for Piece { at, stream, direction, moved } in pieces {
        let lane = lanes.entry(*stream).or_default();
        lane.direction = *direction;
        match moved {
            Moved::Written(bytes) => lane.write(*at, bytes),
            Moved::Arrived(bytes) => lane.arrive(*at, *bytes, &mut frames),
        }
    }
    frames.extend(lanes.into_values().flat_map(|lane| lane.under_way.into_iter().map(|(_, framed)| framed)));
    frames.sort_by_key(|framed| framed.at);
    frames
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use matrixkv::env::link::put_refusal;

    use super::*;

    fn piece(at: u64, moved: Moved) -> Piece {
        Piece { at, stream: (1, 0), direction: (0, 1), moved }
    }

    fn written(at: u64, bytes: &[u8]) -> Piece {
        piece(at, Moved::Written(Bytes::copy_from_slice(bytes)))
    }

    #[test]
    fn frames_are_found_however_the_bytes_were_cut() {
        let (mut bytes, mut first) = (Vec::new(), 0);
        for why in ["first", "second", "third"] {
            put_refusal(&mut bytes, why);
            first = if first == 0 { bytes.len() } else { first };
        }
        for cut in 1..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            let pieces = [
                written(10, a),
                written(20, b),
                piece(30, Moved::Arrived(first)),
                piece(40, Moved::Arrived(bytes.len() - first - 1)),
            ];
            let found = frames(&pieces);
            let told = found.iter().map(|framed| match &framed.frame {
                Frame::Refusal(why) => (why.as_str(), framed.at, framed.arrives),
                other => panic!("{other:?}"),
            });
            let at = |start: usize| if start < cut { 10 } else { 20 };
            let third = bytes.len() - first;
            let expected = [("first", 10, Some(30)), ("second", at(first), Some(40)), ("third", at(third), None)];
            assert_eq!(told.collect::<Vec<_>>(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_strangers_say_is_left_out() {
        let pieces = [written(1, b"GET /shards HTTP/1.1\r\n\r\n"), piece(2, Moved::Arrived(24))];
        assert!(frames(&pieces).is_empty());
    }
}
