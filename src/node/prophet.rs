//! Prophet on this node: founded, joined or resumed, then driven.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{
    NodeError,
    discovery::publish,
    drive::{Machine, Pace, Turn, drive},
    folder::{Folder, open_engine},
    store::Tickets,
    watchdog::Watch,
};
use crate::{
    client::{CallError, Rpc},
    config::Config,
    engine::{Batch, Engine, EngineError},
    env::{Channel, Disk, Env, Identity, Network, SharedIdentity},
    http::discovery::Discovery,
    planted::{Bug, planted},
    prophet::{Input, Prophet, ProphetConfig, Send, Ticket},
    types::{ClusterId, Fact, Instant, ReplicaId},
    wire::{Body, JoinReply, JoinRequest, MemberInfo, Request, Response},
};

/// How long one member is waited for that was asked to take this node in.
const JOIN_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two rounds of asking.
const JOIN_PAUSE: Duration = Duration::from_millis(300);

impl Machine for Prophet {
    type Input = Input;
    type Send = Send;

    fn tick() -> Input {
        Input::Tick
    }

    fn step(&mut self, now: Instant, input: Input) {
        Prophet::step(self, now, input);
    }

    fn has_work(&self) -> bool {
        Prophet::has_work(self)
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<Turn<Send>, EngineError> {
        let ready = Prophet::ready(self, batch)?;
        Ok(Turn { now: ready.now, after: ready.after, facts: ready.facts })
    }

    fn advance(&mut self) -> Vec<Send> {
        Prophet::advance(self)
    }
}

/// What a Prophet node needs to come to life.
pub(super) struct Seat<E: Env> {
    pub env: E,
    pub config: Config,
    pub network: E::Network,
    pub rpc: Rpc<E>,
    pub identity: SharedIdentity,
    pub folder: Arc<tokio::sync::Mutex<Folder>>,
    /// The first hello of a living cluster, seen while this node had none.
    pub contact: watch::Receiver<Option<Identity>>,
    pub discovery: watch::Sender<Discovery>,
    pub tickets: Tickets,
    pub watch: Watch,
}

impl<E: Env> Seat<E> {
    /// Founds, joins or resumes, then drives Prophet until the inbox closes.
    pub async fn run(self, inbox: mpsc::Receiver<Input>) -> Result<(), NodeError> {
        let engine = open_engine(&self.env, &self.config, "prophet.redb").await?;
        if self.folder.lock().await.record.member.is_none() {
            if self.config.prophet.embed_etcd.join.is_empty() {
                self.found(&engine).await?;
            } else {
                self.join(&engine).await?;
            }
        }
        let boot = self.identity.get().boot;
        let config = ProphetConfig::new(&self.config);
        let prophet = Prophet::open(self.env.now(), boot, config, self.env.rng(), &engine.view()?)?;
        let pace = Pace {
            tick_interval: self.config.raft.tick_interval,
            watch: self.watch,
            folder: self.config.dir_data.clone(),
        };
        let mut status = Default::default();
        let Seat { env, network, tickets, discovery, .. } = self;
        let deliver = move |prophet: &Prophet, sends: Vec<Send>| {
            sends.into_iter().for_each(|send| carry_out(&network, &tickets, send));
            publish(prophet, &mut status, &discovery);
        };
        Ok(drive(env, engine, prophet, inbox, pace, deliver).await?)
    }

    fn own_info(&self) -> MemberInfo {
        let config = &self.config;
        MemberInfo {
            id: ReplicaId::NONE,
            node: self.identity.get().node,
            name: config.prophet.name.clone(),
            peer_address: config.peer_address(),
            client_url: config.prophet.embed_etcd.advertise_client_urls.clone(),
            rpc_address: config.prophet.rpc_advertise_addr.clone(),
            voter: false,
        }
    }

