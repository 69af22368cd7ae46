//! Byte streams as the operating systems of both ends see them: in order, nothing twice, nothing lost while both live,
//! with a bound on what is under way.
//!
//! Invariants:
//! - what arrives at an end was sent by the other one, in the order in which it was sent;
//! - an end that is gone (its process died) answers bytes with a reset; one without power answers nothing;
//! - a stream across a link that was cut for longer than the operating system bears is broken at both ends.

use std::{collections::VecDeque, io, task::Waker, time::Duration};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    address::FIRST_CLIENT,
    fabric::{Event, Fabric},
    policy::Direction,
};
use crate::env::{
    Trace,
    film::{Moved, Piece},
};

/// Bytes that an end may have sent and the other has not taken.
const WINDOW_BYTES: usize = 1 << 20;

/// How often a write is taken in part only.
const PIECE_CUT: f64 = 1.0 / 16.0;

/// A piece of a stream under way.
pub(super) enum Parcel {
    Bytes(Bytes),
    Fin,
    Reset,
}

/// What an end is to its machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    Open,
    /// Its process closed it, or died.
    Closed,
    /// Its machine lost power.
    Dead,
}

pub(super) struct Connection {
    ends: [End; 2],
}

struct End {
    node: usize,
    state: Use,
    inbox: VecDeque<Bytes>,
    /// The other side will send nothing more.
    ended: bool,
    broken: Option<io::ErrorKind>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Bytes of this end that the other has not taken.
    under_way: usize,
    /// This end will send nothing more.
    fin_sent: bool,
    last_arrival: u64,
    /// What waits for a cut to be mended.
    parked: Vec<Parcel>,
}

