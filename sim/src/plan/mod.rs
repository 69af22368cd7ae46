//! The faults of a run as a list: what, when, for how long. A seed expands to it before anything runs, so that it can
//! be printed, written by hand (a named scenario), or cut down to the part that matters.
//!
//! A run has two or three phases: *safety* (any fault of the plan, unavailability is fine); where the plan has a
//! [`Liveness`], a minority that is ill for good while the others must serve; then everything is healed at [`Plan::heal_at`]
//! and *convergence* is demanded.
//!
//! What a plan may do, so that the demands can be met:
//! - any number of nodes may die, lose power or be cut off at once: whatever was acknowledged is synced on a majority,
//!   so even a power cut of all nodes loses none of it;
//! - every fault ends by itself or at [`Plan::heal_at`];
//! - one node at most loses its folder for good ([`Fault::EmptyFolder`], or [`Fault::OldFolder`]): not before each shard and Prophet's group
//!   have all their voters, and nothing else goes on from a moment before until its owner must have been contacted by
//!   the living cluster ([`Plan::quiet`]). With three replicas a majority of everything survives it;
//! - one replica at a time is damaged ([`Fault::Damage`]), when each shard has all its voters, and not in a plan that
//!   takes other voters away for good;
//! - one node at most has a bit flipped in its files ([`Fault::BitFlip`]), when everything has all its voters, and only
//!   in a plan in which nobody loses a folder or has a replica damaged: it may be lost for good;
//! - where a minority falls ill for good, nobody was lost before ([`Liveness`]);
//! - a disk that fills up keeps more room than what cannot be refused needs (half of the reserve that nodes are told);
//! - a fault that meets a node that is already down does nothing, and is counted as skipped.

mod draw;
mod fault;
pub mod file;
mod kind;
mod liveness;
pub mod profile;
pub mod script;
pub(crate) mod span;
mod target;
mod words;

use std::time::Duration;

pub use fault::{Access, Damage, Fault, Harm, Moment, Move, Part, Stranger};
pub use kind::Kind;
pub use liveness::{Illness, Liveness};
pub use profile::Profile;
pub use script::{Act, Script, Step};
use serde::{Deserialize, Serialize};
pub use target::Target;

/// By when a living cluster must have contacted a node with an empty folder, beyond the time that the node itself waits:
/// the slowest reconnect, doubled.
pub const CONTACT_MARGIN: Duration = Duration::from_secs(6);

/// How long a node lives on after its folder was copied: everybody hears of that life.
pub const OLD_LIFE: Duration = Duration::from_secs(4);

/// How long [`Fault::EmptyFolder`] and [`Fault::OldFolder`] wait for a moment in which everything has all its voters.
pub const EMPTY_PATIENCE: Duration = Duration::from_secs(3);

/// A fault and its moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Since the start of the run.
    #[serde(with = "span")]
    pub at: Duration,
    /// What happens.
    #[serde(flatten)]
    pub fault: Fault,
}

impl Timed {
    /// The same fault, so much later.
    pub fn later(&self, later: Duration) -> Self {
        Timed { at: self.at + later, fault: self.fault.clone() }
    }
}

/// A stretch of time without any other fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Its start.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
}

/// A stretch of time in which every key must be read and written, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// Its start.
    #[serde(with = "span")]
    pub from: Duration,
    /// Its end.
    #[serde(with = "span")]
    pub until: Duration,
}

/// All faults of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Ascending by time.
    pub faults: Vec<Timed>,
    /// The phase between the first faults and the last healing, if there is one.
    pub liveness: Option<Liveness>,
    /// When progress is demanded although faults go on. Random plans demand none.
    pub serving: Vec<Serving>,
    /// What the clients ask; without, they throw dice for it.
    pub scripts: Option<Vec<Script>>,
    /// When everything is healed for good.
    pub heal_at: Duration,
    /// When the clients stop.
    pub end_at: Duration,
}

impl Plan {
    /// A plan without any fault.
    pub fn empty(length: Duration) -> Self {
        let (heal_at, end_at) = (length * 3 / 4, length);
        Self { faults: Vec::new(), liveness: None, serving: Vec::new(), scripts: None, heal_at, end_at }
    }

    /// This plan with one more fault, at `at`.
    pub fn with(mut self, at: Duration, fault: Fault) -> Self {
        self.faults.push(Timed { at, fault });
        self.faults.sort_by_key(|timed| timed.at);
        self
    }

    /// This plan with the demand that every key is read and written between `from` and `until`.
    pub fn must_serve(mut self, from: Duration, until: Duration) -> Self {
        assert!(from < until, "time goes forward");
        self.serving.push(Serving { from, until });
        self
    }

    /// The faults of the first phase, each with its place in the plan, or those of the second.
    pub fn faults_of(&self, second: bool) -> impl Iterator<Item = (usize, &Timed)> {
        let is_second = |at| self.liveness.as_ref().is_some_and(|liveness| at >= liveness.from);
        self.faults.iter().enumerate().filter(move |(_, timed)| is_second(timed.at) == second)
    }

    /// How many requests it lists, if it lists them.
    pub fn requests(&self) -> Option<usize> {
        self.scripts.as_ref().map(|scripts| scripts.iter().map(|script| script.asks.len()).sum())
    }

    /// How long the longest fault lasts.
    pub fn longest_down(&self) -> Duration {
        self.faults.iter().map(|timed| timed.fault.lasts()).max().unwrap_or_default()
    }
}
