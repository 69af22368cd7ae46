//! From a failing run to the smallest one that still fails in the same way: the same invariant is violated first. What is
//! taken away, in this order, until nothing more can be: time, faults, requests of the clients, nodes, odd knobs.
//!
//! Whatever is taken away shifts all that comes after it, and with it the luck of what is left. So a candidate is run with
//! some dice ([`Options::tries`]) before it is given up.
//!
//! Invariants:
//! - what comes out has failed, as it is, and fails again: a run is decided by its plan and knobs alone;
//! - the same input and options give the same outcome, whatever the number of jobs.

mod judge;
mod passes;
mod subsets;

use matrixkv::planted::Bug;

use crate::{
    check::Invariant,
    knobs::Knobs,
    plan::{Plan, file::PlanFile},
    run::Report,
};

use judge::Judge;

/// How hard to try.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Runs at a time.
    pub jobs: usize,
    /// Dice that each candidate is tried with, 1 at least.
    pub tries: u64,
    /// Runs after which nothing more is tried.
    pub runs_max: u64,
}

/// A run that can be tried.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its knobs; the seed in them is its dice.
    pub knobs: Knobs,
    /// What happens.
    pub plan: Plan,
}

/// A run that fails.
#[derive(Clone, Debug)]
pub struct Failing {
    /// What was run.
    pub case: Case,
    /// What came of it.
    pub report: Report,
}

/// What is left.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest run.
    pub smallest: Failing,
    /// What it violates.
    pub breaks: Invariant,
    /// The bug that was planted.
    pub bug: Option<Bug>,
    /// Runs that it took.
    pub runs: u64,
    /// Whether [`Options::runs_max`] ended it.
    pub gave_up: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Runs so far.
    pub runs: u64,
    /// Faults that are left.
    pub faults: usize,
    /// Requests that are left, once they are counted one by one.
    pub requests: Option<usize>,
}

/// Shrinks `case`. Fails if it passes.
pub fn shrink(case: Case, bug: Option<Bug>, options: Options, tell: &dyn Fn(Progress)) -> Result<Shrunk, String> {
    let first = judge::run_once(&case, bug);
    let Some(violation) = first.violations.first() else {
        return Err(format!("nothing to shrink: {}", first.summary()));
    };
    let breaks = violation.invariant;
    let mut judge = Judge::new(bug, breaks, options, tell);
    let mut best = Failing { case, report: first };
    passes::all(&mut judge, &mut best);
    Ok(Shrunk { smallest: best, breaks, bug, runs: judge.runs(), gave_up: judge.gave_up() })
}

impl Case {
    /// Faults and requests; without a list of requests the faults alone.
    pub fn steps(&self) -> usize {
        self.plan.faults.len() + self.plan.requests().unwrap_or_default()
    }
}

impl Shrunk {
    /// The file that runs it again.
    pub fn file(&self, about: String) -> PlanFile {
        let Case { knobs, plan } = self.smallest.case.clone();
        PlanFile { about: Some(about), bug: self.bug, breaks: Some(self.breaks), knobs, plan }
    }
}
