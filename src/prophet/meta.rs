//! The metadata machine: what Prophet must never forget.
//!
//! Invariants:
//! - `next_id` only grows, and every id (shard, replica, store, member) is taken from it;
//! - a data folder has one store id for ever; a member's name and peer address are unique;
//! - a shard's descriptor is replaced only by one with a newer epoch;
//! - a store that was removed stays so.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{
    engine::{Batch, EngineError, Table, View},
    raft::{Machine, MemberChange},
    types::{ClusterId, Epoch, KeyRange, NodeToken, Peer, PeerRole, ReplicaId, Shard, ShardId, StoreId},
    wire::{MemberInfo, StoreInfo, StoreState, decode, encode},
};

/// A replicated command of Prophet's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A data folder gets its store id, now or earlier. The first store of all gets the first shards too.
    Register {
        /// What it says of itself.
        info: StoreInfo,
        /// Where the key space is cut when it is first created.
        cuts: Vec<Vec<u8>>,
    },
    /// What stores said last.
    PutStores(Vec<StoreInfo>),
    /// Descriptors as their leaders reported them.
    PutShards(Vec<Shard>),
    /// What is decided about a store. Void for a store that is removed: it never comes back.
    SetStoreState {
        /// The store.
        store: StoreId,
        /// From now on.
        state: StoreState,
    },
    /// Takes ids from the counter.
    TakeIds {
        /// How many.
        count: u64,
    },
    /// Adds a member as learner, or makes it a voter. A membership change of this group.
    PutMember(MemberInfo),
}

/// What applying a command gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The store's id.
    Store(StoreId),
    /// Ids for the proposer alone.
    Ids(Range<u64>),
    /// Whether the membership changed.
    Member {
        /// False if the command was void.
        changed: bool,
    },
    /// Done.
    Done,
    /// Nothing changed.
    Void,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    cluster: ClusterId,
    next_id: u64,
    /// Sum of a hash of every row.
    content: u64,
}

/// All metadata, in memory and as rows.
#[derive(Clone, Debug, PartialEq)]
pub struct MetaMachine {
    head: Head,
    members: BTreeMap<ReplicaId, MemberInfo>,
    stores: BTreeMap<StoreId, StoreInfo>,
    shards: BTreeMap<ShardId, Shard>,
}

const MEMBER: u8 = b'm';
const STORE: u8 = b's';
const SHARD: u8 = b'r';

/// A member as a peer of its group.
pub(super) fn peer_of(member: &MemberInfo) -> Peer {
    let role = if member.voter { PeerRole::Voter } else { PeerRole::Learner };
    Peer { replica: member.id, store: StoreId::NONE, role }
}

impl MetaMachine {
    pub(super) fn found(cluster: ClusterId, founder: &MemberInfo, batch: &mut Batch) -> MetaMachine {
        assert!(founder.voter && !founder.id.is_none(), "the founder votes");
        let mut machine = MetaMachine::empty(Head { cluster, next_id: founder.id.0 + 1, content: 0 });
        machine.put(MEMBER, founder.id.0, founder, batch).expect("a new engine has no rows to read");
        machine.members.insert(founder.id, founder.clone());
        machine
    }

    fn empty(head: Head) -> MetaMachine {
        MetaMachine { head, members: BTreeMap::new(), stores: BTreeMap::new(), shards: BTreeMap::new() }
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.head.cluster
    }

    /// The id that is given next.
    pub fn next_id(&self) -> u64 {
        self.head.next_id
    }

    /// All members.
    pub fn members(&self) -> Vec<MemberInfo> {
        self.members.values().cloned().collect()
    }

    /// The member with this id.
    pub fn member(&self, id: ReplicaId) -> Option<&MemberInfo> {
        self.members.get(&id)
    }

    /// The member that lives in this data folder.
    pub fn member_of(&self, node: NodeToken) -> Option<&MemberInfo> {
        self.members.values().find(|member| member.node == node)
    }

    /// All stores.
    pub fn stores(&self) -> &BTreeMap<StoreId, StoreInfo> {
        &self.stores
    }

    /// The store that lives in this data folder.
    pub fn store_of(&self, node: NodeToken) -> Option<&StoreInfo> {
        self.stores.values().find(|store| store.node == node)
    }

