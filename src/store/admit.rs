//! Requests: admitted to a shard's log or its reads, or refused in a way that teaches; and their answers.

use super::{Input, Origin, Send, Store, Ticket, Waiting, births::Birth, route};
use crate::{
    engine::{EngineError, View},
    planted::{Bug, planted},
    raft::{Outcome, Refused},
    shard::{self, Command, Reply},
    types::{Instant, PeerRole, ShardId, StoreId},
    wire::{DataReply, DataRequest, Op, RaftMessage, Refusal, ShardOrder},
};

impl Store {
    /// Takes an input. Never blocks and never touches the disk.
    pub fn step(&mut self, now: Instant, input: Input) {
        match input {
            Input::Tick => self.tick(now),
            Input::Raft(message) => self.step_raft(message),
            Input::Request { ticket, origin, request } => self.request(ticket, origin, request),
            Input::StoreOrders(orders) => orders.create.into_iter().for_each(|shard| self.bear(shard)),
            Input::ShardOrders(orders) => orders.into_iter().for_each(|order| self.obey(order)),
            Input::Unreachable(store) => self.unreachable(store),
            Input::Space { capacity, available } => self.space = (capacity, available),
            Input::HandOver => self.hand_over(),
        }
    }

    fn step_raft(&mut self, message: RaftMessage) {
        let shard = message.shard;
        if message.to.store != self.id || self.quarantined.contains_key(&shard) {
            return;
        }
        match self.groups.get_mut(&shard) {
            Some(group) if group.replica() == message.to.replica => {
                group.step(message);
                self.touch(shard);
            }
            Some(_) => {}
            None => self.births.extend(Birth::of_message(&message)),
        }
    }

    fn unreachable(&mut self, store: StoreId) {
        for group in self.groups.values_mut().filter(|group| group.leads()) {
            let peer = group.machine().and_then(|machine| machine.shard().peer_on(store)).copied();
            if let Some(peer) = peer {
                group.unreachable(peer.replica);
            }
        }
    }

    fn hand_over(&mut self) {
        for (shard, group) in &mut self.groups {
            group.hand_over();
            self.dirty.insert(*shard);
        }
    }

    fn obey(&mut self, ShardOrder { shard, change }: ShardOrder) {
        let Some(group) = self.groups.get_mut(&shard.id) else { return };
        let Some(machine) = group.machine() else { return };
        let conf_ver = machine.shard().epoch.conf_ver;
        let is_behind = change.role == PeerRole::Voter && !group.status().caught_up.contains(&change.replica);
        if conf_ver != shard.epoch.conf_ver || is_behind {
            return;
        }
        self.next_token += 1;
        // Nobody waits: the next heartbeat shows what came of it.
        let _ = group.propose(self.next_token, &Command::ChangePeer { conf_ver, peer: change });
        self.touch(shard.id);
    }

    fn request(&mut self, ticket: Ticket, origin: Option<Origin>, request: DataRequest) {
        let is_new = origin.is_none_or(|origin| self.doubles.is_new(origin));
        if !is_new && !planted(Bug::ProposeDoubled) {
            // No answer: the first copy's answer is on its way, and "refused" would be a lie about it.
            return self.early.now.push(Send::Forget { ticket });
        }
        if let Err(refusal) = self.admit(ticket, request) {
            self.reply_now(ticket, DataReply::Refused(refusal));
        }
    }

    fn admit(&mut self, ticket: Ticket, request: DataRequest) -> Result<(), Refusal> {
        let DataRequest { shard, epoch, op } = request;
        self.check_limits(&op)?;
        if let Some(why) = self.quarantined.get(&shard) {
            return Err(Refusal::Unavailable(format!("the replica of {shard} is quarantined: {why}")));
        }
        let overlapping = || -> Vec<_> {
            let routes = self.groups.values().filter_map(route);
            routes.filter(|route| route.shard.range.contains(op.key())).collect()
        };
        let Some(group) = self.groups.get(&shard) else {
            let routes = overlapping();
            return Err(if routes.is_empty() { Refusal::NoSuchShard(shard) } else { Refusal::StaleEpoch(routes) });
        };
        let Some(here) = route(group) else { return Err(Refusal::NoSuchShard(shard)) };
        if here.shard.epoch.version != epoch.version || !here.shard.range.contains(op.key()) {
            return Err(Refusal::StaleEpoch(overlapping()));
        }
        if self.waiting.len() >= self.config.requests_max {
            return Err(Refusal::Overloaded("too many requests wait in this store".into()));
        }
        self.enter(ticket, shard, epoch.version, op).map_err(|refused| refusal(refused, here))
    }

