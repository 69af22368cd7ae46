//! Prophet: a small replicated metadata group (ids, stores, shards, members) on the same raft room as the shards,
//! and, on its leader, a view of the living cluster from which it decides what should change.
//!
//! Turned by the driver with the same three verbs as a store. Store and Prophet exchange messages only.
//!
//! Invariants:
//! - an id is given once, and later ids are greater: they come from a replicated counter, and a leader hands out only
//!   what it took from there;
//! - every order is guarded by the epoch it was decided on, so two leaders, or a late order, do no harm;
//! - what Prophet does not know is never an order to destroy;
//! - the living view is the leader's own and starts empty: nothing is moved before most stores were heard.

mod admin;
pub mod checker;
pub mod cluster;
mod decide;
mod io;
mod members;
mod meta;
pub mod operator;
mod requests;
pub mod scheduler;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

pub use io::{Input, ProphetConfig, ProphetReady, ProphetStatus, Send, Ticket};
pub use meta::{Command, MetaMachine, Reply};
pub use view::{ClusterView, HeardStore, Load};

use crate::{
    engine::{Batch, EngineError, View},
    planted::{Bug, planted},
    raft::{Group, Outcome, Outgoing},
    types::{Boot, ClusterId, Instant, NodeToken, ReplicaId, Rng, ShardId},
    wire::{JoinReply, MemberInfo, ProphetReply, RaftMessage, StoreBeat},
};

/// Ids that a leader takes from the counter at once. What it has not handed out when it falls is never used.
const IDS_AT_ONCE: u64 = 1024;
/// Members that are remembered from their messages alone.
const STRANGERS_MAX: usize = 16;
/// Between looks at balance and at silent stores.
const SCHEDULE_EVERY: Duration = Duration::from_millis(100);

/// Who waits for a proposal, or for a round that confirms the leader.
enum Waiting {
    Register(Ticket),
    Unknown(Ticket, NodeToken, StoreBeat),
    Join(Ticket, MemberInfo),
    Ids,
    Admin(Ticket),
    Nobody,
}

/// One member of Prophet's group.
pub struct Prophet {
    group: Group<MetaMachine>,
    config: ProphetConfig,
    /// Members that this one has heard from and does not know from its own data: whoever leads may have joined later.
    strangers: BTreeMap<ReplicaId, MemberInfo>,
    view: ClusterView,
    /// Operators whose present order no heartbeat has fetched yet.
    unsent: BTreeSet<ShardId>,
    ids: Range<u64>,
    asked_ids: bool,
    waiting: BTreeMap<u64, Waiting>,
    next_token: u64,
    now: Instant,
    ticks: u64,
    next_save: Instant,
    next_schedule: Instant,
    next_patrol: Instant,
    led: bool,
    early: ProphetReady,
    turned: bool,
}

impl Prophet {
    /// Puts the first member of a new cluster into `batch`.
    pub fn write_founding(cluster: ClusterId, founder: &MemberInfo, batch: &mut Batch) -> Result<(), EngineError> {
        let machine = MetaMachine::found(cluster, founder, batch);
        let peers = [meta::peer_of(founder)];
        Group::write_first(ShardId::METADATA, founder.id, &peers, &machine, batch)
    }

    /// Puts a member that was taken in, and waits for its snapshot, into `batch`.
    pub fn write_joined(id: ReplicaId, batch: &mut Batch) {
        Group::<MetaMachine>::write_uninitialised(ShardId::METADATA, id, 0, batch);
    }

    /// Opens the member that is in `view`.
    pub fn open(
        now: Instant,
        boot: Boot,
        config: ProphetConfig,
        rng: Rng,
        view: &View,
    ) -> Result<Prophet, EngineError> {
        let mut group = Group::open(ShardId::METADATA, boot, config.group.clone(), rng, view)?;
        group.campaign_alone();
        Ok(Prophet {
            group,
            config,
            strangers: BTreeMap::new(),
            view: ClusterView::default(),
            unsent: BTreeSet::new(),
            ids: 0..0,
            asked_ids: false,
            waiting: BTreeMap::new(),
            next_token: 1,
            now,
            ticks: 0,
            next_save: Instant::default(),
            next_schedule: Instant::default(),
            next_patrol: Instant::default(),
            led: false,
            early: ProphetReady::default(),
            turned: false,
        })
    }