    /// An empty folder and an empty `join`: listen first, in case this is not a new cluster but a lost folder.
    async fn found(&self, engine: &Engine) -> Result<(), NodeError> {
        self.env.sleep(self.config.prophet.founding_wait).await;
        self.refuse_second_cluster()?;
        let cluster = ClusterId(self.env.rng().id());
        let founder = MemberInfo { id: ReplicaId(1), voter: true, ..self.own_info() };
        let mut batch = Batch::new(engine.view()?);
        Prophet::write_founding(cluster, &founder, &mut batch)?;
        self.commit(engine, batch).await?;
        self.env.observe(&Fact::Decision(format!("{} founds {cluster}", founder.node)));
        tracing::info!(%cluster, "a new cluster is founded");
        self.become_member(cluster, founder.id).await
    }

    fn refuse_second_cluster(&self) -> Result<(), NodeError> {
        match *self.contact.borrow() {
            Some(peer) if !planted(Bug::FoundTwice) => Err(NodeError::Identity(format!(
                "this data folder is empty and `join` is empty, but {} of the living {} knows this address: founding a \
                 second cluster beside it is refused. If this node lost its data, replace it as a new member with \
                 `join`; if a new cluster is wanted, give it other addresses",
                peer.node, peer.cluster
            ))),
            _ => Ok(()),
        }
    }

    async fn join(&self, engine: &Engine) -> Result<(), NodeError> {
        let request = JoinRequest { member: self.own_info() };
        let mut targets = self.config.join_addresses();
        loop {
            for address in targets.clone() {
                match ask(&self.rpc, &address, &request).await {
                    Some(JoinReply::Joined { cluster, id }) => {
                        let mut batch = Batch::new(engine.view()?);
                        Prophet::write_joined(id, &mut batch);
                        self.commit(engine, batch).await?;
                        tracing::info!(%cluster, %id, "taken in by Prophet");
                        return self.become_member(cluster, id).await;
                    }
                    Some(JoinReply::Refused(why)) => {
                        return Err(NodeError::Identity(format!("Prophet at {address} refuses this node: {why}")));
                    }
                    Some(JoinReply::NotLeader(Some(leader))) if !targets.contains(&leader) => targets.push(leader),
                    Some(JoinReply::Later(why)) => tracing::debug!(address, why, "not taken in yet"),
                    Some(JoinReply::NotLeader(_)) | None => {}
                }
            }
            let pause = self.env.rng().jitter(JOIN_PAUSE);
            self.env.sleep(pause).await;
        }
    }

    async fn commit(&self, engine: &Engine, batch: Batch) -> Result<(), EngineError> {
        let engine = engine.clone();
        self.env.disk().offload(move || engine.commit(batch)).await
    }

    /// The group's rows are durable; now the folder says whose they are. A crash in between founds or joins again,
    /// over the same rows.
    async fn become_member(&self, cluster: ClusterId, id: ReplicaId) -> Result<(), NodeError> {
        let mut folder = self.folder.lock().await;
        check_cluster(folder.record.cluster, cluster)?;
        folder.record.cluster = cluster;
        folder.record.member = Some(id);
        folder.save(&self.env).await?;
        self.identity.set_cluster(cluster);
        Ok(())
    }
}

async fn ask<E: Env>(rpc: &Rpc<E>, address: &str, request: &JoinRequest) -> Option<JoinReply> {
    match rpc.call(Channel::Member, address, Request::Join(request.clone()), JOIN_PATIENCE).await {
        Ok(Response::Join(reply)) => Some(reply),
        Ok(_) | Err(CallError::NotSent | CallError::Lost) => None,
    }
}

/// A folder of one cluster is never made part of another one.
pub(super) fn check_cluster(ours: ClusterId, theirs: ClusterId) -> Result<(), NodeError> {
    if ours.is_none() || ours == theirs {
        return Ok(());
    }
    Err(NodeError::Identity(format!(
        "this data folder belongs to {ours}, and the configured Prophet is of {theirs}; use the right addresses or an \
         empty folder"
    )))
}

fn carry_out<N: Network>(network: &N, tickets: &Tickets, send: Send) {
    match send {
        Send::Raft { address, from, message } => {
            network.send(Channel::Member, &address, Body::Member { from, message });
        }
        Send::Reply { ticket: Ticket(ticket), reply } => tickets.answer(network, ticket, Response::Prophet(reply)),
        Send::JoinReply { ticket: Ticket(ticket), reply } => tickets.answer(network, ticket, Response::Join(reply)),
    }
}
