//! Network events to whoever they are for.

use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{mpsc, watch};

use super::store::{ReplyTo, Tickets};
use crate::{
    client::{Book, LocalCall, Router, Rpc},
    env::{Channel, Env, Identity, Network, NetworkEvent, Sender, Via},
    prophet, store,
    types::{CallId, StoreId},
    wire::{Body, DataReply, JoinReply, ProphetReply, Refusal, Request, Response},
};

/// The machines' inboxes. The store's is there once the store is registered, Prophet's on a Prophet node.
#[derive(Clone, Default)]
pub(super) struct Inboxes {
    pub store: Arc<OnceLock<mpsc::Sender<store::Input>>>,
    pub prophet: Arc<OnceLock<mpsc::Sender<prophet::Input>>>,
}

impl Inboxes {
    /// False if there is no store yet, or its inbox is full.
    pub fn to_store(&self, input: store::Input) -> bool {
        self.store.get().is_some_and(|inbox| inbox.try_send(input).is_ok())
    }

    /// False if this node is no Prophet member, or its inbox is full.
    pub fn to_prophet(&self, input: prophet::Input) -> bool {
        self.prophet.get().is_some_and(|inbox| inbox.try_send(input).is_ok())
    }
}

/// Sorts what comes in.
pub(super) struct Dispatcher<E: Env> {
    pub network: E::Network,
    pub rpc: Rpc<E>,
    pub router: Router<E>,
    pub book: Arc<Mutex<Book>>,
    pub inboxes: Inboxes,
    pub store_tickets: Tickets,
    pub prophet_tickets: Tickets,
    pub contact: watch::Sender<Option<Identity>>,
}

impl<E: Env> Dispatcher<E> {
    pub async fn run(self, mut events: mpsc::Receiver<NetworkEvent>, mut local: mpsc::Receiver<LocalCall>) {
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.event(event),
                    None => return,
                },
                call = local.recv() => match call {
                    Some(call) => self.local(call),
                    None => return,
                },
            }
        }
    }

    fn event(&self, event: NetworkEvent) {
        match event {
            NetworkEvent::Message { channel, sender, via, body } => self.message(channel, sender, via, body),
            NetworkEvent::PeerUp { .. } => {}
            NetworkEvent::PeerLost { channel, address } => self.peer_lost(channel, &address),
            NetworkEvent::Dropped { body: Body::Request { call, .. }, .. } => self.rpc.dropped(call),
            NetworkEvent::Dropped { .. } => {}
            NetworkEvent::Contact { peer } => drop(self.contact.send_replace(Some(peer))),
            NetworkEvent::Refused { peer, address, why } => {
                tracing::warn!(?peer, address, why, "a connection was refused");
            }
        }
    }

    fn peer_lost(&self, channel: Channel, address: &str) {
        self.rpc.lost(channel, address);
        if channel == Channel::Raft
            && let Some(store) = self.store_at(address)
        {
            self.inboxes.to_store(store::Input::Unreachable(store));
        }
    }

    fn store_at(&self, raft_address: &str) -> Option<StoreId> {
        let book = self.book.lock().expect("no holder panics");
        book.stores.values().find(|store| store.raft_address == raft_address).map(|store| store.id)
    }

    fn message(&self, channel: Channel, sender: Sender, via: Via, body: Body) {
        match (channel, body) {
            // A full inbox drops raft messages: raft sends again.
            (Channel::Raft | Channel::Bulk, Body::Raft(message)) => {
                self.inboxes.to_store(store::Input::Raft(message));
            }
            (Channel::Member, Body::Member { from, message }) => {
                self.inboxes.to_prophet(prophet::Input::Raft { from, message });
            }
            (_, Body::Response { call, response }) => self.rpc.answered(call, response),
            (channel, Body::Request { call, request }) => self.request(channel, sender, via, call, request),
            (Channel::Bulk, Body::Chunk(chunk)) => {
                self.inboxes.to_store(store::Input::Chunk(chunk));
            }
            (Channel::Raft, Body::ChunkAck(ack)) => {
                self.inboxes.to_store(store::Input::ChunkAck(ack));
            }
            (Channel::Raft | Channel::Bulk, Body::Removed(removal)) => {
                self.inboxes.to_store(store::Input::Removed(removal));
            }
            (Channel::Raft | Channel::Bulk, Body::Alive { without }) => {
                self.inboxes.to_store(store::Input::Alive { store: sender.identity.store, without });
            }
            (channel, _) => {
                tracing::warn!(?channel, "a raft message on a channel that has none")
            }
        }
    }

    fn request(&self, channel: Channel, sender: Sender, via: Via, call: CallId, request: Request) {
        let origin = store::Origin { node: sender.identity.node, boot: sender.identity.boot, seq: sender.seq };
        let reply_to = ReplyTo::Remote(via.clone(), call);
        match (channel, request) {
            (Channel::Client, Request::Data(request)) => self.data(reply_to, Some(origin), request),
            (Channel::Client, Request::Routes) => {
                self.network.reply(&via, Body::Response { call, response: self.routes() });
            }
            (Channel::Prophet, Request::Prophet(request)) => {
                let ticket = prophet::Ticket(self.prophet_tickets.issue(reply_to));
                let input = prophet::Input::Request { ticket, node: sender.identity.node, request };
                if !self.inboxes.to_prophet(input) {
                    let reply = Response::Prophet(ProphetReply::NotLeader(None));
                    self.prophet_tickets.answer(&self.network, ticket.0, reply);
                }
            }
            (Channel::Member, Request::Join(request)) => {
                let ticket = prophet::Ticket(self.prophet_tickets.issue(reply_to));
                if !self.inboxes.to_prophet(prophet::Input::Join { ticket, request }) {
                    let reply = Response::Join(JoinReply::Later("Prophet is not up here yet".into()));
                    self.prophet_tickets.answer(&self.network, ticket.0, reply);
                }
            }
            (channel, request) => {
                tracing::warn!(?channel, ?request, "a request on a channel that has none of its kind")
            }
        }
    }

    fn data(&self, reply_to: ReplyTo, origin: Option<store::Origin>, request: crate::wire::DataRequest) {
        let ticket = store::Ticket(self.store_tickets.issue(reply_to));
        if !self.inboxes.to_store(store::Input::Request { ticket, origin, request }) {
            let refusal = if self.inboxes.store.get().is_some() {
                Refusal::Overloaded("the store's inbox is full".into())
            } else {
                Refusal::Unavailable("the store is not registered with Prophet yet".into())
            };
            self.store_tickets.answer(&self.network, ticket.0, Response::Data(DataReply::Refused(refusal)));
        }
    }

    fn routes(&self) -> Response {
        let (routes, stores) = self.router.known();
        Response::Routes { routes, stores }
    }

    fn local(&self, LocalCall { request, reply }: LocalCall) {
        match request {
            Request::Data(request) => self.data(ReplyTo::Local(reply), None, request),
            Request::Routes => drop(reply.send(self.routes())),
            Request::Prophet(_) | Request::Join(_) => unreachable!("those go to Prophet's addresses"),
        }
    }
}
