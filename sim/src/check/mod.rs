//! What must always hold, one invariant a file. E, M and A are checked on every fact while a run goes on; L, D, V, and
//! what the workloads beside the registers must hold (S, O, C), after it. A run collects violations instead of stopping at the first, since the second often explains it.
//!
//! Invariants (of the checks themselves):
//! - a violation names its invariant by the letter that FAULTS gives it;
//! - the same facts give the same violations, in the same order.

mod by_key;
pub mod comeback;
pub mod converge;
pub mod down;
pub mod durable;
pub mod election;
pub mod linear;
pub mod log;
pub mod matching;
pub mod members;
pub mod order;
pub mod probe;
pub mod quarantine;
pub mod ranges;
pub mod serving;
pub mod set;
pub mod sums;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use matrixkv::types::{Fact, ReplicaId, ShardId, Untimely};
use tokio::sync::oneshot;

use crate::{
    check::{election::Elections, log::Logs, members::Members, quarantine::Quarantine, ranges::Ranges},
    plan::Moment,
};

/// Violations that are kept; a broken run can have one for each entry.
const VIOLATIONS_MAX: usize = 16;

/// Events that are kept to be printed with a failure.
const EVENTS_MAX: usize = 60;

/// What was violated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Invariant {
    /// L: each key is a linearizable register.
    Linearizable,
    /// D: what was acknowledged is there after everything is healed.
    Durable,
    /// S: what was added to the set is there through every node, and nothing else.
    Set,
    /// O: numbers that ascend are seen to ascend.
    Order,
    /// C: what was deleted or replaced does not come back.
    Comeback,
    /// E: at most one leader a term in each group, and no replica goes back on its term or its vote.
    Election,
    /// M: a committed entry never changes.
    LogMatching,
    /// A: replicas that applied the same index have the same data, and applied the same entries.
    Applied,
    /// P: the same seed gives the same trace.
    Repeatable,
    /// R: the key space is covered once, and no replica that was destroyed comes back; nor is there a second cluster.
    Ranges,
    /// V: after healing the cluster is whole again within a bound.
    Converged,
    /// No code of a node panics.
    Panic,
    /// No replica is out of service but those that were damaged on purpose.
    Quarantined,
    /// No node stops on its own without a reason.
    Stopped,
}

impl Invariant {
    /// All of them.
    pub const ALL: &[Invariant] = &[
        Invariant::Linearizable,
        Invariant::Durable,
        Invariant::Set,
        Invariant::Order,
        Invariant::Comeback,
        Invariant::Election,
        Invariant::LogMatching,
        Invariant::Applied,
        Invariant::Repeatable,
        Invariant::Ranges,
        Invariant::Converged,
        Invariant::Panic,
        Invariant::Quarantined,
        Invariant::Stopped,
    ];

    /// As FAULTS calls it; what FAULTS takes for granted has a word.
    pub fn letter(self) -> &'static str {
        match self {
            Invariant::Linearizable => "L",
            Invariant::Durable => "D",
            Invariant::Set => "S",
            Invariant::Order => "O",
            Invariant::Comeback => "C",
            Invariant::Election => "E",
            Invariant::LogMatching => "M",
            Invariant::Applied => "A",
            Invariant::Repeatable => "P",
            Invariant::Ranges => "R",
            Invariant::Converged => "V",
            Invariant::Panic => "panicked",
            Invariant::Quarantined => "quarantined",
            Invariant::Stopped => "stopped",
        }
    }
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What was violated.
    pub invariant: Invariant,
    /// When, since the start of the run.
    pub at: Duration,
    /// How.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] at {:.6}s: {}", self.invariant.letter(), self.at.as_secs_f64(), self.message)
    }
}

/// What the facts added up to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Elections won.
    pub elections: u64,
    /// Entries applied, on all replicas together.
    pub applied: u64,
    /// Snapshots installed.
    pub snapshots: u64,
    /// Chunks of snapshots put aside.
    pub chunks: u64,
    /// Replicas opened, or created.
    pub opened: u64,
    /// Leaders that stepped down for want of an answered round.
    pub given_up: u64,
    /// Times that a leader had nothing to do and stopped ticking.
    pub quieted: u64,
    /// Splits applied, on all replicas together.
    pub splits: u64,
    /// Replicas destroyed.
    pub destroyed: u64,
    /// Times that Prophet held a store for Down.
    pub stores_down: u64,
    /// Replicas put out of service.
    pub quarantined: u64,
    /// What came too late, twice or too early.
    pub untimely: BTreeMap<Untimely, u64>,
}