    /// All shards.
    pub fn shards(&self) -> &BTreeMap<ShardId, Shard> {
        &self.shards
    }

    fn put<T: Serialize>(&mut self, kind: u8, id: u64, value: &T, batch: &mut Batch) -> Result<(), EngineError> {
        let key = [&[kind][..], &id.to_be_bytes()].concat();
        if let Some(old) = batch.get(Table::Data, &key)? {
            self.head.content = self.head.content.wrapping_sub(hash(&key, &old));
        }
        let value = Bytes::from(encode(value));
        self.head.content = self.head.content.wrapping_add(hash(&key, &value));
        batch.put(Table::Data, key, value);
        Ok(())
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, EngineError> {
            Ok(decode(value)?)
        }
        match key.first() {
            Some(&MEMBER) => {
                let member: MemberInfo = read(value)?;
                self.members.insert(member.id, member);
            }
            Some(&STORE) => {
                let store: StoreInfo = read(value)?;
                self.stores.insert(store.id, store);
            }
            Some(&SHARD) => {
                let shard: Shard = read(value)?;
                self.shards.insert(shard.id, shard);
            }
            _ => return Err(EngineError::Damaged(format!("metadata row {key:?}"))),
        }
        Ok(())
    }

    fn take_id(&mut self) -> u64 {
        self.head.next_id += 1;
        self.head.next_id - 1
    }

    fn register(&mut self, info: StoreInfo, cuts: &[Vec<u8>], batch: &mut Batch) -> Result<Reply, EngineError> {
        if let Some(known) = self.store_of(info.node) {
            return Ok(Reply::Store(known.id));
        }
        let id = StoreId(self.take_id());
        self.put_store(StoreInfo { id, ..info }, batch)?;
        if self.shards.is_empty() {
            self.create_shards(id, cuts, batch)?;
        }
        Ok(Reply::Store(id))
    }

    fn create_shards(&mut self, store: StoreId, cuts: &[Vec<u8>], batch: &mut Batch) -> Result<(), EngineError> {
        for range in KeyRange::all().cut(cuts) {
            let id = ShardId(self.take_id());
            let peer = Peer { replica: ReplicaId(self.take_id()), store, role: PeerRole::Voter };
            let shard = Shard { id, range, epoch: Epoch::FIRST, peers: vec![peer] };
            self.put(SHARD, id.0, &shard, batch)?;
            self.shards.insert(id, shard);
        }
        Ok(())
    }

    fn put_store(&mut self, info: StoreInfo, batch: &mut Batch) -> Result<(), EngineError> {
        let info = StoreInfo { heard_ms_ago: None, ..info };
        self.put(STORE, info.id.0, &info, batch)?;
        self.stores.insert(info.id, info);
        Ok(())
    }

    fn put_stores(&mut self, infos: Vec<StoreInfo>, batch: &mut Batch) -> Result<Reply, EngineError> {
        for info in infos {
            let known = self.stores.get(&info.id);
            let Some(known) = known.filter(|known| known.node == info.node && info.boot.may_follow(known.boot)) else {
                continue;
            };
            // What a store says of itself does not change what is decided about it.
            let state = known.state;
            self.put_store(StoreInfo { state, ..info }, batch)?;
        }
        Ok(Reply::Done)
    }

    fn put_shards(&mut self, shards: Vec<Shard>, batch: &mut Batch) -> Result<Reply, EngineError> {
        for shard in shards {
            let known = self.shards.get(&shard.id);
            let is_news =
                known.is_none_or(|known| known.epoch != shard.epoch && !shard.epoch.is_older_than(known.epoch));
            if is_news {
                self.put(SHARD, shard.id.0, &shard, batch)?;
                self.shards.insert(shard.id, shard);
            }
        }
        Ok(Reply::Done)
    }

