//! What Prophet wants of a shard, step by step: each step is one raft change, sent to the shard's leader in the answers to
//! its heartbeats until a heartbeat shows that it is done. (PD's operators.)
//!
//! Invariants:
//! - a shard has one operator at most;
//! - an operator lives as long as the membership changes only by its own steps, and ends at its deadline;
//! - an order is guarded by the `conf_ver` that it was decided on, so a late one, or one of another Prophet, is void.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use crate::{
    types::{Instant, Peer, PeerRole, ShardId, StoreId},
    wire::{OperatorInfo, ShardBeat, ShardOrder, ShardStep},
};

/// Operators that ended and are remembered.
const RECENT_MAX: usize = 256;

/// How long a step may take that needs nothing but a quorum: it is given up then, and thought of anew.
const STEP_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is an operator, and which limit it counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The shard is not as it should be. `replica-schedule-limit`.
    Repair,
    /// Leaderships are uneven. `leader-schedule-limit`.
    BalanceLeaders,
    /// Shards are uneven. `resource-schedule-limit`.
    BalanceShards,
    /// A shard's replicas could be further apart. `resource-schedule-limit`, together with the kind before.
    Location,
    /// Somebody asked for it. No limit.
    Admin,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Repair => "repair",
            Kind::BalanceLeaders => "balance-leaders",
            Kind::BalanceShards => "balance-shards",
            Kind::Location => "location",
            Kind::Admin => "admin",
        })
    }
}

/// What is wanted of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// What it counts as.
    pub kind: Kind,
    /// In this order.
    pub steps: Vec<ShardStep>,
    /// How many of them a heartbeat showed.
    pub done: usize,
    /// Why.
    pub reason: String,
    /// When it was decided.
    pub since: Instant,
    /// When its present step became the next one.
    pub step_since: Instant,
    /// The membership that the next step is decided on.
    pub conf_ver: u64,
}

/// What a heartbeat means to the shard's operator.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next step is still to be done.
    Runs,
    /// All steps are done.
    Finished,
    /// The shard changed underneath.
    Overtaken,
}

impl Operator {
    /// What the shard's leader is to do next.
    pub fn order(&self, shard: ShardId) -> ShardOrder {
        ShardOrder { shard, conf_ver: self.conf_ver, step: self.steps[self.done] }
    }

    /// Takes notice of a heartbeat.
    pub fn observe(&mut self, beat: &ShardBeat, now: Instant) -> Progress {
        let conf_ver = beat.route.shard.epoch.conf_ver;
        while let Some(step) = self.steps.get(self.done).filter(|step| is_done(step, beat)) {
            self.conf_ver += u64::from(!matches!(step, ShardStep::Lead(_)));
            self.done += 1;
            self.step_since = now;
        }
        match self.steps.get(self.done) {
            // The last step may have been overtaken by something else's: it is done all the same.
            None => Progress::Finished,
            Some(_) if conf_ver == self.conf_ver => Progress::Runs,
            Some(_) => Progress::Overtaken,
        }
    }

    /// How long its present step may take. Only a learner that catches up has a reason to take long.
    fn patience(&self, catch_up: Duration) -> Duration {
        match self.steps.get(self.done) {
            Some(ShardStep::Put(peer)) if peer.role == PeerRole::Voter => catch_up,
            _ => STEP_PATIENCE,
        }
    }

    /// The replica that is to be put next.
    pub fn puts(&self) -> Option<&Peer> {
        match self.steps.get(self.done)? {
            ShardStep::Put(peer) => Some(peer),
            _ => None,
        }
    }

    /// For people.
    pub fn describe(&self, shard: ShardId, outcome: &str, age_ms: u64) -> OperatorInfo {
        OperatorInfo {
            shard,
            kind: self.kind.to_string(),
            steps: self.steps.iter().map(describe).collect(),
            done: self.done as u32,
            reason: self.reason.clone(),
            outcome: outcome.into(),
            age_ms,
        }
    }
}

fn is_done(step: &ShardStep, beat: &ShardBeat) -> bool {
    let now = |peer: &Peer| beat.route.shard.peer(peer.replica).map(|peer| peer.role);
    match step {
        ShardStep::Put(peer) if peer.role == PeerRole::Learner => now(peer).is_some(),
        ShardStep::Put(peer) => now(peer) == Some(PeerRole::Voter),
        ShardStep::Remove(peer) => now(peer).is_none(),
        ShardStep::Lead(peer) => beat.route.leader.is_some_and(|leader| leader.replica == peer.replica),
    }
}