/// A replica that leads, as its own facts say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The node that it lives on.
    pub node: usize,
    /// Its term.
    pub term: u64,
}

/// Hears every fact and judges it. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Observer(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    elections: Elections,
    logs: Logs,
    ranges: Ranges,
    members: Members,
    quarantine: Quarantine,
    /// Who waits for which moment.
    waiting: Vec<(Moment, oneshot::Sender<usize>)>,
    tally: Tally,
    violations: Vec<Violation>,
    events: VecDeque<(Duration, String)>,
    last_seen: Duration,
}

impl Observer {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A panic of a node must not hide what was seen before it.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// `node` says `fact` at `at`.
    pub fn fact(&self, node: usize, at: Duration, fact: &Fact) {
        let mut inner = self.lock();
        if at > inner.last_seen {
            inner.instant_is_over();
        }
        inner.last_seen = at;
        inner.count(fact);
        if let Some(text) = worth_telling(fact) {
            inner.event(at, format!("node{node}: {text}"));
        }
        let inner = &mut *inner;
        inner.tell_moment(node, fact);
        let found = inner.elections.fact(node, fact).or_else(|| inner.logs.fact(node, fact));
        let found = found.or_else(|| inner.ranges.fact(node, fact)).or_else(|| inner.members.fact(fact));
        let found = found.or_else(|| inner.quarantine.fact(node, fact));
        if let Some((invariant, message)) = found {
            inner.violation(Violation { invariant, at, message });
        }
    }

    /// Each shard is to have so many voters.
    pub fn want_voters(&self, voters: usize) {
        self.lock().members.want(voters);
    }

    /// An operator is about to ask that a replica of `shard` goes.
    pub fn may_shrink(&self, shard: ShardId) {
        self.lock().members.may_shrink(shard);
    }

    /// Remembers an event of the world, to be printed with a failure.
    pub fn event(&self, at: Duration, text: String) {
        self.lock().event(at, text);
    }

    /// Something was found by another check.
    pub fn violation(&self, invariant: Invariant, at: Duration, message: String) {
        self.lock().violation(Violation { invariant, at, message });
    }

    /// `node` starts a new life: what it applied and did not keep, it may apply again, and it tells which replicas it has.
    pub fn born(&self, node: usize) {
        let mut inner = self.lock();
        inner.logs.born(node);
        inner.ranges.born(node);
    }

    /// The node at which this moment comes next; `None` where the run ends before.
    pub async fn next_moment(&self, moment: Moment) -> Option<usize> {
        let (tell, told) = oneshot::channel();
        self.lock().waiting.push((moment, tell));
        told.await.ok()
    }

    /// `node` has lost its folder, or what was there since it was copied: nothing is known of it any more.
    pub fn lost_folder(&self, node: usize) {
        let mut inner = self.lock();
        inner.ranges.lost_folder(node);
        inner.logs.lost_folder(node);
        inner.elections.lost_folder(node);
    }

    /// A replica that was removed and lives on.
    pub fn lingering(&self) -> Option<String> {
        self.lock().ranges.lingering()
    }

    /// A replica that has not applied all that another one of its shard has.
    pub fn laggard(&self) -> Option<String> {
        let inner = self.lock();
        inner.logs.laggard(inner.ranges.shards_now())
    }

    /// The replica of `shard` on `node` was damaged on purpose. False if another one is damaged and not replaced yet.
    pub fn damage(&self, node: usize, shard: ShardId) -> bool {
        self.lock().quarantine.damage(node, shard)
    }

    /// Whether a replica is damaged on purpose and not replaced yet. The others of a quiet shard do not know so at once.
    pub fn is_damaged(&self) -> bool {
        self.lock().quarantine.is_damaged()
    }

    /// Whether any replica was ever damaged on purpose.
    pub fn was_damaged(&self) -> bool {
        self.lock().quarantine.was_damaged()
    }

    /// Who leads, as far as the facts said: of each group the one of the highest term.
    pub fn leaders(&self) -> Vec<(ShardId, Leadership)> {
        self.lock().elections.leaders().collect()
    }

    /// How many learners live on `node`, as far as the facts said.
    pub fn learners_on(&self, node: usize) -> usize {
        self.lock().ranges.learners_on(node)
    }

    /// How many replicas were opened where an earlier one of their shard had been destroyed.
    pub fn successors(&self) -> usize {
        self.lock().ranges.successors()
    }

