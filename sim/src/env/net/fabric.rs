//! Everything that the network knows, and the queue of what is still to happen on it. One queue for all: a task for
//! each message would cost more than all the rest.
//!
//! Invariants:
//! - what happens at one moment happens in the order in which it was sent off;
//! - nothing in here calls out: it wakes tasks, and drops nothing that would come back for the lock.

use std::{collections::BTreeMap, task::Waker, time::Duration};

use matrixkv::{env::Channel, types::Rng};
use tokio::sync::{mpsc, oneshot};

use super::{
    datagram::{Endpoint, Packet},
    pipe::{Connection, Parcel},
    policy::{Direction, Fate, Links},
    stream::SimStream,
};
use crate::env::{Clock, Trace, dice, film::Flight};

/// How long the operating system bears silence: unacknowledged bytes, or unanswered probes (as the real world's
/// sockets are set up, see `matrixkv::env::real`).
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(6);

/// How much later it may notice.
const NOTICE_MAX: Duration = Duration::from_secs(1);

/// What the network did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct NetCounters {
    pub sent: u64,
    pub bytes: u64,
    pub delivered: u64,
    pub lost: u64,
    pub cut: u64,
    pub duplicated: u64,
    pub late: u64,
    /// Envelopes that found the receiver's queue of events full.
    pub overflowed: u64,
    /// Envelopes for a life or a session that was over.
    pub stray: u64,
    pub refused: u64,
    pub streams: u64,
    pub streams_broken: u64,
}

/// What is going to happen.
pub(super) enum Event {
    /// Somebody waits for this moment.
    Wake(oneshot::Sender<()>),
    /// A datagram arrives.
    Packet(Packet),
    /// A piece of a byte stream arrives at one of its ends.
    Parcel { connection: u64, end: usize, parcel: Parcel },
    /// A session looks whether its hello was answered.
    Call { endpoint: u64, session: u64 },
    /// A session may try again.
    Calm { endpoint: u64, session: u64 },
    /// Whoever still waits for the other side of a link gives up, if it has been cut since then.
    SilentLink { direction: Direction, since: u64 },
    /// As above, for a machine that lost power.
    SilentHost(usize),
}

/// A machine.
#[derive(Default)]
pub(super) struct Host {
    /// It has no power.
    pub(super) off: bool,
    /// How many dice it was given, over all its lives.
    dice: u64,
    pub(super) clock: Option<Clock>,
}

/// What is bound to a port.
pub(super) enum Socket {
    Datagrams { endpoint: u64, channels: Vec<Channel> },
    Streams { listener: u64, accepted: mpsc::UnboundedSender<SimStream> },
}

pub(super) struct Fabric {
    pub(super) seed: u64,
    pub(super) trace: Trace,
    pub(super) links: Links,
    pub(super) counters: NetCounters,
    pub(super) hosts: BTreeMap<usize, Host>,
    pub(super) sockets: BTreeMap<(usize, u16), Socket>,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) endpoints: BTreeMap<u64, Endpoint>,
    pub(super) queue: BTreeMap<(u64, u64), Event>,
    /// When the task that empties the queue will look again, and how to wake it before.
    pub(super) next_look: u64,
    pub(super) waker: Option<Waker>,
    pub(super) rng: Rng,
    last_id: u64,
}

fn flight(at: u64, (from, to): Direction, packet: &Packet, fate: &Fate) -> Flight {
    let (arrives, fate) = match fate {
        Fate::Cut => (None, "cut"),
        Fate::Lost => (None, "lost"),
        Fate::Arrives { after, late, again } => {
            let word = if again.is_some() {
                "twice"
            } else if *late {
                "late"
            } else {
                "arrives"
            };
            (Some(at + after.as_nanos() as u64), word)
        }
    };
    Flight { at, from, to, arrives, fate, said: packet.said() }
}

impl Fabric {
    pub(super) fn new(seed: u64, trace: Trace) -> Self {
        Fabric {
            seed,
            trace,
            links: Links::new(seed),
            counters: NetCounters::default(),
            hosts: BTreeMap::new(),
            sockets: BTreeMap::new(),
            connections: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            queue: BTreeMap::new(),
            next_look: u64::MAX,
            waker: None,
            rng: dice(seed, "network", &[]),
            last_id: 0,
        }
    }