impl End {
    fn new(node: usize) -> Self {
        End {
            node,
            state: Use::Open,
            inbox: VecDeque::new(),
            ended: false,
            broken: None,
            reader: None,
            writer: None,
            under_way: 0,
            fin_sent: false,
            last_arrival: 0,
            parked: Vec::new(),
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn take(&mut self, out: &mut tokio::io::ReadBuf<'_>) -> usize {
        let mut taken = 0;
        while let Some(piece) = self.inbox.front_mut().filter(|_| out.remaining() > 0) {
            let head = piece.split_to(piece.len().min(out.remaining()));
            taken += head.len();
            out.put_slice(&head);
            if piece.is_empty() {
                self.inbox.pop_front();
            }
        }
        taken
    }
}

/// What clients say is filmed elsewhere: they have no lane that messages could go to.
fn film(trace: &Trace, piece: Piece) {
    let (from, to) = piece.direction;
    if from.max(to) < FIRST_CLIENT {
        trace.film(|film| film.piece(piece));
    }
}

/// What a poll of an end gives.
pub(super) enum Polled<T> {
    Ready(io::Result<T>),
    Pending,
}

impl Fabric {
    pub(super) fn open_connection(&mut self, now: u64, from: usize, to: usize) -> u64 {
        let number = self.id();
        self.counters.streams += 1;
        self.trace.note(now, from, "opens stream {} to node{}", [number, to as u64]);
        self.connections.insert(number, Connection { ends: [End::new(from), End::new(to)] });
        number
    }

    fn end(&mut self, connection: u64, end: usize) -> &mut End {
        &mut self.connections.get_mut(&connection).expect("a connection stays while an end is open").ends[end]
    }

    /// Takes what arrived; nothing and `Ok` at the end of the stream.
    pub(super) fn poll_read(
        &mut self,
        (connection, end): (u64, usize),
        out: &mut tokio::io::ReadBuf<'_>,
        waker: &Waker,
    ) -> Polled<()> {
        let Some(ends) = self.connections.get_mut(&connection).map(|connection| &mut connection.ends) else {
            return Polled::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let taken = ends[end].take(out);
        if taken > 0 {
            let other = &mut ends[1 - end];
            other.under_way = other.under_way.saturating_sub(taken);
            other.writer.take().into_iter().for_each(Waker::wake);
            return Polled::Ready(Ok(()));
        }
        let end = &mut ends[end];
        match end.broken {
            Some(kind) => Polled::Ready(Err(kind.into())),
            None if end.ended => Polled::Ready(Ok(())),
            None => {
                end.reader = Some(waker.clone());
                Polled::Pending
            }
        }
    }

    /// Takes as many of `bytes` as there is room for.
    pub(super) fn poll_write(
        &mut self,
        now: u64,
        (connection, end): (u64, usize),
        bytes: &[u8],
        waker: &Waker,
    ) -> Polled<usize> {
        if !self.connections.contains_key(&connection) {
            return Polled::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let own = self.end(connection, end);
        if let Some(kind) = own.broken {
            return Polled::Ready(Err(kind.into()));
        }
        if own.state != Use::Open {
            // Its process is dead.
            return Polled::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if own.fin_sent {
            return Polled::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let taken = bytes.len().min(WINDOW_BYTES.saturating_sub(own.under_way));
        if taken == 0 && !bytes.is_empty() {
            own.writer = Some(waker.clone());
            return Polled::Pending;
        }
        // Now and then a piece ends in the middle of what was written.
        let taken = if self.rng.chance(PIECE_CUT) { self.rng.between(1, taken.max(1) as u64) as usize } else { taken };
        let taken = taken.min(bytes.len());
        self.end(connection, end).under_way += taken;
        self.post(now, connection, end, Parcel::Bytes(Bytes::copy_from_slice(&bytes[..taken])));
        Polled::Ready(Ok(taken))
    }

    /// This end sends nothing more.
    pub(super) fn shut_down(&mut self, now: u64, (connection, end): (u64, usize)) {
        if !self.connections.contains_key(&connection) {
            return;
        }
        let own = self.end(connection, end);
        if own.state == Use::Open && own.broken.is_none() && !own.fin_sent {
            own.fin_sent = true;
            self.post(now, connection, end, Parcel::Fin);
        }
    }

    /// Nobody uses this end any more. Bytes that nobody read are answered with a reset, as operating systems do.
    pub(super) fn close_end(&mut self, now: u64, (connection, end): (u64, usize)) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        let own = &mut found.ends[end];
        if own.state == Use::Open {
            own.state = Use::Closed;
            let (unread, silent) = (!own.inbox.is_empty(), own.broken.is_some() || own.fin_sent);
            if unread {
                self.post(now, connection, end, Parcel::Reset);
            } else if !silent {
                self.post(now, connection, end, Parcel::Fin);
            }
        }
        self.forget_if_unused(connection);
    }

    fn forget_if_unused(&mut self, connection: u64) {
        let unused = self.connections.get(&connection).is_some_and(|c| c.ends.iter().all(|end| end.state != Use::Open));
        // What is parked has still to arrive; whatever else is under way is not missed.
        if unused {
            self.connections.remove(&connection);
        }
    }

    /// Sends a piece from `end` to the other one, behind all earlier ones.
    fn post(&mut self, now: u64, connection: u64, end: usize, parcel: Parcel) {
        let ends = &self.connections[&connection].ends;
        let direction = (ends[end].node, ends[1 - end].node);
        if let Parcel::Bytes(bytes) = &parcel {
            let numbers = [connection, bytes.len() as u64, xxh3_64(bytes)];
            self.trace.note(now, direction.0, "stream {}: writes {} bytes, hash {}", numbers);
            film(
                &self.trace,
                Piece { at: now, stream: (connection, end), direction, moved: Moved::Written(bytes.clone()) },
            );
        }
        if self.links.is_cut(direction) || !ends[end].parked.is_empty() {
            self.counters.cut += 1;
            self.end(connection, end).parked.push(parcel);
            return;
        }
        let travel = self.links.travel(direction);
        self.set_off(now + travel.as_nanos() as u64, connection, end, parcel);
    }

    fn set_off(&mut self, arrival: u64, connection: u64, end: usize, parcel: Parcel) {
        let own = self.end(connection, end);
        let arrival = arrival.max(own.last_arrival);
        own.last_arrival = arrival;
        self.at(arrival, Event::Parcel { connection, end: 1 - end, parcel });
    }

    pub(super) fn parcel_arrives(&mut self, now: u64, connection: u64, end: usize, parcel: Parcel) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        let other = found.ends[1 - end].node;
        let own = &mut found.ends[end];
        match (own.state, parcel) {
            (Use::Open, Parcel::Bytes(bytes)) => {
                self.trace.note(now, own.node, "stream {}: {} bytes arrive", [connection, bytes.len() as u64]);
                let moved = Moved::Arrived(bytes.len());
                let piece = Piece { at: now, stream: (connection, 1 - end), direction: (other, own.node), moved };
                film(&self.trace, piece);
                own.inbox.push_back(bytes);
                own.wake();
            }
            (Use::Open, Parcel::Fin) => {
                own.ended = true;
                own.wake();
            }
            (Use::Open, Parcel::Reset) => self.break_end(now, connection, end, io::ErrorKind::ConnectionReset),
            (_, Parcel::Reset) => {}
            (Use::Closed, Parcel::Bytes(_)) => self.post(now, connection, end, Parcel::Reset),
            (Use::Closed, Parcel::Fin) => {}
            (Use::Dead, _) => {
                let node = own.node;
                if !self.is_off(node) {
                    self.post(now, connection, end, Parcel::Reset);
                }
            }
        }
    }

    fn break_end(&mut self, now: u64, connection: u64, end: usize, why: io::ErrorKind) {
        self.counters.streams_broken += 1;
        let own = self.end(connection, end);
        own.broken.get_or_insert(why);
        own.parked.clear();
        own.wake();
        let node = own.node;
        self.trace.note(now, node, "stream {} breaks", [connection]);
    }

    /// What waited for this direction goes on, when the operating system tries again.
    pub(super) fn unpark(&mut self, now: u64, direction: Direction, cut: Duration) {
        // Of closed ends too: the goodbye of one that was closed during the cut has still to arrive.
        let concerned = |ends: &[End; 2], end: usize| (ends[end].node, ends[1 - end].node) == direction;
        let all = self.connections.iter().flat_map(|(connection, found)| {
            (0..2).filter(|end| concerned(&found.ends, *end)).map(|end| (*connection, end))
        });
        for (connection, end) in all.collect::<Vec<_>>() {
            let parked = std::mem::take(&mut self.end(connection, end).parked);
            if parked.is_empty() {
                continue;
            }
            let again = now + self.links.repeat_after_cut(direction, cut).as_nanos() as u64;
            for parcel in parked {
                let travel = self.links.travel(direction);
                self.set_off(again + travel.as_nanos() as u64, connection, end, parcel);
            }
        }
    }

    /// The open ends at `from` of streams to `to`.
    fn ends(&self, concerned: impl Fn(usize, usize) -> bool) -> impl Iterator<Item = (u64, usize)> {
        self.connections.iter().flat_map(move |(connection, found)| {
            let concerned = [0, 1].map(|end: usize| {
                let (own, other) = (&found.ends[end], &found.ends[1 - end]);
                own.state == Use::Open && concerned(own.node, other.node)
            });
            (0..2).filter(move |end| concerned[*end]).map(|end| (*connection, end))
        })
    }

    /// The streams across a link break: nothing came for too long.
    pub(super) fn give_up_link(&mut self, now: u64, (a, b): Direction) {
        let ends: Vec<_> = self.ends(|from, to| (from, to) == (a, b) || (from, to) == (b, a)).collect();
        ends.into_iter().for_each(|(connection, end)| self.break_end(now, connection, end, io::ErrorKind::TimedOut));
    }

    /// The streams to a machine that lost power break, but for those of its next life.
    pub(super) fn give_up_dead(&mut self, now: u64, node: usize) {
        let ends: Vec<_> = self.ends(|_, to| to == node).collect();
        for (connection, end) in ends {
            if self.connections[&connection].ends[1 - end].state == Use::Dead {
                self.break_end(now, connection, end, io::ErrorKind::TimedOut);
            }
        }
    }

    /// The node at the other end.
    pub(super) fn other_node(&self, (connection, end): (u64, usize)) -> Option<usize> {
        Some(self.connections.get(&connection)?.ends[1 - end].node)
    }

    /// The process behind these ends died; its machine did not.
    pub(super) fn close_all(&mut self, now: u64, node: usize) {
        let ends: Vec<_> = self.ends(|from, _| from == node).collect();
        ends.into_iter().for_each(|end| self.close_end(now, end));
    }

    /// The machine lost power: it says nothing any more.
    pub(super) fn let_die(&mut self, node: usize) {
        let ends: Vec<_> = self.ends(|from, _| from == node).collect();
        for (connection, end) in ends {
            let own = self.end(connection, end);
            (own.state, own.parked) = (Use::Dead, Vec::new());
            self.forget_if_unused(connection);
        }
    }

    /// Breaks every stream between two nodes; of what is under way, any first part arrives before.
    pub(super) fn reset_between(&mut self, now: u64, a: usize, b: usize) {
        let ends: Vec<_> = self.ends(|from, to| (from, to) == (a, b) || (from, to) == (b, a)).collect();
        for (connection, end) in ends {
            self.deliver_a_part(now, connection, end);
            self.break_end(now, connection, end, io::ErrorKind::ConnectionReset);
        }
    }

    fn deliver_a_part(&mut self, now: u64, connection: u64, end: usize) {
        let under_way = |event: &Event| matches!(event, Event::Parcel { connection: c, end: e, .. } if (*c, *e) == (connection, end));
        let mine: Vec<_> = self.queue.iter().filter(|(_, event)| under_way(event)).map(|(key, _)| *key).collect();
        let mut first = true;
        for key in mine {
            let event = self.queue.remove(&key);
            if let Some(Event::Parcel { parcel: Parcel::Bytes(bytes), .. }) = event.filter(|_| first) {
                let part = bytes.slice(..self.rng.below(bytes.len() as u64 + 1) as usize);
                self.parcel_arrives(now, connection, end, Parcel::Bytes(part));
            }
            first = false;
        }
    }
}
