//! All replicas of one node, as one value: routing of raft messages, admission of requests, births, heartbeats.
//!
//! Turned by the driver: [`Store::step`] takes an input, [`Store::ready`] fills one batch for every shard that moved,
//! [`Store::advance`] says that it is durable.
//!
//! Invariants:
//! - at most one replica of a shard, and the ranges of replicas with data never overlap;
//! - replica ids are compared, not only shard ids: a message for another replica id touches nothing;
//! - each admitted request is answered exactly once, at the latest when role or term of its replica changes;
//! - a doubled envelope is neither proposed nor answered: the first copy's answer is the one that counts.

mod admit;
mod beats;
mod births;
mod doubles;
mod io;
mod turn;

use std::collections::{BTreeMap, BTreeSet};

pub use doubles::{Doubles, Origin};
pub use io::{Input, Send, StoreConfig, StoreReady, StoreStatus, Ticket};

use crate::{
    engine::{EngineError, Table, View},
    raft::{Group, GroupRow},
    shard::KvMachine,
    types::{Boot, Epoch, Instant, ReplicaId, Rng, ShardId, ShardRoute, StoreId},
    wire::Op,
};

/// Who waits for a proposal or a read.
struct Waiting {
    ticket: Ticket,
    shard: ShardId,
    op: Op,
}

/// What was last told to Prophet of a shard: a change is told at once.
type Announced = (u64, Epoch, Vec<ReplicaId>);

/// All replicas of a node.
pub struct Store {
    id: StoreId,
    boot: Boot,
    config: StoreConfig,
    rng: Rng,
    groups: BTreeMap<ShardId, Group<KvMachine>>,
    /// Replicas that contradicted themselves: stopped, reported, not served.
    quarantined: BTreeMap<ShardId, String>,
    births: Vec<births::Birth>,
    /// Written by the batch under way; opened once it is durable.
    opening: BTreeSet<ShardId>,
    /// Groups that may have work.
    dirty: BTreeSet<ShardId>,
    /// Groups whose ready is in the batch under way.
    turned: Vec<ShardId>,
    waiting: BTreeMap<u64, Waiting>,
    next_token: u64,
    doubles: Doubles,
    early: StoreReady,
    next_store_beat: Instant,
    next_shard_beat: Instant,
    announced: BTreeMap<ShardId, Announced>,
    space: (u64, u64),
    status_version: u64,
}

impl Store {
    /// Opens every replica that `view` holds.
    pub fn open(id: StoreId, boot: Boot, config: StoreConfig, mut rng: Rng, view: &View) -> Result<Store, EngineError> {
        assert!(!id.is_none(), "a store is opened under its id");
        let mut store = Store {
            id,
            boot,
            config,
            rng: rng.fork(),
            groups: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            births: Vec::new(),
            opening: BTreeSet::new(),
            dirty: BTreeSet::new(),
            turned: Vec::new(),
            waiting: BTreeMap::new(),
            next_token: 1,
            doubles: Doubles::default(),
            early: StoreReady::default(),
            next_store_beat: Instant::default(),
            next_shard_beat: Instant::default(),
            announced: BTreeMap::new(),
            space: (0, 0),
            status_version: 1,
        };
        for row in view.scan(Table::Group, &[], &[])? {
            let (key, _) = row?;
            let id = key.as_slice().try_into().map(u64::from_be_bytes);
            let id = id.map_err(|_| EngineError::Damaged("a group's key is not eight bytes".into()))?;
            store.open_group(ShardId(id), view)?;
        }
        store.check_ranges();
        Ok(store)
    }

    /// This store.
    pub fn id(&self) -> StoreId {
        self.id
    }

    fn open_group(&mut self, shard: ShardId, view: &View) -> Result<(), EngineError> {
        match Group::open(shard, self.boot, self.config.group.clone(), self.rng.fork(), view) {
            Ok(mut group) => {
                group.campaign_alone();
                self.groups.insert(shard, group);
                self.touch(shard);
                Ok(())
            }
            Err(EngineError::Damaged(why)) => {
                self.quarantine(shard, why);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// One bad replica must not take the others down: it is stopped, reported, and those who wait on it are told that
    /// nobody knows.
    fn quarantine(&mut self, shard: ShardId, why: String) {
        tracing::error!(%shard, why, "a replica contradicts itself and is quarantined");
        self.groups.remove(&shard);
        self.quarantined.insert(shard, why);
        self.status_version += 1;
        let orphans: Vec<u64> = self.waiting.iter().filter(|(_, w)| w.shard == shard).map(|(t, _)| *t).collect();
        for token in orphans {
            self.answer_unknown(token, "the replica was quarantined");
        }
    }

    fn touch(&mut self, shard: ShardId) {
        self.dirty.insert(shard);
        self.status_version += 1;
    }

    fn check_ranges(&self) {
        let mut shards: Vec<_> =
            self.groups.values().filter_map(|group| group.machine()).map(KvMachine::shard).collect();
        shards.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        for pair in shards.windows(2) {
            assert!(!pair[0].range.overlaps(&pair[1].range), "{} overlaps {}", pair[0].id, pair[1].id);
        }
    }

    /// Grows whenever [`Self::status`] may have changed.
    pub fn status_version(&self) -> u64 {
        self.status_version
    }

    /// What the node shows of its replicas, and routes by.
    pub fn status(&self) -> StoreStatus {
        StoreStatus {
            store: self.id,
            routes: self.groups.values().filter_map(route).collect(),
            quarantined: self.quarantined.clone(),
            leading: self.groups.values().filter(|group| group.leads()).count() as u64,
        }
    }

    /// Checks each replica's counters against its rows; says which are wrong. For tests and the simulator.
    pub fn recount(&self, view: &View) -> Result<Vec<ShardId>, EngineError> {
        let mut wrong = Vec::new();
        for (id, group) in &self.groups {
            // The machine in memory may be ahead of the view; the row is of the same moment as the rows.
            let Some(row) = GroupRow::read(view, *id)?.filter(GroupRow::is_initialised) else { continue };
            let machine: KvMachine = crate::wire::decode(&row.machine)?;
            debug_assert_eq!(machine.shard().id, *id);
            if group.machine().is_some() && !machine.is_counted_right(view)? {
                wrong.push(*id);
            }
        }
        Ok(wrong)
    }
}

/// What a replica knows of its shard's whereabouts.
fn route(group: &Group<KvMachine>) -> Option<ShardRoute> {
    let shard = group.machine()?.shard().clone();
    let status = group.status();
    let leader = shard.peer(status.leader).copied();
    Some(ShardRoute { shard, leader, term: status.term })
}
