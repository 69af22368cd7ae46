//! What a run did, in numbers. A sweep adds them up: a fault that never happened was not tested.

use std::{collections::BTreeMap, fmt};

use crate::plan::Kind;

/// Numbers by name, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Adds `n` to `name`.
    pub fn add(&mut self, name: impl Into<String>, n: u64) {
        *self.0.entry(name.into()).or_default() += n;
    }

    /// Adds another run's.
    pub fn add_all(&mut self, other: &Counters) {
        for (name, n) in &other.0 {
            self.add(name.as_str(), *n);
        }
    }

    /// What `name` stands at.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// A fault of `kind` happened.
    pub fn fault(&mut self, kind: Kind) {
        self.add(fault_name(kind), 1);
    }

    /// How often a fault of `kind` happened.
    pub fn faults(&self, kind: Kind) -> u64 {
        self.get(&fault_name(kind))
    }

    /// Operations of clients: done, and all.
    pub fn operations(&self) -> (u64, u64) {
        let done = self.get(DONE);
        (done, done + self.get(REFUSED) + self.get(UNKNOWN))
    }
}

/// Operations that were done.
pub const DONE: &str = "operations done";
/// Operations that did not happen.
pub const REFUSED: &str = "operations refused";
/// Operations of unknown outcome.
pub const UNKNOWN: &str = "operations unknown";

fn fault_name(kind: Kind) -> String {
    format!("fault {kind}")
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, n) in &self.0 {
            writeln!(f, "  {name:<28} {n:>12}")?;
        }
        Ok(())
    }
}
