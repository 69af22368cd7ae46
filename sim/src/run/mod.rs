//! One seed, from its number to its report.
//!
//! Invariants:
//! - a seed runs on a fresh thread of its own: hash maps draw their keys once a thread, and a bug is planted on one;
//! - a run ends with a report whatever happens in it, a panic of a node included;
//! - the trace is over before anything is checked, and a check adds nothing to it.

mod counters;
mod drive;
mod liveness;
mod panic;
mod record;
mod report;

use std::{
    mem::ManuallyDrop,
    path::PathBuf,
    time::{Duration, Instant},
};

use madsim::runtime::Runtime;
use matrixkv::planted::Bug;

pub use counters::{Counters, DONE, REFUSED, UNKNOWN};
pub(crate) use drive::{End, demand_whole, read_all, start_all};
pub(crate) use liveness::{ILL, demand_service, wait_for_illness};
pub use record::{Asked, Record};
pub use report::{Report, Verdict};

use crate::{
    check::{Invariant, durable, linear, serving},
    env::{Film, Trace},
    history::{Event, write_file},
    knobs::Knobs,
    plan::{Plan, Profile},
};

/// Simulated seconds of a run, unless said otherwise.
pub const LENGTH: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the seed decided, or a scenario instead.
    pub knobs: Knobs,
    /// What will happen.
    pub plan: Plan,
    /// A bug on purpose; needs the feature `planted`.
    pub bug: Option<Bug>,
    /// Where to write the history.
    pub history: Option<PathBuf>,
    /// Where to write the trace as text.
    pub trace: Option<PathBuf>,
    /// Whether to keep what a page of the run is drawn from.
    pub film: bool,
}

/// What a page of a run is drawn from.
#[derive(Clone, Debug, Default)]
pub struct Filmed {
    /// Messages, facts, cuts and lives.
    pub film: Film,
    /// Which faults happened, and when.
    pub faults: Vec<(Duration, String)>,
    /// What the clients asked and were told.
    pub history: Vec<Event>,
}

impl Options {
    /// All as `seed` decides, for `length`.
    pub fn of_seed(seed: u64, length: Duration) -> Self {
        Self::of_profile(seed, length, &Profile::all())
    }

    /// The same, with the faults of `profile`.
    pub fn of_profile(seed: u64, length: Duration, profile: &Profile) -> Self {
        let knobs = Knobs::draw(seed);
        let plan = Plan::draw(&knobs, length, profile);
        Self::of_plan(knobs, plan)
    }

    /// `plan` instead of the seed's own.
    pub fn of_plan(knobs: Knobs, plan: Plan) -> Self {
        Options { knobs, plan, bug: None, history: None, trace: None, film: false }
    }
}

/// Runs it, on a thread of its own.
pub fn run(options: Options) -> Report {
    panic::install();
    let thread = std::thread::Builder::new().name(format!("seed-{}", options.knobs.seed)).stack_size(16 << 20);
    let run = thread.spawn(move || run_here(options)).expect("the system has a thread to spare");
    run.join().unwrap_or_else(|_| std::process::abort())
}

fn run_here(options: Options) -> Report {
    let began = Instant::now();
    plant(options.bug);
    let record = Record::default();
    let trace = if options.trace.is_some() { Trace::with_text() } else { Trace::new() };
    let trace = if options.film { trace.filming() } else { trace };
    let outcome = panic::catch(|| simulate(&options, &record, &trace));
    let end = match outcome {
        Ok((end, contained)) => {
            let unplanned = contained.into_iter().filter(|_| !record.observer.was_damaged());
            unplanned.for_each(|message| record.violation(Invariant::Panic, end.simulated, message));
            end
        }
        Err(message) => {
            let at = record.observer.last_seen();
            record.violation(Invariant::Panic, at, message);
            End { simulated: at, reads_from: None }
        }
    };
    let history = record.take_history();
    let undecided = judge(&options.knobs, &options.plan, &record, &history, end);
    write_files(&options, &history, &trace);
    let (violations, events) = record.observer.finish();
    let filmed = trace.take_film().map(|film| Filmed { film, faults: record.take_faults(), history });
    Report {
        knobs: options.knobs,
        plan: options.plan,
        violations,
        undecided,
        events,
        asked: record.take_asked(),
        filmed,
        counters: record.counters(),
        trace_hash: Some(trace.hash()),
        simulated: end.simulated,
        wall: began.elapsed(),
    }
}

fn simulate(options: &Options, record: &Record, trace: &Trace) -> End {
    let runtime = Runtime::with_seed_and_config(options.knobs.seed, madsim::Config::default());
    // After a panic it is left as it is: dropping what is half broken would panic again, and end the process.
    let runtime = ManuallyDrop::new(runtime);
    let drive = drive::drive(options.knobs.clone(), options.plan.clone(), record.clone(), trace.clone());
    let end = runtime.block_on(drive);
    drop(ManuallyDrop::into_inner(runtime));
    end
}

/// What can be said only when the history is complete: L, D, what each workload must hold, and the progress that the plan
/// demands.
pub(crate) fn judge(knobs: &Knobs, plan: &Plan, record: &Record, history: &[Event], end: End) -> Option<String> {
    let at = end.simulated;
    // Before what only the reads at the end can show: a run that breaks both is shrunk by the one that shows early.
    let undecided = match linear::check(history) {
        linear::Judgement::Linearizable => None,
        linear::Judgement::Violated(message) => {
            record.violation(Invariant::Linearizable, at, message);
            None
        }
        linear::Judgement::Undecided(message) => Some(message),
    };
    if let Some(from) = end.reads_from {
        let lost = durable::check(history, from.as_nanos() as u64).expect("our own history is sound");
        lost.into_iter().for_each(|message| record.violation(Invariant::Durable, at, message));
    }
    for workload in &knobs.workloads {
        let wrong = workload.check(history, end.reads_from).expect("our own history is sound");
        wrong.into_iter().for_each(|message| record.violation(workload.invariant(), at, message));
    }
    let keys = (0..knobs.keys).map(|key| knobs.key(key));
    let missing = serving::check(history, keys, &plan.serving).expect("our own history is sound");
    missing.into_iter().for_each(|message| record.violation(Invariant::Converged, at, message));
    undecided
}

#[cfg(feature = "planted")]
fn plant(bug: Option<Bug>) {
    matrixkv::planted::plant(bug);
}

#[cfg(not(feature = "planted"))]
fn plant(bug: Option<Bug>) {
    assert!(bug.is_none(), "bugs are planted only in a build with --features planted");
}

/// A file that cannot be written is told, and fails nothing: the verdict is about the seed.
fn write_files(options: &Options, history: &[Event], trace: &Trace) {
    let told = |path: &PathBuf, error: std::io::Error| eprintln!("cannot write {}: {error}", path.display());
    if let Some(path) = &options.history {
        write_file(path, history).unwrap_or_else(|error| told(path, error));
    }
    if let Some(path) = &options.trace {
        std::fs::write(path, trace.text()).unwrap_or_else(|error| told(path, error));
    }
}