    fn set_store_state(&mut self, store: StoreId, state: StoreState, batch: &mut Batch) -> Result<Reply, EngineError> {
        let Some(info) = self.stores.get(&store).filter(|info| info.state != StoreState::Removed).cloned() else {
            return Ok(Reply::Void);
        };
        // It may have got a replica between the leader's look and now.
        let holds = self.shards.values().any(|shard| shard.peer_on(store).is_some());
        // Silence ends a drain as little as a heartbeat does.
        let by_itself = info.state == StoreState::Draining && state == StoreState::Down;
        if state == StoreState::Removed && holds || by_itself {
            return Ok(Reply::Void);
        }
        self.put_store(StoreInfo { state, ..info }, batch)?;
        Ok(Reply::Done)
    }

    fn put_member(&mut self, member: MemberInfo, batch: &mut Batch) -> Result<Reply, EngineError> {
        let is_new = !self.members.contains_key(&member.id);
        let clashes = self.members.values().any(|known| {
            known.id != member.id
                && (known.node == member.node || known.name == member.name || known.peer_address == member.peer_address)
        });
        let is_promotion = self.members.get(&member.id).is_some_and(|known| !known.voter && member.voter);
        let changed = !clashes && (is_new && !member.voter || is_promotion);
        if changed {
            self.head.next_id = self.head.next_id.max(member.id.0 + 1);
            self.put(MEMBER, member.id.0, &member, batch)?;
            self.members.insert(member.id, member);
        }
        Ok(Reply::Member { changed })
    }
}

impl Machine for MetaMachine {
    type Command = Command;
    type Reply = Reply;
    type Event = std::convert::Infallible;

    fn open(row: &[u8], view: &View) -> Result<MetaMachine, EngineError> {
        let mut machine = MetaMachine::empty(decode(row)?);
        for row in view.scan(Table::Data, &[], &[])? {
            let (key, value) = row?;
            machine.load(&key, &value)?;
        }
        Ok(machine)
    }

    fn row(&self) -> Vec<u8> {
        encode(&self.head)
    }

    fn apply(&mut self, command: Command, batch: &mut Batch) -> Result<Reply, EngineError> {
        match command {
            Command::Register { info, cuts } => self.register(info, &cuts, batch),
            Command::PutStores(infos) => self.put_stores(infos, batch),
            Command::PutShards(shards) => self.put_shards(shards, batch),
            Command::SetStoreState { store, state } => self.set_store_state(store, state, batch),
            Command::TakeIds { count } => {
                let first = self.head.next_id;
                self.head.next_id += count;
                Ok(Reply::Ids(first..first + count))
            }
            Command::PutMember(member) => self.put_member(member, batch),
        }
    }

    fn membership(command: &Command) -> Option<MemberChange> {
        match command {
            Command::PutMember(member) => Some(MemberChange::Put(peer_of(member))),
            _ => None,
        }
    }

    fn accepted(reply: &Reply) -> bool {
        matches!(reply, Reply::Member { changed: true })
    }

    fn peer(&self, replica: ReplicaId) -> Option<Peer> {
        self.members.get(&replica).map(peer_of)
    }

    fn epoch(&self) -> Epoch {
        Epoch::NONE
    }

    fn range(&self) -> Option<&KeyRange> {
        None
    }

    fn take_events(&mut self) -> Vec<Self::Event> {
        Vec::new()
    }

    fn snapshot(row: &[u8], view: &View) -> Result<Vec<u8>, EngineError> {
        let rows: Vec<_> = view.scan(Table::Data, &[], &[])?.collect::<Result<_, _>>()?;
        Ok(encode(&(row, rows)))
    }

    fn install(snapshot: &[u8], batch: &mut Batch) -> Result<MetaMachine, EngineError> {
        let (row, rows): (Vec<u8>, Vec<(Vec<u8>, Bytes)>) = decode(snapshot)?;
        let before =
            batch.scan(Table::Data, &[], &[])?.map(|row| Ok(row?.0)).collect::<Result<Vec<_>, EngineError>>()?;
        before.into_iter().for_each(|key| batch.delete(Table::Data, key));
        let mut machine = MetaMachine::empty(decode(&row)?);
        for (key, value) in rows {
            machine.load(&key, &value)?;
            batch.put(Table::Data, key, value);
        }
        Ok(machine)
    }

    fn data_hash(&self) -> u64 {
        xxh3_64(&encode(&self.head))
    }
}

fn hash(key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64(key))
}