    /// Takes an input. Never blocks and never touches the disk.
    pub fn step(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => self.tick(),
            Input::Raft { from, message } => self.step_raft(from, message),
            Input::Request { ticket, node, request } => self.request(ticket, node, request),
            Input::Join { ticket, request } => self.join(ticket, request),
            Input::HandOver => self.group.hand_over(),
        }
        self.notice_leadership();
    }

    fn step_raft(&mut self, from: Option<Box<MemberInfo>>, message: RaftMessage) {
        if let Some(from) = from.filter(|from| from.id == message.from.replica) {
            if self.strangers.len() >= STRANGERS_MAX {
                self.strangers.pop_first();
            }
            self.strangers.insert(from.id, *from);
        }
        self.group.step(message);
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.group.tick(self.now, self.ticks, &BTreeSet::new());
        if self.group.leads() {
            self.promote_members();
            self.refill_ids();
            self.save_beats();
            if self.now >= self.next_schedule {
                self.next_schedule = self.now + SCHEDULE_EVERY;
                self.judge_stores();
                self.schedule();
            }
        }
    }

    /// A new leader starts with an empty view; an old one forgets its own.
    fn notice_leadership(&mut self) {
        if self.led == self.group.leads() {
            return;
        }
        self.led = self.group.leads();
        self.view = ClusterView::new(self.now);
        self.unsent.clear();
        self.ids = self.first_ids();
        self.asked_ids = false;
        self.next_save = self.now + self.config.save_interval;
        self.refill_ids();
    }

    /// None: a leader hands out only what it took itself.
    fn first_ids(&self) -> Range<u64> {
        match self.meta().filter(|_| planted(Bug::GiveIdTwice) && self.group.leads()) {
            Some(meta) => meta.next_id().saturating_sub(IDS_AT_ONCE).max(1)..meta.next_id(),
            None => 0..0,
        }
    }

    fn refill_ids(&mut self) {
        let left = self.ids.end - self.ids.start;
        if self.group.leads() && left < IDS_AT_ONCE / 2 && !self.asked_ids {
            self.asked_ids = self.propose(Waiting::Ids, &Command::TakeIds { count: IDS_AT_ONCE });
        }
    }

    /// "Last heartbeats durable": what stores said last is written from time to time.
    fn save_beats(&mut self) {
        if self.now < self.next_save {
            return;
        }
        self.next_save = self.now + self.config.save_interval;
        let heard = self.view.heard_since_save();
        if !heard.is_empty() {
            self.propose(Waiting::Nobody, &Command::PutStores(heard));
        }
    }

    fn propose(&mut self, waiting: Waiting, command: &Command) -> bool {
        self.next_token += 1;
        let taken = self.group.propose(self.next_token, command).is_ok();
        if taken {
            self.waiting.insert(self.next_token, waiting);
        }
        taken
    }

    /// Has the majority asked whether this member leads, as for a read.
    fn confirm(&mut self, waiting: Waiting) -> bool {
        self.next_token += 1;
        let taken = self.group.read(self.next_token).is_ok();
        if taken {
            self.waiting.insert(self.next_token, waiting);
        }
        taken
    }

    fn meta(&self) -> Option<&MetaMachine> {
        self.group.machine()
    }

    /// Whether [`Self::ready`] would have something to do.
    pub fn has_work(&self) -> bool {
        self.group.has_work() || !self.early.now.is_empty() || !self.early.facts.is_empty()
    }

    /// What to write and to say. The batch must be committed, then [`Self::advance`] called, before the next input.
    pub fn ready(&mut self, batch: &mut Batch) -> Result<ProphetReady, EngineError> {
        let mut out = std::mem::take(&mut self.early);
        let ready = self.group.ready(batch)?;
        self.turned = true;
        out.now.extend(ready.now.into_iter().filter_map(|message| self.send(message)));
        out.after.extend(ready.after.into_iter().filter_map(|message| self.send(message)));
        for (token, outcome) in ready.outcomes {
            out.after.extend(self.answer(token, outcome));
        }
        out.after.extend(ready.reads.into_iter().filter_map(|token| self.confirmed(token)));
        out.after.extend(ready.refused_reads.into_iter().filter_map(|token| self.not_confirmed(token)));
        out.facts.extend(ready.facts);
        self.notice_leadership();
        Ok(out)
    }

    /// The batch of the last [`Self::ready`] is committed. Gives what may be sent now.
    pub fn advance(&mut self) -> Vec<Send> {
        if !std::mem::take(&mut self.turned) {
            return Vec::new();
        }
        let messages = self.group.advance();
        self.notice_leadership();
        messages.into_iter().filter_map(|message| self.send(message)).collect()
    }

    fn send(&self, outgoing: Outgoing) -> Option<Send> {
        let to = outgoing.message.to.replica;
        let address = self.member(to)?.peer_address.clone();
        let from = self.meta().and_then(|meta| meta.member(self.group.replica())).cloned().map(Box::new);
        Some(Send::Raft { address, from, message: outgoing.message })
    }

    fn answer(&mut self, token: u64, outcome: Outcome<Reply>) -> Option<Send> {
        let waiting = self.waiting.remove(&token)?;
        match waiting {
            Waiting::Nobody | Waiting::Unknown(..) => None,
            Waiting::Admin(ticket) => {
                let reply = match outcome {
                    Outcome::Applied(Reply::Done) => ProphetReply::Accepted,
                    Outcome::Applied(_) => ProphetReply::Refused("the store's state has changed meanwhile".into()),
                    Outcome::Refused(why) => ProphetReply::Later(why.to_string()),
                    Outcome::Unknown => ProphetReply::Unknown("Prophet's leadership changed meanwhile".into()),
                };
                Some(Send::Reply { ticket, reply })
            }
            Waiting::Ids => {
                self.asked_ids = false;
                if let Outcome::Applied(Reply::Ids(ids)) = outcome {
                    self.ids = ids;
                }
                None
            }
            Waiting::Register(ticket) => {
                // The registration took ids beyond those that are left here. What is given from now on must be beyond
                // them, since stores tell a late replica by its id.
                self.ids = 0..0;
                self.refill_ids();
                Some(Send::Reply { ticket, reply: self.registered(outcome) })
            }
            Waiting::Join(ticket, member) => Some(Send::JoinReply { ticket, reply: self.joined(&member, outcome) }),
        }
    }

    /// Whoever waited for [`Self::confirm`] is answered.
    fn confirmed(&mut self, token: u64) -> Option<Send> {
        let Waiting::Unknown(ticket, node, beat) = self.waiting.remove(&token)? else { return None };
        Some(Send::Reply { ticket, reply: self.judge_unknown(node, beat) })
    }

    fn not_confirmed(&mut self, token: u64) -> Option<Send> {
        let Waiting::Unknown(ticket, ..) = self.waiting.remove(&token)? else { return None };
        Some(Send::Reply { ticket, reply: ProphetReply::NotLeader(self.leader_rpc()) })
    }

    fn registered(&self, outcome: Outcome<Reply>) -> ProphetReply {
        match (outcome, self.meta()) {
            (Outcome::Applied(Reply::Store(store)), Some(meta)) => {
                ProphetReply::Registered { cluster: meta.cluster(), store }
            }
            _ => ProphetReply::NotLeader(self.leader_rpc()),
        }
    }

    fn joined(&self, member: &MemberInfo, outcome: Outcome<Reply>) -> JoinReply {
        match (outcome, self.meta()) {
            (Outcome::Applied(Reply::Member { .. }), Some(meta)) => match meta.member_of(member.node) {
                Some(member) => self.welcome(meta, member.id),
                None => JoinReply::Later("another membership change came first".into()),
            },
            _ => JoinReply::Later("leadership changed meanwhile".into()),
        }
    }

    /// What the node publishes about Prophet.
    pub fn status(&self) -> ProphetStatus {
        let status = self.group.status();
        ProphetStatus {
            cluster: self.meta().map(MetaMachine::cluster).unwrap_or_default(),
            leader: status.leader,
            members: self.meta().map(MetaMachine::members).unwrap_or_default(),
        }
    }
}
