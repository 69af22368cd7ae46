//! What a run says in the end. A failing one says what broke, the last events before it, what the seed had decided, and
//! how to see it again.

use std::{fmt, time::Duration};

use super::{Asked, Counters, Filmed};
use crate::{
    check::{Violation, converge},
    knobs::Knobs,
    plan::{Plan, Profile},
};

/// What became of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing was violated.
    Passed,
    /// The checker ran out of its budget: neither good nor bad.
    Undecided,
    /// Something was violated.
    Failed,
}

/// The report of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the seed decided.
    pub knobs: Knobs,
    /// What happened to the cluster.
    pub plan: Plan,
    /// What was violated, as it was found.
    pub violations: Vec<Violation>,
    /// Why the linearizability checker could not decide.
    pub undecided: Option<String>,
    /// The last events that matter.
    pub events: Vec<(Duration, String)>,
    /// What the clients asked.
    pub asked: Vec<Asked>,
    /// What a page of it is drawn from, if that was kept.
    pub filmed: Option<Filmed>,
    /// What was counted.
    pub counters: Counters,
    /// The hash of the trace; real processes have none.
    pub trace_hash: Option<u64>,
    /// Simulated time, or real time where it is.
    pub simulated: Duration,
    /// Real time.
    pub wall: Duration,
}

impl Report {
    /// What became of it.
    pub fn verdict(&self) -> Verdict {
        match (&self.violations[..], &self.undecided) {
            ([], None) => Verdict::Passed,
            ([], Some(_)) => Verdict::Undecided,
            _ => Verdict::Failed,
        }
    }

    /// One line.
    pub fn summary(&self) -> String {
        let (done, all) = self.counters.operations();
        let words = match self.verdict() {
            Verdict::Passed => "ok",
            Verdict::Undecided => "UNDECIDED",
            Verdict::Failed => "FAILED",
        };
        let (seed, seconds) = (self.knobs.seed, self.simulated.as_secs_f64());
        let done = format!("seed {seed}: {words}; {done} of {all} operations done, {seconds:.1} s");
        match self.trace_hash {
            Some(hash) => format!("{done} simulated in {:.2} s, trace {hash:016x}", self.wall.as_secs_f64()),
            None => format!("{done} on real processes"),
        }
    }

    /// The command that shows this run again: by its seed, if a seed and one of our profiles draw just this.
    pub fn replay(&self) -> String {
        let (seed, length) = (self.knobs.seed, self.plan.end_at);
        let knobs = if self.trace_hash.is_some() { Knobs::draw(seed) } else { Knobs::draw_real(seed) };
        let draws = |name: &&str| {
            let profile: Profile = name.parse().expect("our own profiles are sound");
            knobs == self.knobs && Plan::draw(&knobs, length, &profile) == self.plan
        };
        let command = if self.trace_hash.is_some() { "run" } else { "chaos" };
        let usual = if self.trace_hash.is_some() { "all" } else { "chaos" };
        let run = format!("cargo run --release -p matrixkv-sim -- {command}");
        match Profile::names().find(draws) {
            Some(name) if name == usual => format!("{run} --seed {seed} --seconds {}", length.as_secs()),
            Some(name) => format!("{run} --seed {seed} --seconds {} --profile {name}", length.as_secs()),
            None => format!("{run} --plan FILE (no profile of ours draws this from seed {seed})"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        if let Some(why) = &self.undecided {
            writeln!(f, "[L] undecided: {why}")?;
        }
        if self.verdict() == Verdict::Failed {
            writeln!(f, "last events before the first violation:")?;
            for (at, text) in &self.events {
                writeln!(f, "  {:>12.6}s {text}", at.as_secs_f64())?;
            }
        }
        writeln!(f, "knobs:\n{}\nplan:\n{}", self.knobs, self.plan)?;
        let bound = converge::bound(&self.knobs, &self.plan);
        writeln!(f, "  {:>10.3}s at the latest the cluster is whole", (self.plan.heal_at + bound).as_secs_f64())?;
        write!(f, "counters:\n{}", self.counters)?;
        write!(f, "again: {}", self.replay())
    }
}
