//! Does it bite? Each bug of [`matrixkv::planted`] is planted alone, and seeds are run until an invariant fails. A bug
//! that no seed finds is a hole in the simulator.

use std::{fmt, ops::Range, time::Duration};

use comfy_table::{Table, presets::ASCII_MARKDOWN};
use matrixkv::planted::Bug;

use crate::{
    check::{Invariant, Violation},
    plan::Profile,
    run::{Options, Report, run},
    shrink::{self, Case, Progress, Shrunk, shrink},
    workload::Workload,
};

/// The invariants that a bug breaks: what finds it must be one of them, since a crash by accident proves little.
pub fn expected(bug: Bug) -> &'static [Invariant] {
    use Invariant::{
        Applied, Converged, Durable, Election, Linearizable, LogMatching, Quarantined, Ranges, Repeatable,
    };
    match bug {
        // What was not synced is gone after a power cut: acknowledged entries, votes, or a log behind its own data.
        Bug::SkipSync => &[Linearizable, Durable, LogMatching, Applied, Election],
        Bug::AcknowledgeBeforeCommit => &[Linearizable, Durable],
        Bug::ReadWithoutQuorum => &[Linearizable],
        // Two leaders of one term commit different entries at one index.
        Bug::ForgetVote => &[Election, LogMatching, Applied, Linearizable],
        Bug::ApplyTwice => &[Applied, Linearizable],
        Bug::RetryUnknown => &[Linearizable],
        Bug::ProposeDoubled => &[Linearizable],
        // A write lands in rows that another shard counts, or a membership goes where its decider did not mean it. A shard
        // whose counts cannot be is put out of service at its next split.
        Bug::DropEpochCheck => &[Applied, Linearizable, Durable, Ranges, LogMatching, Quarantined],
        Bug::DropRangeCheck | Bug::ReadAfterRemoval => &[Linearizable, Durable],
        Bug::HonourAnyDestroy | Bug::ObeyUnknown => &[Ranges, Durable, Linearizable, Election],
        Bug::SnapshotIndex => &[Applied, LogMatching],
        // Two votes, or two leaders, in one term.
        Bug::LoseVoteOnSplit | Bug::ManyHeirs => &[Election, LogMatching, Applied, Linearizable],
        Bug::GiveIdTwice => &[Ranges, Applied, Election, LogMatching],
        // A replica's data are behind what it says to have applied, and it goes on from there.
        Bug::AppliedAhead => &[Applied, Linearizable, Durable],
        Bug::ComeBack => &[Ranges, Election],
        Bug::OverlappedDestroy => &[Applied, Durable, Linearizable, Quarantined],
        Bug::ObeyStale | Bug::PhantomVoter => &[Ranges],
        Bug::ReadAcrossSplit => &[Linearizable, Durable],
        Bug::KeepOldRows => &[Applied, Linearizable, Durable, Quarantined],
        Bug::LeakHashOrder | Bug::LeakCounter | Bug::LeakClock => &[Repeatable],
        Bug::LingeringLearner => &[Converged],
        Bug::DownFromSaved => &[Converged],
        // Two clusters under the same names: both elect, and each serves its own data.
        Bug::FoundTwice => &[Ranges, Linearizable, Durable, Election, LogMatching, Applied],
    }
}

/// Whether `bug` may be found by this. What makes a register wrong makes the keys of the other workloads wrong too.
fn may_break(bug: Bug, invariant: Invariant) -> bool {
    let is_of_a_workload = Workload::ALL.iter().any(|workload| workload.invariant() == invariant);
    expected(bug).contains(&invariant) || is_of_a_workload && expected(bug).contains(&Invariant::Linearizable)
}

/// What became of a bug.
#[derive(Clone, Debug)]
pub struct Bite {
    /// The bug.
    pub bug: Bug,
    /// The run that found it, and the profile that drew it.
    pub found_by: Option<(Report, Profile)>,
    /// Seeds that were run, under whatever profile.
    pub tried: u64,
    /// Profiles and seeds that failed for another reason than this bug can have.
    pub misfires: Vec<(String, u64)>,
    /// What shrinking left of that run, if it was shrunk.
    pub left: Option<Shrunk>,
}

