//! Raft messages and Prophet's orders: to the replica that they are for, and to no other.

use raft::eraftpb::MessageType;

use super::{
    Input, Store, held,
    quarantine::contained_each,
    room::{self, Room},
    watch::Why,
};
use crate::{
    planted::{Bug, planted},
    raft::Group,
    shard::{Command, KvMachine},
    types::{Instant, PeerRole, StoreId, Untimely},
    wire::{RaftMessage, ShardOrder, ShardStep, SnapshotChunk, SnapshotState},
};

impl Store {
    /// Takes an input. Never blocks and never touches the disk.
    pub fn step(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::Tick => self.tick(now),
            Input::Raft(message) => self.step_raft(message),
            Input::Chunk(chunk) => self.step_chunk(*chunk),
            Input::ChunkAck(ack) => self.chunk_ack(ack),
            Input::Request { ticket, origin, request } => self.request(ticket, origin, request),
            Input::StoreOrders(orders) => orders.create.into_iter().for_each(|shard| self.bear(shard)),
            Input::ShardOrders(orders) => self.obey_all(orders),
            Input::SplitIds { shard, ids } => self.split_ids(shard, ids),
            Input::Removed(removal) => self.removed(removal),
            Input::Alive { store, without } => self.hear_alive(store, without),
            Input::TellAll => self.tell_all(),
            Input::Unreachable(store) => self.unreachable(store),
            Input::Space { capacity, available } => self.room = Room { capacity, available },
            Input::HandOver => self.hand_over(),
        }
    }

    fn step_raft(&mut self, message: RaftMessage) {
        let shard = message.shard;
        // Snapshots come in chunks.
        let is_snapshot = held::kind(&message) == Some(MessageType::MsgSnapshot);
        if !self.finds_replica(&message) || self.installing.contains_key(&shard) || is_snapshot {
            return;
        }
        // Its leader sends it again.
        if self.has_no_room_for_entries() && room::brings_entries(&message) {
            return;
        }
        self.with_group(shard, |group| group.step(message));
        self.touch(shard);
    }

    fn step_chunk(&mut self, chunk: SnapshotChunk) {
        if !self.has_no_room_for_entries() && self.finds_replica(&chunk.head) {
            self.take_chunk(chunk);
        } else if self.has_no_room_for_entries() || self.quarantined.contains_key(&chunk.head.shard) {
            // Its sender has no use for waiting.
            self.answer_chunk(&chunk, SnapshotState::Refused);
        }
    }

    /// Whether the very replica that a message is for is here; if not, does what the message means to those that are.
    fn finds_replica(&mut self, message: &RaftMessage) -> bool {
        let shard = message.shard;
        self.hear_store(message.from.store);
        if message.to.store != self.id {
            return false;
        }
        if self.is_buried(shard, message.to.replica) {
            self.note_untimely(shard, Untimely::Destroyed);
            return false;
        }
        if self.is_from_removed(message) {
            self.note_untimely(shard, Untimely::Removed);
            return false;
        }
        if self.quarantined.contains_key(&shard) {
            self.step_quarantined(message);
            return false;
        }
        let replica = self.groups.get(&shard).map(|group| group.replica());
        match replica {
            Some(replica) if replica == message.to.replica => {}
            Some(_) => self.superseded(message),
            None => self.unborn(message),
        }
        replica == Some(message.to.replica)
    }

    fn unreachable(&mut self, store: StoreId) {
        self.wake_shared_with(store, Why::Unreachable);
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
        let now = group.machine().map(|machine| machine.shard().epoch.conf_ver);
        let Some(now) = now.filter(|now| *now == conf_ver || planted(Bug::ObeyStale)) else {
            return self.note_untimely(shard, Untimely::Order);
        };
        if !group.leads() {
            return;
        }
        self.next_token += 1;
        let token = self.next_token;
        self.with_group(shard, |group| carry_out(group, token, now, step));
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
