//! The key-value machine.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{Command, Event, Preparation, Reply, Sums};
use crate::{
    engine::{Batch, EngineError, Table, View},
    planted::{Bug, planted},
    raft::{Machine, MemberChange},
    types::{Epoch, KeyRange, Peer, PeerRole, ReplicaId, Shard},
    wire::{decode, encode},
};

/// One replica's copy of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvMachine {
    pub(super) shard: Shard,
    /// Of all rows in the range.
    pub(super) sums: Sums,
    pub(super) preparation: Option<Preparation>,
    /// What happened since the store asked last.
    #[serde(skip)]
    pub(super) events: Vec<Event>,
}

impl KvMachine {
    /// A shard whose rows add up to `sums`.
    pub fn new(shard: Shard, sums: Sums) -> KvMachine {
        KvMachine { shard, sums, preparation: None, events: Vec::new() }
    }

    /// A shard without keys.
    pub fn empty(shard: Shard) -> KvMachine {
        KvMachine::new(shard, Sums::default())
    }

    /// The descriptor.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        self.sums.bytes
    }

    /// Size and content.
    pub fn sums(&self) -> Sums {
        self.sums
    }

    /// The split that was prepared last and not done.
    pub fn preparation(&self) -> Option<&Preparation> {
        self.preparation.as_ref()
    }

    /// Whether the counters are what the rows say.
    pub fn is_counted_right(&self, view: &View) -> Result<bool, EngineError> {
        let range = &self.shard.range;
        Ok(Sums::count(view.scan(Table::Data, &range.start, &range.end)?)? == self.sums)
    }

    fn change(
        &mut self,
        version: u64,
        key: Bytes,
        new: Option<Bytes>,
        batch: &mut Batch,
    ) -> Result<Reply, EngineError> {
        let is_current = version == self.shard.epoch.version && self.shard.range.contains(&key);
        if !is_current && !planted(Bug::DropEpochCheck) {
            return Ok(Reply::Void(self.shard.clone()));
        }
        if let Some(old) = batch.get(Table::Data, &key)? {
            self.count(&key, |sums| sums.minus(Sums::of(&key, &old)));
        }
        match new {
            Some(value) => {
                self.count(&key, |sums| sums.plus(Sums::of(&key, &value)));
                batch.put(Table::Data, key.to_vec(), value);
            }
            None => batch.delete(Table::Data, key.to_vec()),
        }
        Ok(Reply::Written)
    }

    fn count(&mut self, key: &[u8], change: impl Fn(Sums) -> Sums) {
        self.sums = change(self.sums);
        if let Some(preparation) = self.preparation.as_mut().filter(|preparation| key < &preparation.key[..]) {
            preparation.changed = change(preparation.changed);
        }
    }

    fn change_peer(&mut self, conf_ver: u64, peer: Peer) -> Reply {
        if conf_ver != self.shard.epoch.conf_ver || !self.may_become(peer) {
            return Reply::Void(self.shard.clone());
        }
        self.shard.peers.retain(|old| old.replica != peer.replica);
        self.shard.peers.push(peer);
        self.shard.peers.sort_by_key(|peer| peer.replica);
        self.changed_members(None)
    }

    fn remove_peer(&mut self, conf_ver: u64, replica: ReplicaId) -> Reply {
        let Some(gone) = self.shard.peer(replica).copied().filter(|peer| self.may_go(peer)) else {
            return Reply::Void(self.shard.clone());
        };
        if conf_ver != self.shard.epoch.conf_ver {
            return Reply::Void(self.shard.clone());
        }
        self.shard.peers.retain(|peer| peer.replica != replica);
        self.changed_members(Some(gone))
    }

    fn changed_members(&mut self, removed: Option<Peer>) -> Reply {
        self.shard.epoch.conf_ver += 1;
        self.events.push(Event::Described { shard: self.shard.clone(), removed });
        Reply::Changed(self.shard.clone())
    }

    /// The last voter stays.
    fn may_go(&self, peer: &Peer) -> bool {
        peer.role == PeerRole::Learner || self.shard.voters().count() > 1
    }

    /// A new replica starts as a learner on a store that has none; a learner becomes a voter where it is.
    fn may_become(&self, peer: Peer) -> bool {
        match peer.role {
            PeerRole::Learner => self.shard.peer(peer.replica).is_none() && self.shard.peer_on(peer.store).is_none(),
            PeerRole::Voter => self
                .shard
                .peer(peer.replica)
                .is_some_and(|old| old.role == PeerRole::Learner && old.store == peer.store),
        }
    }
}

impl Machine for KvMachine {
    type Command = Command;
    type Reply = Reply;
    type Event = Event;

    fn open(row: &[u8], _view: &View) -> Result<KvMachine, EngineError> {
        Ok(decode(row)?)
    }

    fn row(&self) -> Vec<u8> {
        encode(self)
    }

    fn apply(&mut self, command: Command, batch: &mut Batch) -> Result<Reply, EngineError> {
        match command {
            Command::Set { version, key, value } => self.change(version, key, Some(value), batch),
            Command::Delete { version, key } => self.change(version, key, None, batch),
            Command::ChangePeer { conf_ver, peer } => Ok(self.change_peer(conf_ver, peer)),
            Command::RemovePeer { conf_ver, replica } => Ok(self.remove_peer(conf_ver, replica)),
            Command::PrepareSplit { version, key, shard } => Ok(self.prepare_split(version, key, shard)),
            Command::Split { epoch, shard, replicas, left } => self.split(epoch, shard, &replicas, left),
        }
    }

    fn membership(command: &Command) -> Option<MemberChange> {
        match command {
            Command::ChangePeer { peer, .. } => Some(MemberChange::Put(*peer)),
            Command::RemovePeer { replica, .. } => Some(MemberChange::Remove(*replica)),
            _ => None,
        }
    }

    fn accepted(reply: &Reply) -> bool {
        matches!(reply, Reply::Changed(_))
    }

    fn peer(&self, replica: ReplicaId) -> Option<Peer> {
        self.shard.peer(replica).copied()
    }

    fn epoch(&self) -> Epoch {
        self.shard.epoch
    }

    fn range(&self) -> Option<&KeyRange> {
        Some(&self.shard.range)
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The row alone: keys and values go from store to store in chunks.
    fn snapshot(row: &[u8], _view: &View) -> Result<Vec<u8>, EngineError> {
        Ok(row.to_vec())
    }

    fn install(snapshot: &[u8], _batch: &mut Batch) -> Result<KvMachine, EngineError> {
        let mut machine: KvMachine = decode(snapshot)?;
        machine.events.push(Event::Described { shard: machine.shard.clone(), removed: None });
        Ok(machine)
    }

    fn data_hash(&self) -> u64 {
        xxh3_64(&encode(self))
    }
}