/// Where bugs are hunted.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Which seeds, from the first on.
    pub seeds: Range<u64>,
    /// Simulated time of each.
    pub length: Duration,
    /// Which faults: what is not found under the first profile is hunted under the next.
    pub profiles: Vec<Profile>,
    /// How many seeds are run at a time. It does not change which one is found.
    pub jobs: usize,
}

impl Ground {
    fn runs(&self, bug: Bug, profile: &Profile, seeds: Range<u64>) -> Vec<Report> {
        let run_one = |seed| {
            let options = Options::of_profile(seed, self.length, profile);
            let options = Options { bug: Some(bug), ..options };
            let report = run(options.clone());
            if expected(bug).contains(&Invariant::Repeatable) { demand_the_same(report, options) } else { report }
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = seeds.map(|seed| scope.spawn(move || run_one(seed))).collect();
            running.into_iter().map(|thread| thread.join().expect("a run catches its panics")).collect()
        })
    }
}

/// P: the run that gave `report` gives the same trace once more.
fn demand_the_same(mut report: Report, options: Options) -> Report {
    let again = run(options);
    if again.trace_hash != report.trace_hash {
        let message = format!("traces {:x?} and {:x?} of one seed", report.trace_hash, again.trace_hash);
        report.violations.insert(0, Violation { invariant: Invariant::Repeatable, at: report.simulated, message });
    }
    report
}

/// Hunts `bug`.
pub fn hunt(bug: Bug, ground: &Ground) -> Bite {
    let mut bite = Bite { bug, found_by: None, tried: 0, misfires: Vec::new(), left: None };
    for profile in &ground.profiles {
        bite.found_by = bite.hunt_under(profile, ground).map(|report| (report, profile.clone()));
        if bite.found_by.is_some() {
            break;
        }
    }
    bite
}

impl Bite {
    fn hunt_under(&mut self, profile: &Profile, ground: &Ground) -> Option<Report> {
        let jobs = ground.jobs.max(1);
        for first in ground.seeds.clone().step_by(jobs) {
            for report in ground.runs(self.bug, profile, first..(first + jobs as u64).min(ground.seeds.end)) {
                self.tried += 1;
                match report.violations.first() {
                    Some(violation) if may_break(self.bug, violation.invariant) => return Some(report),
                    Some(_) => self.misfires.push((profile.name().to_owned(), report.knobs.seed)),
                    None => {}
                }
            }
        }
        None
    }

    /// Shrinks the run that found it.
    pub fn shrink(&mut self, options: shrink::Options, tell: &dyn Fn(Progress)) -> Result<(), String> {
        let Some((report, _)) = &self.found_by else { return Ok(()) };
        if expected(self.bug).contains(&Invariant::Repeatable) {
            // Whatever is left of such a run differs from itself.
            return Ok(());
        }
        let case = Case { knobs: report.knobs.clone(), plan: report.plan.clone() };
        self.left = Some(shrink(case, Some(self.bug), options, tell)?);
        Ok(())
    }

    fn left(&self) -> String {
        let Some(Shrunk { smallest, .. }) = &self.left else { return String::new() };
        let Case { knobs, plan } = &smallest.case;
        let requests = plan.requests().map_or("all".into(), |requests| requests.to_string());
        let faults = plan.faults.len();
        format!("{faults} fault{}, {requests} requests, {} nodes", if faults == 1 { "" } else { "s" }, knobs.nodes)
    }
}

/// The table of a hunt.
pub fn table(bites: &[Bite]) -> impl fmt::Display {
    let mut table = Table::new();
    let header = ["bug", "found by seed", "profile", "seeds tried", "invariant", "may break", "left after shrinking"];
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for bite in bites {
        let first = bite.found_by.as_ref().map(|(report, profile)| (report.knobs.seed, profile, &report.violations[0]));
        table.add_row([
            bite.bug.name().to_owned(),
            first.map_or("never".into(), |(seed, ..)| seed.to_string()),
            first.map_or(String::new(), |(_, profile, _)| profile.name().to_owned()),
            bite.tried.to_string(),
            first.map_or(String::new(), |(.., violation)| violation.invariant.letter().to_owned()),
            expected(bite.bug).iter().map(|invariant| invariant.letter()).collect::<Vec<_>>().join(" "),
            bite.left(),
        ]);
    }
    table
}