    /// How many shards there are, as far as the facts said.
    pub fn shards(&self) -> usize {
        self.lock().ranges.shards()
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Takes out what was found: the violations, and the last events before the end.
    pub fn finish(&self) -> (Vec<Violation>, Vec<(Duration, String)>) {
        let mut inner = self.lock();
        inner.instant_is_over();
        (std::mem::take(&mut inner.violations), std::mem::take(&mut inner.events).into())
    }

    /// When the last fact was said, or the last event happened.
    pub fn last_seen(&self) -> Duration {
        self.lock().last_seen
    }
}

impl Inner {
    fn count(&mut self, fact: &Fact) {
        match fact {
            Fact::BecameLeader { .. } => self.tally.elections += 1,
            Fact::GaveUp { .. } => self.tally.given_up += 1,
            Fact::WentQuiet { .. } => self.tally.quieted += 1,
            Fact::Applied { .. } => self.tally.applied += 1,
            Fact::Installed { .. } => self.tally.snapshots += 1,
            Fact::Staged { .. } => self.tally.chunks += 1,
            Fact::Opened { .. } => self.tally.opened += 1,
            Fact::Split { .. } => self.tally.splits += 1,
            Fact::Destroyed { .. } => self.tally.destroyed += 1,
            Fact::HeldDown { .. } => self.tally.stores_down += 1,
            Fact::Quarantined { .. } => self.tally.quarantined += 1,
            Fact::Untimely { what, .. } => *self.tally.untimely.entry(*what).or_default() += 1,
            _ => {}
        }
    }

    /// Of a split the first replica that applies it counts, which is its leader's.
    fn tell_moment(&mut self, node: usize, fact: &Fact) {
        let now = match fact {
            Fact::SplitProposed { .. } => Moment::Proposed,
            Fact::Staged { chunk: 0, .. } => Moment::Receiving,
            Fact::Installing { .. } => Moment::Installing,
            Fact::Voted { vote, .. } if !vote.is_none() => Moment::Voted,
            Fact::Split { right, .. } if !self.ranges.knows(right.id) => Moment::Applied,
            _ => return,
        };
        for (_, waiting) in self.waiting.extract_if(.., |(moment, _)| *moment == now) {
            // A fault that everything was healed before has left.
            let _ = waiting.send(node);
        }
    }

    fn event(&mut self, at: Duration, text: String) {
        self.last_seen = at;
        if self.violations.is_empty() {
            self.events.push_back((at, text));
            if self.events.len() > EVENTS_MAX {
                self.events.pop_front();
            }
        }
    }

    /// All that belongs to the last instant is told.
    fn instant_is_over(&mut self) {
        if let Some((invariant, message)) = self.ranges.time_passes() {
            self.violation(Violation { invariant, at: self.last_seen, message });
        }
    }

    fn violation(&mut self, violation: Violation) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }
}

/// Facts that a reader wants to see before a failure; applied entries are too many.
fn worth_telling(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Opened { shard, replica, index, .. } => Some(format!("opened {replica} of {shard} at index {index}")),
        Fact::BecameLeader { shard, replica, term } => Some(format!("{replica} leads {shard} in term {term}")),
        Fact::GaveUp { shard, replica, term } => Some(format!("{replica} gives {shard} up in term {term}")),
        Fact::Installed { shard, replica, index, .. } => {
            Some(format!("{replica} of {shard} installed a snapshot at index {index}"))
        }
        Fact::Installing { shard, replica, index } => {
            Some(format!("{replica} of {shard} begins to install a snapshot at index {index}"))
        }
        Fact::Described { replica, shard, .. } => Some(format!("{replica} has {shard:?}")),
        Fact::Split { replica, left, right } => Some(format!("{replica} splits into {left:?} and {right:?}")),
        Fact::Destroyed { shard, replica } => Some(format!("{replica} of {shard} is destroyed")),
        Fact::Quarantined { shard, replica, why } => Some(format!("{replica} of {shard} is quarantined: {why}")),
        Fact::Decision(text) => Some(text.clone()),
        Fact::Disk(matrixkv::types::DiskFact::Failed(why)) => Some(format!("the disk failed: {why}")),
        Fact::Applied { .. }
        | Fact::Voted { .. }
        | Fact::Staged { .. }
        | Fact::SplitProposed { .. }
        | Fact::HeldDown { .. }
        | Fact::Untimely { .. }
        | Fact::WentQuiet { .. }
        | Fact::Disk(_) => None,
    }
}

/// What an online check found.
type Found = Option<(Invariant, String)>;

/// Where a replica lives and which one it is.
type ReplicaKey = (usize, ShardId, ReplicaId);
