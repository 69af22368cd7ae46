//! All replicas of one node, as one value: routing of raft messages, admission of requests, births and deaths, splits,
//! heartbeats.
//!
//! Turned by the driver: [`Store::step`] takes an input, [`Store::ready`] fills one batch for every shard that moved,
//! [`Store::advance`] says that it is committed.
//!
//! Invariants:
//! - at most one replica of a shard, and the ranges of replicas with data never overlap;
//! - replica ids are compared, not only shard ids: a message for another replica id touches nothing;
//! - each admitted request is answered exactly once, at the latest when role or term of its replica changes;
//! - a doubled envelope is neither proposed nor answered: the first copy's answer is the one that counts.

mod admit;
mod beats;
mod births;
mod budget;
mod deaths;
mod doubles;
mod garbage;
mod held;
mod inspect;
mod installing;
mod io;
mod messages;
mod quarantine;
mod ranges;
mod receiving;
mod room;
mod sending;
mod split;
mod status;
mod turn;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

pub use doubles::{Doubles, Origin};
pub use inspect::{Inspection, inspect};
pub use io::{Input, Send, StatusChange, StoreConfig, StoreReady, StoreStatus, Ticket};

use self::{
    garbage::Garbage,
    installing::Installing,
    quarantine::{Quarantined, contained_rows},
    ranges::Ranges,
    receiving::Receivings,
    sending::Sending,
    split::Splits,
};
use crate::{
    engine::{EngineError, Table, View},
    raft::{Group, GroupRow},
    shard::KvMachine,
    types::{Boot, Epoch, Fact, Instant, KeyRange, ReplicaId, Rng, Shard, ShardId, ShardRoute, StoreId, Untimely},
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
    /// Replicas that are damaged or contradicted themselves: stopped, reported, not served.
    quarantined: BTreeMap<ShardId, Quarantined>,
    /// Which replica holds which keys.
    ranges: Ranges,
    /// Keys of the snapshots that come in or are being installed.
    reserved: BTreeMap<ShardId, KeyRange>,
    sending: Sending,
    receiving: Receivings,
    /// Replicas whose data are being replaced, and that take part in nothing meanwhile.
    installing: BTreeMap<ShardId, Installing>,
    /// Of each shard, the least replica id that may still be born here.
    tombs: BTreeMap<ShardId, ReplicaId>,
    garbage: Garbage,
    splits: Splits,
    /// Replicas that this turn destroys.
    dying: BTreeSet<ShardId>,
    /// Leaders that were removed, and the ticks that they stay to tell the others.
    lingering: BTreeMap<ShardId, usize>,
    births: Vec<births::Birth>,
    held: held::Held,
    /// Replicas of a split that are to lead when they are opened.
    heirs: BTreeMap<ShardId, births::Claim>,
    /// Written by the batch under way, with the shard of those that have its data; opened once it is durable.
    opening: BTreeMap<ShardId, Option<Shard>>,
    /// Groups that may have work.
    dirty: BTreeSet<ShardId>,
    /// Groups whose ready is in the batch under way.
    turned: Vec<ShardId>,
    waiting: BTreeMap<u64, Waiting>,
    next_token: u64,
    doubles: Doubles,
    early: StoreReady,
    now: Instant,
    next_store_beat: Instant,
    next_shard_beat: Instant,
    next_membership_ask: Instant,
    next_fetch: Instant,
    announced: BTreeMap<ShardId, Announced>,
    room: room::Room,
    status: status::Shown,
    watch: watch::Watch,
    next_quiet_beat: Instant,
    /// Until when Prophet is asked at every tick what it has decided.
    busy_until: Instant,
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
            ranges: Ranges::default(),
            reserved: BTreeMap::new(),
            sending: Sending::default(),
            receiving: Receivings::default(),
            installing: BTreeMap::new(),
            tombs: BTreeMap::new(),
            garbage: Garbage::open(view)?,
            splits: Splits::default(),
            dying: BTreeSet::new(),
            lingering: BTreeMap::new(),
            births: Vec::new(),
            held: held::Held::default(),
            heirs: BTreeMap::new(),
            opening: BTreeMap::new(),
            dirty: BTreeSet::new(),
            turned: Vec::new(),
            waiting: BTreeMap::new(),
            next_token: 1,
            doubles: Doubles::default(),
            early: StoreReady::default(),
            now: Instant::default(),
            next_store_beat: Instant::default(),
            next_shard_beat: Instant::default(),
            next_membership_ask: Instant::default(),
            next_fetch: Instant::default(),
            announced: BTreeMap::new(),
            room: room::Room::default(),
            status: status::Shown::default(),
            watch: watch::Watch::default(),
            next_quiet_beat: Instant::default(),
            busy_until: Instant::default(),
        };
        store.read_tombs(view)?;
        for row in view.scan(Table::Group, &[], &[])? {
            let (key, _) = row?;
            let id = key.as_slice().try_into().map(u64::from_be_bytes);
            let id = id.map_err(|_| EngineError::Damaged("a group's key is not eight bytes".into()))?;
            store.open_group(ShardId(id), view)?;
        }
        let installing = store.read_installing(view)?;
        store.receiving = Receivings::open(view, &installing)?;
        Ok(store)
    }

    /// This store.
    pub fn id(&self) -> StoreId {
        self.id
    }

    fn open_group(&mut self, shard: ShardId, view: &View) -> Result<(), EngineError> {
        let (boot, config, rng) = (self.boot, self.config.group.clone(), self.rng.fork());
        let opened = contained_rows(|| {
            let mut group = Group::<KvMachine>::open(shard, boot, config, rng, view)?;
            group.campaign_alone();
            Ok(group)
        });
        match opened? {
            Ok(group) => {
                if let Some(machine) = group.machine() {
                    self.ranges.set(shard, &machine.shard().range);
                    let (replica, descriptor) = (group.replica(), machine.shard().clone());
                    let voters = Some(group.voters());
                    self.early.facts.push(Fact::Described { replica, shard: descriptor, voters });
                    // Its own log had removed it before its store stopped.
                    if machine.shard().peer(group.replica()).is_none() {
                        self.dying.insert(shard);
                    }
                }
                self.groups.insert(shard, group);
                self.touch(shard);
            }
            Err(why) => self.quarantine_unopened(shard, why, view),
        }
        Ok(())
    }

    /// There is no replica of `shard` here any more. Those who wait on it are told that nobody knows.
    fn forget(&mut self, shard: ShardId, why: &str) {
        self.status.touch(shard);
        self.held.take(shard);
        self.announced.remove(&shard);
        self.stop_receiving(shard);
        self.stop_sending(shard);
        self.forget_split(shard);
        let orphans: Vec<u64> = self.waiting.iter().filter(|(_, w)| w.shard == shard).map(|(t, _)| *t).collect();
        for token in orphans {
            self.answer_unknown(token, why);
        }
    }

    fn note_untimely(&mut self, shard: ShardId, what: Untimely) {
        self.early.facts.push(Fact::Untimely { shard, what });
    }

    fn touch(&mut self, shard: ShardId) {
        self.dirty.insert(shard);
        self.status.touch(shard);
    }

    /// What the node shows of its replicas, and routes by.
    pub fn status(&self) -> StoreStatus {
        StoreStatus {
            store: self.id,
            routes: self.groups.values().filter_map(route).collect(),
            quarantined: self.quarantine_reasons(),
        }
    }

    /// Checks each replica's counters against its rows; says which are wrong. For tests and the simulator.
    pub fn recount(&self, view: &View) -> Result<Vec<ShardId>, EngineError> {
        let mut wrong = Vec::new();
        for (id, group) in self.groups.iter().filter(|(id, _)| !self.installing.contains_key(id)) {
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
