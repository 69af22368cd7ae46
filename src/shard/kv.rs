//! The key-value machine.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Command, Reply};
use crate::{
    engine::{Batch, EngineError, Table, View},
    raft::{GroupRow, Machine},
    types::{Peer, PeerRole, ReplicaId, Shard, ShardId},
    wire::{decode, encode},
};

/// One replica's copy of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvMachine {
    shard: Shard,
    /// Bytes of keys and values.
    bytes: u64,
    /// Sum over all keys of a hash of key and value: does not depend on the order in which they were written.
    content: u64,
}

/// A snapshot: the machine's row and every key. One message in this version; it is bounded by the frame size.
#[derive(Serialize, Deserialize)]
struct KvSnapshot {
    machine: KvMachine,
    rows: Vec<(Vec<u8>, Bytes)>,
}

impl KvMachine {
    /// A shard without keys.
    pub fn empty(shard: Shard) -> KvMachine {
        KvMachine { shard, bytes: 0, content: 0 }
    }

    /// The descriptor.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Recounts bytes and content hash from the rows: what the counters must be.
    pub fn recount(&self, view: &View) -> Result<(u64, u64), EngineError> {
        let mut sums = (0, 0u64);
        for row in view.scan(Table::Data, &self.shard.range.start, &self.shard.range.end)? {
            let (key, value) = row?;
            sums.0 += (key.len() + value.len()) as u64;
            sums.1 = sums.1.wrapping_add(hash(&key, &value));
        }
        Ok(sums)
    }

    /// Whether the counters are what the rows say.
    pub fn is_counted_right(&self, view: &View) -> Result<bool, EngineError> {
        Ok(self.recount(view)? == (self.bytes, self.content))
    }

    fn change(
        &mut self,
        version: u64,
        key: Bytes,
        new: Option<Bytes>,
        batch: &mut Batch,
    ) -> Result<Reply, EngineError> {
        if version != self.shard.epoch.version || !self.shard.range.contains(&key) {
            return Ok(Reply::Void(self.shard.clone()));
        }
        if let Some(old) = batch.get(Table::Data, &key)? {
            self.bytes -= (key.len() + old.len()) as u64;
            self.content = self.content.wrapping_sub(hash(&key, &old));
        }
        match new {
            Some(value) => {
                self.bytes += (key.len() + value.len()) as u64;
                self.content = self.content.wrapping_add(hash(&key, &value));
                batch.put(Table::Data, key.to_vec(), value);
            }
            None => batch.delete(Table::Data, key.to_vec()),
        }
        Ok(Reply::Written)
    }

    fn change_peer(&mut self, conf_ver: u64, peer: Peer) -> Reply {
        if conf_ver != self.shard.epoch.conf_ver || !self.may_become(peer) {
            return Reply::Void(self.shard.clone());
        }
        self.shard.peers.retain(|old| old.replica != peer.replica);
        self.shard.peers.push(peer);
        self.shard.peers.sort_by_key(|peer| peer.replica);
        self.shard.epoch.conf_ver += 1;
        Reply::Changed(self.shard.clone())
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
        }
    }

    fn membership(command: &Command) -> Option<Peer> {
        match command {
            Command::ChangePeer { peer, .. } => Some(*peer),
            _ => None,
        }
    }

    fn accepted(reply: &Reply) -> bool {
        matches!(reply, Reply::Changed(_))
    }

    fn peer(&self, replica: ReplicaId) -> Option<Peer> {
        self.shard.peer(replica).copied()
    }

    fn snapshot(row: &[u8], view: &View) -> Result<Vec<u8>, EngineError> {
        let machine: KvMachine = decode(row)?;
        let range = &machine.shard.range;
        let rows = view.scan(Table::Data, &range.start, &range.end)?.collect::<Result<_, _>>()?;
        Ok(encode(&KvSnapshot { machine, rows }))
    }

    fn install(snapshot: &[u8], batch: &mut Batch) -> Result<KvMachine, EngineError> {
        let KvSnapshot { machine, rows } = decode(snapshot)?;
        let range = &machine.shard.range;
        for (key, _) in batch.scan(Table::Data, &range.start, &range.end)? {
            batch.delete(Table::Data, key);
        }
        for (key, value) in rows {
            assert!(range.contains(&key), "a snapshot holds a key outside of its range");
            batch.put(Table::Data, key, value);
        }
        Ok(machine)
    }

    fn data_hash(&self) -> u64 {
        xxh3_64_with_seed(&encode(&self.shard), self.content ^ self.bytes)
    }
}

/// The value of `key` in `view`, and the descriptor that says whether the shard still owns it: both of one moment.
pub fn read(view: &View, shard: ShardId, key: &[u8]) -> Result<Result<Option<Bytes>, Option<Shard>>, EngineError> {
    let Some(row) = GroupRow::read(view, shard)?.filter(GroupRow::is_initialised) else { return Ok(Err(None)) };
    let machine: KvMachine = decode(&row.machine)?;
    if !machine.shard.range.contains(key) {
        return Ok(Err(Some(machine.shard)));
    }
    Ok(Ok(view.get(Table::Data, key)?))
}

fn hash(key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64(key))
}
