//! Runs candidates, some at a time, and says which is the first that still fails.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use matrixkv::planted::Bug;

use super::{Case, Failing, Options, Progress};
use crate::{
    check::Invariant,
    knobs::Knobs,
    run::{self, Report, run},
};

/// What a candidate must do to count.
#[derive(Clone, Copy)]
struct Trial {
    bug: Option<Bug>,
    breaks: Invariant,
    tries: u64,
}

/// Tries candidates.
pub struct Judge<'a> {
    trial: Trial,
    options: Options,
    tell: &'a dyn Fn(Progress),
    runs: u64,
}

/// One run of `case`.
pub fn run_once(case: &Case, bug: Option<Bug>) -> Report {
    run(run::Options { bug, ..run::Options::of_plan(case.knobs.clone(), case.plan.clone()) })
}

/// The lowest candidate that failed so far.
type Lowest = Option<(usize, Failing)>;

impl<'a> Judge<'a> {
    pub fn new(bug: Option<Bug>, breaks: Invariant, options: Options, tell: &'a dyn Fn(Progress)) -> Self {
        Judge { trial: Trial { bug, breaks, tries: options.tries.max(1) }, options, tell, runs: 1 }
    }

    /// Runs that the outcome needed. (Those that other jobs ran in vain do not count: the limit would depend on their number.)
    pub fn runs(&self) -> u64 {
        self.runs
    }

    pub fn gave_up(&self) -> bool {
        self.runs >= self.options.runs_max
    }

    pub fn tell(&self, best: &Failing) {
        let plan = &best.case.plan;
        (self.tell)(Progress { runs: self.runs, faults: plan.faults.len(), requests: plan.requests() });
    }

    /// The first of `cases` that still fails, and which one it is.
    pub fn first_failing(&mut self, cases: &[Case]) -> Option<(usize, Failing)> {
        if self.gave_up() {
            return None;
        }
        let (trial, next) = (self.trial, AtomicUsize::new(0));
        let lowest: Mutex<Lowest> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.clamp(1, cases.len().max(1)) {
                scope.spawn(|| trial.work(cases, &next, &lowest));
            }
        });
        let lowest = lowest.into_inner().expect("no worker panics");
        let needed = lowest.as_ref().map_or(cases.len(), |(index, _)| index + 1) as u64;
        self.runs += needed * trial.tries;
        lowest
    }
}

impl Trial {
    /// Takes the next candidate as long as it would come before the lowest.
    fn work(self, cases: &[Case], next: &AtomicUsize, lowest: &Mutex<Lowest>) {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let too_late = |lowest: &Lowest| lowest.as_ref().is_some_and(|(best, _)| *best < index);
            if index >= cases.len() || too_late(&lowest.lock().expect("no worker panics")) {
                return;
            }
            if let Some(failing) = self.try_case(&cases[index]) {
                let mut lowest = lowest.lock().expect("no worker panics");
                if !too_late(&lowest) {
                    *lowest = Some((index, failing));
                }
            }
        }
    }

    fn try_case(self, case: &Case) -> Option<Failing> {
        (0..self.tries).find_map(|salt| {
            let seed = case.knobs.seed.wrapping_add(salt);
            let case = Case { knobs: Knobs { seed, ..case.knobs.clone() }, plan: case.plan.clone() };
            let report = run_once(&case, self.bug);
            let same = report.violations.first().is_some_and(|violation| violation.invariant == self.breaks);
            same.then_some(Failing { case, report })
        })
    }
}