fn describe(step: &ShardStep) -> String {
    match step {
        ShardStep::Put(peer) if peer.role == PeerRole::Learner => {
            format!("add {} as learner on {}", peer.replica, peer.store)
        }
        ShardStep::Put(peer) => format!("promote {} on {}", peer.replica, peer.store),
        ShardStep::Remove(peer) => format!("remove {} from {}", peer.replica, peer.store),
        ShardStep::Lead(peer) => format!("lead from {}", peer.store),
    }
}

/// Those under way and those that ended.
#[derive(Clone, Debug, Default)]
pub struct Operators {
    running: BTreeMap<ShardId, Operator>,
    recent: VecDeque<(ShardId, Operator, String, Instant)>,
    begun: u64,
}

impl Operators {
    /// The shard's.
    pub fn get(&self, shard: ShardId) -> Option<&Operator> {
        self.running.get(&shard)
    }

    /// Those under way.
    pub fn running(&self) -> impl Iterator<Item = (&ShardId, &Operator)> {
        self.running.iter()
    }

    /// How many of a kind are under way.
    pub fn count(&self, kind: Kind) -> u64 {
        self.running.values().filter(|operator| operator.kind == kind).count() as u64
    }

    /// How many replicas are on their way to `store` without being there yet.
    pub fn coming(&self, store: StoreId) -> u64 {
        let comes = |step: &ShardStep| matches!(step, ShardStep::Put(peer) if peer.store == store && peer.role == PeerRole::Learner);
        self.left(comes)
    }

    /// How many replicas are to leave `store` and are still there.
    pub fn going(&self, store: StoreId) -> u64 {
        self.left(|step| matches!(step, ShardStep::Remove(peer) if peer.store == store))
    }

    fn left(&self, is_meant: impl Fn(&ShardStep) -> bool) -> u64 {
        self.running.values().filter(|operator| operator.steps[operator.done..].iter().any(&is_meant)).count() as u64
    }

    /// Begins one; an earlier one of the shard ends.
    pub fn start(&mut self, shard: ShardId, operator: Operator, now: Instant) {
        assert!(!operator.steps.is_empty(), "an operator does something");
        self.end(shard, "replaced by another one", now);
        self.running.insert(shard, operator);
        self.begun += 1;
    }

    /// Takes notice of a heartbeat. What became of the shard's operator, if it ended.
    pub fn observe(&mut self, beat: &ShardBeat, now: Instant) -> Option<&'static str> {
        let shard = beat.route.shard.id;
        let outcome = match self.running.get_mut(&shard)?.observe(beat, now) {
            Progress::Runs => return None,
            Progress::Finished => "done",
            Progress::Overtaken => "cancelled: the membership changed otherwise",
        };
        self.end(shard, outcome, now);
        Some(outcome)
    }

    /// Ends one.
    pub fn end(&mut self, shard: ShardId, outcome: &str, now: Instant) {
        let Some(operator) = self.running.remove(&shard) else { return };
        self.recent.push_front((shard, operator, outcome.into(), now));
        self.recent.truncate(RECENT_MAX);
    }

    /// Ends those that take too long, and those whose new replica `is_lost`.
    pub fn expire(
        &mut self,
        now: Instant,
        catch_up: Duration,
        is_lost: impl Fn(ShardId, &Peer) -> Option<&'static str>,
    ) {
        let judge = |shard: ShardId, operator: &Operator| match operator.puts().and_then(|peer| is_lost(shard, peer)) {
            Some(why) => Some(why),
            None if now.since(operator.step_since) > operator.patience(catch_up) => Some("cancelled: not done in time"),
            None => None,
        };
        let over = self.running.iter().filter_map(|(shard, operator)| Some((*shard, judge(*shard, operator)?)));
        for (shard, outcome) in over.collect::<Vec<_>>() {
            self.end(shard, outcome, now);
        }
    }

    /// How many there have been, those under way included.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// For people: running and recent ones.
    pub fn describe(&self, now: Instant) -> (Vec<OperatorInfo>, Vec<OperatorInfo>) {
        let age = |since| now.since(since).as_millis() as u64;
        let running = self.running.iter().map(|(shard, operator)| operator.describe(*shard, "", age(operator.since)));
        let recent = self.recent.iter();
        let recent = recent.map(|(shard, operator, outcome, at)| operator.describe(*shard, outcome, age(*at)));
        (running.collect(), recent.collect())
    }
}