    fn check_limits(&self, op: &Op) -> Result<(), Refusal> {
        let key_bytes = op.key().len();
        if key_bytes == 0 || key_bytes > self.config.key_bytes_max {
            let max = self.config.key_bytes_max;
            return Err(Refusal::Invalid(format!("key: {key_bytes} bytes; 1 to {max} are valid")));
        }
        match op {
            Op::Set { value, .. } if value.len() > self.config.value_bytes_max => Err(Refusal::Invalid(format!(
                "value: {} bytes; 0 to {} are valid",
                value.len(),
                self.config.value_bytes_max
            ))),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, ticket: Ticket, shard: ShardId, version: u64, op: Op) -> Result<(), Refused> {
        self.next_token += 1;
        let token = self.next_token;
        let group = self.groups.get_mut(&shard).expect("looked up by admit");
        match &op {
            Op::Get { .. } => group.read(token)?,
            Op::Set { key, value } => {
                group.propose(token, &Command::Set { version, key: key.clone(), value: value.clone() })?;
            }
            Op::Delete { key } => group.propose(token, &Command::Delete { version, key: key.clone() })?,
        }
        self.dirty.insert(shard);
        if planted(Bug::AcknowledgeBeforeCommit) && !op.is_read() {
            self.reply_now(ticket, DataReply::Written);
            return Ok(());
        }
        self.waiting.insert(token, Waiting { ticket, shard, op });
        Ok(())
    }

    fn reply_now(&mut self, ticket: Ticket, reply: DataReply) {
        self.early.now.push(Send::Reply { ticket, reply });
    }

    pub(super) fn answer_unknown(&mut self, token: u64, why: &str) {
        if let Some(waiting) = self.waiting.remove(&token) {
            let reply = if waiting.op.is_read() {
                DataReply::Refused(Refusal::Unavailable(why.into()))
            } else {
                DataReply::Unknown(why.into())
            };
            self.reply_now(waiting.ticket, reply);
        }
    }

    /// The answer to a proposal that ended.
    pub(super) fn answer_outcome(&mut self, token: u64, outcome: Outcome<Reply>) -> Option<Send> {
        let Waiting { ticket, shard, .. } = self.waiting.remove(&token)?;
        let reply = match outcome {
            Outcome::Applied(Reply::Written) => DataReply::Written,
            Outcome::Applied(Reply::Void(now) | Reply::Changed(now)) => DataReply::Refused(Refusal::StaleEpoch(
                self.groups.get(&shard).and_then(route).filter(|route| route.shard == now).into_iter().collect(),
            )),
            Outcome::Refused(refused) => DataReply::Refused(self.refusal_of(shard, refused)),
            Outcome::Unknown => DataReply::Unknown("leadership was lost before the write was decided".into()),
        };
        Some(Send::Reply { ticket, reply })
    }

    /// The answer to a read that may be done now, on `view`.
    pub(super) fn answer_read(&mut self, token: u64, view: &View) -> Result<Option<Send>, EngineError> {
        let Some(Waiting { ticket, shard, op }) = self.waiting.remove(&token) else { return Ok(None) };
        let reply = match shard::read(view, shard, op.key())? {
            Ok(value) => DataReply::Value(value),
            Err(_) => {
                DataReply::Refused(Refusal::StaleEpoch(self.groups.get(&shard).and_then(route).into_iter().collect()))
            }
        };
        Ok(Some(Send::Reply { ticket, reply }))
    }

    /// The answer to a read that will not be done.
    pub(super) fn answer_refused_read(&mut self, token: u64) -> Option<Send> {
        let Waiting { ticket, shard, .. } = self.waiting.remove(&token)?;
        Some(Send::Reply { ticket, reply: DataReply::Refused(self.refusal_of(shard, Refused::NotLeader)) })
    }

    fn refusal_of(&self, shard: ShardId, refused: Refused) -> Refusal {
        match self.groups.get(&shard).and_then(route) {
            Some(here) => refusal(refused, here),
            None => Refusal::NoSuchShard(shard),
        }
    }
}

fn refusal(refused: Refused, here: crate::types::ShardRoute) -> Refusal {
    match refused {
        Refused::NotLeader => Refusal::NotLeader(Box::new(here)),
        Refused::Overloaded => Refusal::Overloaded(refused.to_string()),
        Refused::Transferring | Refused::ChangePending => Refusal::Unavailable(refused.to_string()),
        Refused::TooLarge => Refusal::Invalid(format!("the request is {refused}")),
    }
}
