//! Raft messages and Prophet's orders: to the replica that they are for, and to no other.

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::{Input, Store, quarantine::contained_each};
use crate::{
    raft::Group,
    shard::{Command, KvMachine},
    types::{Instant, PeerRole, StoreId},
    wire::{RaftMessage, ShardOrder, ShardStep},
};

impl Store {
    /// Takes an input. Never blocks and never touches the disk.
    pub fn step(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::Tick => self.tick(now),
            Input::Raft(message) => self.step_raft(message),
            Input::Request { ticket, origin, request } => self.request(ticket, origin, request),
            Input::StoreOrders(orders) => orders.create.into_iter().for_each(|shard| self.bear(shard)),
            Input::ShardOrders(orders) => self.obey_all(orders),
            Input::SplitIds { shard, ids } => self.split_ids(shard, ids),
            Input::Removed(removal) => self.removed(removal),
            Input::Alive { store, without } => self.hear_alive(store, without),
            Input::TellAll => self.tell_all(),
            Input::Unreachable(store) => self.unreachable(store),
            Input::Space { capacity, available } => self.space = (capacity, available),
            Input::HandOver => self.hand_over(),
        }
    }

    fn step_raft(&mut self, message: RaftMessage) {
        let shard = message.shard;
        self.hear_store(message.from.store);
        let is_stale = self.is_buried(shard, message.to.replica);
        if message.to.store != self.id || is_stale || self.is_from_removed(&message) {
            return;
        }
        if self.quarantined.contains_key(&shard) {
            return self.step_quarantined(&message);
        }
        match self.groups.get(&shard).map(|group| group.replica()) {
            Some(replica) if replica == message.to.replica => self.step_group(message),
            Some(_) => self.superseded(&message),
            None => self.unborn(message),
        }
    }

    fn step_group(&mut self, message: RaftMessage) {
        let shard = message.shard;
        let is_snapshot = Message::parse_from_bytes(&message.message)
            .is_ok_and(|inner| inner.get_msg_type() == MessageType::MsgSnapshot);
        if is_snapshot {
            // A snapshot's keys are reserved until the turn is over; then it is installed, or was of no use.
            let Some(range) = message.range.clone() else { return };
            if !self.has_room(shard, &range) {
                return;
            }
            self.reserved.insert(shard, range);
        }
        self.with_group(shard, |group| group.step(message));
        self.touch(shard);
    }

    fn unreachable(&mut self, store: StoreId) {
        self.wake_shared_with(store, false);
        let broken = contained_each(&mut self.groups, |_, group| {
            let peer = group.machine().and_then(|machine| machine.shard().peer_on(store)).copied();
            if let Some(peer) = peer.filter(|_| group.leads()) {
                group.unreachable(peer.replica);
            }
        });
        self.quarantine_all(broken);
    }

    fn hand_over(&mut self) {
        let broken = contained_each(&mut self.groups, |shard, group| {
            group.hand_over();
            self.dirty.insert(shard);
        });
        self.quarantine_all(broken);
    }

    /// Where Prophet has something in mind, more comes soon.
    fn obey_all(&mut self, orders: Vec<ShardOrder>) {
        if !orders.is_empty() {
            self.busy_until = self.now + self.config.shard_beat * 2;
        }
        orders.into_iter().for_each(|order| self.obey(order));
    }

    /// Nobody waits for what comes of an order: the next heartbeat shows it.
    fn obey(&mut self, ShardOrder { shard, conf_ver, step }: ShardOrder) {
        let Some(group) = self.groups.get(&shard) else { return };
        let is_current = group.machine().is_some_and(|machine| machine.shard().epoch.conf_ver == conf_ver);
        if !is_current || !group.leads() {
            return;
        }
        self.next_token += 1;
        let token = self.next_token;
        self.with_group(shard, |group| carry_out(group, token, conf_ver, step));
        self.touch(shard);
    }
}

fn carry_out(group: &mut Group<KvMachine>, token: u64, conf_ver: u64, step: ShardStep) {
    let caught_up = group.status().caught_up;
    match step {
        ShardStep::Put(peer) if peer.role == PeerRole::Voter && !caught_up.contains(&peer.replica) => {}
        ShardStep::Put(peer) => {
            let _ = group.propose(token, &Command::ChangePeer { conf_ver, peer });
        }
        // It would be refused: somebody else leads first, and is sent the order then.
        ShardStep::Remove(peer) if peer.replica == group.replica() => group.hand_over(),
        ShardStep::Remove(peer) => {
            let _ = group.propose(token, &Command::RemovePeer { conf_ver, replica: peer.replica });
        }
        ShardStep::Lead(peer) if caught_up.contains(&peer.replica) => group.transfer(peer.replica),
        ShardStep::Lead(_) => {}
    }
}
