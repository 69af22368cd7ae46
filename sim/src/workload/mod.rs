//! What the clients of a run ask for: registers always ([`registers`]), and beside them what the knob `workloads` says.
//! Each of those has keys, clients and a checker of its own, in a file here and a file of [`crate::check`].
//!
//! Invariants:
//! - the keys of a workload begin with its prefix, and nobody else's do;
//! - each of its clients has dice of its own, and asks in every run, also where a plan lists what the others ask;
//! - where the knob is empty nothing here runs: no machine, no throw. So a run without is what it was before there were any.
//!
//! Another workload is a file with an [`Asker`] for each of its clients, a checker, and a line in each `match` below.

mod beside;
mod churn;
mod ground;
mod monotonic;
mod registers;
mod scan;
mod set;

use std::{fmt, time::Duration};

use matrixkv::types::Rng;
use serde::{Deserialize, Serialize};

pub use beside::clients_beside;
pub use ground::Ground;
pub use registers::{clients, read_all, serve_all};

use crate::{
    check::{Invariant, comeback, order, set as elements},
    history::{Event, HistoryError},
    knobs::Knobs,
};
use registers::{Ask, Told};

/// About how long an answer takes; a client pauses for half of its longest pause.
const USUAL_ANSWER: Duration = Duration::from_millis(40);

/// What is asked beside the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Elements are added, each once.
    Set,
    /// Numbers that ascend, read by others than who writes them.
    Monotonic,
    /// A few keys that are deleted and made again all the time.
    Churn,
}

/// A client of a workload, as a value that is turned by hand.
trait Asker: Send {
    /// What to ask next; `None` when all is asked.
    fn next(&mut self, rng: &mut Rng) -> Option<Ask>;

    /// What the answer to `ask` was.
    fn told(&mut self, ask: &Ask, told: &Told);
}

impl Workload {
    /// All of them.
    pub const ALL: &[Workload] = &[Workload::Set, Workload::Monotonic, Workload::Churn];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Set => "set",
            Workload::Monotonic => "monotonic",
            Workload::Churn => "churn",
        }
    }

    /// How its keys begin. The character after the last one of it is where they end.
    pub fn prefix(self) -> &'static str {
        match self {
            Workload::Set => set::PREFIX,
            Workload::Monotonic => monotonic::PREFIX,
            Workload::Churn => churn::PREFIX,
        }
    }

    /// How many clients it has.
    pub fn clients(self) -> usize {
        match self {
            Workload::Set => set::CLIENTS,
            Workload::Monotonic => monotonic::CLIENTS,
            Workload::Churn => churn::CLIENTS,
        }
    }

    /// How many keys it has at most.
    pub fn keys_max(self, knobs: &Knobs) -> usize {
        match self {
            Workload::Set => set::keys_max(knobs),
            Workload::Monotonic => monotonic::KEYS_MAX,
            Workload::Churn => churn::KEYS,
        }
    }

    /// What it must hold.
    pub fn invariant(self) -> Invariant {
        match self {
            Workload::Set => Invariant::Set,
            Workload::Monotonic => Invariant::Order,
            Workload::Churn => Invariant::Comeback,
        }
    }

    /// What is wrong with a history, in words; the final reads began at `reads_from`, if they ended.
    pub fn check(self, history: &[Event], reads_from: Option<Duration>) -> Result<Vec<String>, HistoryError> {
        match self {
            Workload::Set => elements::check(history, self.prefix(), reads_from),
            Workload::Monotonic => order::check(history, self.prefix()),
            Workload::Churn => comeback::check(history, self.prefix()),
        }
    }

    /// The longest pause of one of its clients between two requests.
    fn pause_max(self, knobs: &Knobs) -> Duration {
        match self {
            Workload::Set => set::PAUSE_MAX,
            Workload::Monotonic | Workload::Churn => fair_pause(knobs),
        }
    }

    fn askers(self, knobs: &Knobs) -> Vec<Box<dyn Asker>> {
        let askers = match self {
            Workload::Set => set::askers(knobs),
            Workload::Monotonic => monotonic::askers(),
            Workload::Churn => churn::askers(),
        };
        assert_eq!(askers.len(), self.clients(), "{self}: as many machines as were counted");
        askers
    }
}

/// The longest pause of clients that never end: however many they are, all together ask for about a tenth of what those of
/// the registers do, since a run should not take longer for them.
fn fair_pause(knobs: &Knobs) -> Duration {
    let endless = knobs.workloads.iter().filter(|workload| **workload != Workload::Set);
    let beside: usize = endless.map(|workload| workload.clients()).sum();
    (knobs.think_max + USUAL_ANSWER) * (10 * beside) as u32 / knobs.clients as u32
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