    /// A number that nothing else here has.
    pub(super) fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn at(&mut self, at: u64, event: Event) {
        let number = self.id();
        self.queue.insert((at, number), event);
        if at < self.next_look
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// Does what is due. When the next is.
    pub(super) fn run_due(&mut self, now: u64) -> Option<u64> {
        while let Some(entry) = self.queue.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                return Some(at);
            }
            let event = entry.remove();
            self.happen(now, event);
        }
        None
    }

    fn happen(&mut self, now: u64, event: Event) {
        match event {
            Event::Wake(waiting) => drop(waiting.send(())),
            Event::Packet(packet) => self.packet_arrives(now, packet),
            Event::Parcel { connection, end, parcel } => self.parcel_arrives(now, connection, end, parcel),
            Event::Call { endpoint, session } => self.call_again(now, endpoint, session),
            Event::Calm { endpoint, session } => self.calm_down(endpoint, session),
            Event::SilentLink { direction, since } => self.link_is_silent(now, direction, since),
            Event::SilentHost(node) => self.host_is_silent(now, node),
        }
    }

    /// Sends a datagram off; what becomes of it is up to the link.
    pub(super) fn dispatch(&mut self, now: u64, direction: Direction, packet: Packet) {
        let (from, to) = direction;
        if self.is_off(from) {
            return;
        }
        let bytes = packet.bytes();
        self.counters.sent += 1;
        self.counters.bytes += bytes;
        let fate = self.links.fate(direction);
        self.trace.film(|film| film.flight(flight(now, direction, &packet, &fate)));
        let numbers = [to as u64, bytes, packet.digest()];
        match fate {
            Fate::Cut => {
                self.counters.cut += 1;
                self.trace.note(now, from, "-> node{}, {} bytes, hash {}: cut", numbers);
            }
            Fate::Lost => {
                self.counters.lost += 1;
                self.trace.note(now, from, "-> node{}, {} bytes, hash {}: lost", numbers);
            }
            Fate::Arrives { after, late, again } => {
                self.counters.late += u64::from(late);
                self.trace.note(now, from, "-> node{}, {} bytes, hash {}", numbers);
                if let Some(again) = again {
                    self.counters.duplicated += 1;
                    self.at(now + again.as_nanos() as u64, Event::Packet(packet.clone()));
                }
                self.at(now + after.as_nanos() as u64, Event::Packet(packet));
            }
        }
    }

    pub(super) fn host(&mut self, node: usize) -> &mut Host {
        self.hosts.entry(node).or_default()
    }

    pub(super) fn is_off(&self, node: usize) -> bool {
        self.hosts.get(&node).is_some_and(|host| host.off)
    }

    /// A process starts on `node`: there is power, and its clock starts anywhere.
    pub(super) fn start_host(&mut self, now: u64, node: usize) -> Clock {
        let clock = Clock::new(&mut self.dice(node), now);
        let host = self.host(node);
        host.off = false;
        host.clock = Some(clock.clone());
        clock
    }

    /// Dice for a process on `node`. No two lives have the same, or a folder that was lost would get its old token.
    pub(super) fn dice(&mut self, node: usize) -> Rng {
        let host = self.host(node);
        host.dice += 1;
        let number = host.dice;
        dice(self.seed, "node", &[node as u64, number])
    }

    /// When somebody notices that nothing comes any more.
    pub(super) fn notices_silence(&mut self, now: u64) -> u64 {
        now + (SILENCE_MAX + self.rng.duration(Duration::ZERO, NOTICE_MAX)).as_nanos() as u64
    }

    fn link_is_silent(&mut self, now: u64, direction: Direction, since: u64) {
        if self.links.cut_since(direction) == Some(since) {
            self.give_up_link(now, direction);
            self.lose_sessions_across(now, direction);
        }
    }

    /// Whoever still waits for the life that `node` had gives up: probes are answered by nobody, or by the next life.
    fn host_is_silent(&mut self, now: u64, node: usize) {
        self.give_up_dead(now, node);
        self.lose_dead_sessions(now, node);
    }
}
