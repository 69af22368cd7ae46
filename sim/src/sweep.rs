//! Many seeds, some at a time. It fails if a seed fails or cannot be decided; and, when it is long enough to tell, if a
//! kind of fault never happened or fewer than half of the operations were done: such a sweep has tested little.

use std::{
    io::IsTerminal,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    plan::Profile,
    run::{Counters, ILL, Options, Report, Verdict, run},
};

/// From how many seeds on every kind of fault must have happened.
const SEEDS_TO_JUDGE: u64 = 100;

/// How often a sweep without a terminal says how far it is.
const LINE_PERIOD: Duration = Duration::from_secs(10);

/// What to sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Which seeds.
    pub seeds: Range<u64>,
    /// How many at a time.
    pub jobs: usize,
    /// How long each.
    pub length: Duration,
    /// With which faults.
    pub profile: Profile,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Seeds that were run.
    pub seeds: u64,
    /// Those that failed, ascending.
    pub failed: Vec<u64>,
    /// Those that the checker could not decide, ascending.
    pub undecided: Vec<u64>,
    /// All counters together.
    pub counters: Counters,
    /// All simulated time.
    pub simulated: Duration,
    /// All time of all threads.
    pub busy: Duration,
    /// Real time.
    pub wall: Duration,
}

/// Does `work` for each seed, `jobs` at a time.
pub fn for_each(seeds: &Range<u64>, jobs: usize, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed)) {
                    work(seed);
                }
            });
        }
    });
}

impl Sweep {
    /// Runs it, and tells of each failing seed as it ends.
    pub fn run(&self) -> Sums {
        let began = Instant::now();
        let screen = Screen::new(self.seeds.end.saturating_sub(self.seeds.start));
        let sums = Mutex::new(Sums::default());
        for_each(&self.seeds, self.jobs, |seed| {
            let report = run(Options::of_profile(seed, self.length, &self.profile));
            let mut sums = sums.lock().expect("no worker panics");
            sums.add(&report);
            screen.step(&report, &sums);
        });
        screen.finish();
        let mut sums = sums.into_inner().expect("no worker panics");
        sums.failed.sort_unstable();
        sums.undecided.sort_unstable();
        sums.wall = began.elapsed();
        sums
    }
}

impl Sums {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        match report.verdict() {
            Verdict::Passed => {}
            Verdict::Undecided => self.undecided.push(report.knobs.seed),
            Verdict::Failed => self.failed.push(report.knobs.seed),
        }
        self.counters.add_all(&report.counters);
        self.simulated += report.simulated;
        self.busy += report.wall;
    }

    fn so_far(&self, last: u64) -> String {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        format!("last {last}, {hours:.1} simulated hours, {} failed", self.failed.len())
    }

    /// Why the sweep as a whole is not good, if it is not.
    pub fn complaints(&self, profile: &Profile) -> Vec<String> {
        let mut complaints = Vec::new();
        if !self.failed.is_empty() {
            complaints.push(format!("{} seeds failed: {:?}", self.failed.len(), self.failed));
        }
        if !self.undecided.is_empty() {
            complaints.push(format!("{} seeds are undecided: {:?}", self.undecided.len(), self.undecided));
        }
        if self.seeds >= SEEDS_TO_JUDGE {
            let never = profile.kinds().filter(|kind| self.counters.faults(*kind) == 0);
            complaints.extend(never.map(|kind| format!("the fault {kind} never happened")));
            if profile.liveness() > 0.0 && self.counters.get(ILL) == 0 {
                complaints.push("no minority ever fell ill".into());
            }
        }
        let (done, all) = self.counters.operations();
        if done * 2 < all {
            complaints.push(format!("only {done} of {all} operations were done"));
        }
        complaints
    }

    /// How fast it was, and what it did.
    pub fn describe(&self) -> String {
        let per_minute = self.seeds as f64 * 60.0 / self.wall.as_secs_f64().max(1e-9);
        let per_core = self.simulated.as_secs_f64() / self.busy.as_secs_f64().max(1e-9);
        format!(
            "{}{} seeds in {:.1} s: {per_minute:.0} seeds a minute, {per_core:.0} simulated seconds a second and core",
            self.counters,
            self.seeds,
            self.wall.as_secs_f64()
        )
    }
}

/// A bar on a terminal, lines elsewhere.
struct Screen {
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
    seeds: u64,
}

impl Screen {
    fn new(seeds: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:32} {pos}/{len} seeds, {per_sec}, {eta} to go  {msg}");
            ProgressBar::new(seeds).with_style(style.expect("the template is fine"))
        });
        Screen { bar, last_line: Mutex::new(Instant::now()), seeds }
    }

    fn step(&self, report: &Report, sums: &Sums) {
        if report.verdict() != Verdict::Passed {
            self.print(&format!("{report}\n"));
        }
        if let Some(bar) = &self.bar {
            bar.set_message(sums.so_far(report.knobs.seed));
            bar.inc(1);
            return;
        }
        let mut last = self.last_line.lock().expect("no holder panics");
        if last.elapsed() >= LINE_PERIOD {
            *last = Instant::now();
            println!("{} of {} seeds, {}", sums.seeds, self.seeds, sums.so_far(report.knobs.seed));
        }
    }

    fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Kind;
    use crate::run::{DONE, REFUSED};

    #[test]
    fn a_long_sweep_without_a_fault_or_with_few_operations_is_not_good() {
        let mut sums = Sums { seeds: 100, ..Sums::default() };
        for kind in Kind::ALL {
            sums.counters.fault(*kind);
        }
        sums.counters.add(ILL, 1);
        sums.counters.add(DONE, 10);
        sums.counters.add(REFUSED, 10);
        assert!(sums.complaints(&Profile::all()).is_empty());
        sums.counters.add(REFUSED, 1);
        assert_eq!(sums.complaints(&Profile::all()), ["only 10 of 21 operations were done"]);
        assert_eq!(Sums { seeds: 100, ..Sums::default() }.complaints(&Profile::all()).len(), Kind::ALL.len() + 1);
    }
}
