//! The store as a machine of the driver, and how its wishes are carried out.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};

use super::drive::{Machine, Turn};
use crate::{
    client::{Book, Router},
    engine::{Batch, EngineError},
    env::{Channel, Env, Network, Space, Via},
    store::{Input, Send, Store, Ticket},
    types::{CallId, Instant, ReplicaId, ShardId, StoreId},
    wire::{Body, DataReply, MembershipAsk, Response, ShardBeat},
};

impl Machine for Store {
    type Input = Input;
    type Send = Send;

    fn tick() -> Input {
        Input::Tick
    }

    /// One commit may take most of what was left.
    fn space(Space { capacity, available }: Space) -> Option<Input> {
        Some(Input::Space { capacity, available })
    }

    fn step(&mut self, now: Instant, input: Input) {
        Store::step(self, now, input);
    }

    fn has_work(&self) -> bool {
        Store::has_work(self)
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<Turn<Send>, EngineError> {
        let ready = Store::ready(self, batch)?;
        Ok(Turn { now: ready.now, after: ready.after, facts: ready.facts })
    }

    fn advance(&mut self) -> Vec<Send> {
        Store::advance(self)
    }
}

/// Where an answer goes.
pub(super) enum ReplyTo {
    Remote(Via, CallId),
    Local(oneshot::Sender<Response>),
}

/// Who waits for an answer, by ticket. Bounded: the machines refuse what they cannot hold.
#[derive(Clone, Default)]
pub(super) struct Tickets(Arc<Mutex<BTreeMap<u64, ReplyTo>>>, Arc<AtomicU64>);

impl Tickets {
    pub fn issue(&self, reply_to: ReplyTo) -> u64 {
        let ticket = self.1.fetch_add(1, Ordering::Relaxed);
        self.0.lock().expect("no holder panics").insert(ticket, reply_to);
        ticket
    }

    pub fn answer<N: Network>(&self, network: &N, ticket: u64, response: Response) {
        let waiting = self.0.lock().expect("no holder panics").remove(&ticket);
        match waiting {
            Some(ReplyTo::Remote(via, call)) => network.reply(&via, Body::Response { call, response }),
            // Whoever asked may have gone away meanwhile.
            Some(ReplyTo::Local(reply)) => drop(reply.send(response)),
            None => {}
        }
    }

    /// The ticket's question was dropped without an answer, as a double is.
    pub fn forget(&self, ticket: u64) {
        self.0.lock().expect("no holder panics").remove(&ticket);
    }
}

/// A store's heartbeat without what the node knows better.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse {
    pub shard_count: u64,
    pub leader_count: u64,
    pub quarantined: Vec<(ShardId, ReplicaId)>,
    pub capacity: u64,
    pub available: u64,
}

/// A question of a store's to Prophet.
#[derive(Debug)]
pub(super) enum Ask {
    Membership(Vec<MembershipAsk>),
    SplitIds { shard: ShardId, replicas: u32 },
}

/// Carries out what a store wants said.
pub(super) struct Outbox<E: Env> {
    pub network: E::Network,
    pub tickets: Tickets,
    pub book: Arc<Mutex<Book>>,
    pub router: Router<E>,
    pub pulses: mpsc::Sender<Pulse>,
    pub beats: mpsc::Sender<Vec<ShardBeat>>,
    pub asks: mpsc::Sender<Ask>,
}

impl<E: Env> Outbox<E> {
    pub fn deliver(&mut self, sends: Vec<Send>) {
        for send in sends {
            self.send(send);
        }
    }

    fn send(&self, send: Send) {
        match send {
            Send::Raft { to, bulk, message } => {
                self.tell(if bulk { Channel::Bulk } else { Channel::Raft }, to, Body::Raft(message));
            }
            Send::Chunk { to, chunk } => self.tell(Channel::Bulk, to, Body::Chunk(chunk)),
            Send::ChunkAck { to, ack } => self.tell(Channel::Raft, to, Body::ChunkAck(ack)),
            Send::Reply { ticket: Ticket(ticket), reply } => self.reply(ticket, reply),
            Send::Forget { ticket: Ticket(ticket) } => self.tickets.forget(ticket),
            // Both are said again soon: a full queue means that Prophet is slow.
            Send::StoreBeat { shard_count, leader_count, quarantined, capacity, available } => {
                let _ = self.pulses.try_send(Pulse { shard_count, leader_count, quarantined, capacity, available });
            }
            Send::ShardBeats(beats) => drop(self.beats.try_send(beats)),
            Send::AskMembership(asks) => drop(self.asks.try_send(Ask::Membership(asks))),
            Send::AskSplitIds { shard, replicas } => drop(self.asks.try_send(Ask::SplitIds { shard, replicas })),
            Send::Removed { to, removal } => self.tell(Channel::Raft, to, Body::Removed(removal)),
            Send::Alive { to, without } => self.tell(Channel::Raft, to, Body::Alive { without }),
            Send::Status(change) => self.router.learn_local(change.changed, &change.gone, change.quarantined),
        }
    }

    fn reply(&self, ticket: u64, reply: DataReply) {
        self.tickets.answer(&self.network, ticket, Response::Data(reply));
    }

    /// Says something to another store, if it is known where that is.
    fn tell(&self, channel: Channel, store: StoreId, body: Body) {
        let book = self.book.lock().expect("no holder panics");
        let address = book.stores.get(&store).map(|store| store.raft_address.clone());
        drop(book);
        if let Some(address) = address {
            self.network.send(channel, &address, body);
        }
    }
}
