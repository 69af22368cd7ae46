//! Workloads beside the registers, each under the faults that it is about, with everything checked as ever; and each of its
//! checkers bites.

use std::collections::BTreeSet;

use crate::support::*;
use matrixkv_sim::{
    knobs::Knobs,
    plan::{Fault, Plan, Target},
    run::Report,
    workload::Workload,
};

/// Seeds with which the planted bugs below are seen by the checkers themselves, and not only as a register that is wrong.
const SET: u64 = 202;
const MONOTONIC: u64 = 305;
const CHURN: u64 = 213;

/// How many seeds are tried from there on.
#[cfg(feature = "planted")]
const SEEDS_MAX: u64 = 80;

/// `workloads` beside the busy clients of registers. Shards split where there is a set; else one has all keys, so that whoever
/// leads it is the leader that the faults are about.
fn beside(seed: u64, workloads: &[Workload]) -> Knobs {
    let shard_capacity = if workloads.contains(&Workload::Set) { 1024 } else { 64 << 20 };
    let knobs = Knobs { shard_capacity, ..splitting(seed) };
    Knobs { workloads: workloads.iter().copied().collect::<BTreeSet<_>>(), ..knobs }
}

/// Leaders die, stand still and are cut off, nodes do not hear each other, and power is lost, one after the other, all the time.
fn faults(knobs: &Knobs) -> Plan {
    let (lasts, down) = (knobs.election_timeout() * 2, millis(800));
    repeated(secs(4), millis(1000), 24, |n| {
        let (node, leader) = (n as usize % 5, Target::Leader((n / 6).into()));
        match n % 6 {
            0 => Fault::Kill { node: leader, down },
            1 => Fault::CutPair { a: node, b: (node + 2) % 5, lasts },
            2 => Fault::Split { side: vec![node, (node + 1) % 5], lasts },
            3 => Fault::Isolate { node: leader, lasts },
            4 => Fault::Pause { node: leader, lasts },
            _ => Fault::PowerLossAll { down: vec![down; knobs.nodes] },
        }
    })
}

/// Under them all invariants hold, and so many operations of each workload are done.
fn must_hold_beside(seed: u64, workloads: &[(Workload, u64)]) -> Report {
    let knobs = beside(seed, &workloads.iter().map(|(workload, _)| *workload).collect::<Vec<_>>());
    let report = must_hold(knobs.clone(), faults(&knobs));
    for (workload, done) in workloads {
        at_least(&report, &format!("{workload} done"), *done);
        // Through each of five nodes, and through those that are left when a leader is gone.
        at_least(&report, &format!("{workload} scans"), 9);
    }
    report
}

/// S: seen to fail with the planted bug `acknowledge-before-commit`.
#[test]
fn a_set_that_is_added_to_through_all_faults() {
    must_hold_beside(SET, &[(Workload::Set, 15)]);
}

/// O: seen to fail with the planted bug `read-without-quorum`.
#[test]
fn numbers_ascend_through_all_faults() {
    must_hold_beside(MONOTONIC, &[(Workload::Monotonic, 150)]);
}

/// C: seen to fail with the planted bug `retry-unknown-write`.
#[test]
fn keys_deleted_and_made_again_through_all_faults() {
    must_hold_beside(CHURN, &[(Workload::Churn, 150)]);
}

#[test]
fn all_workloads_at_once() {
    must_hold_beside(204, &[(Workload::Set, 15), (Workload::Monotonic, 150), (Workload::Churn, 150)]);
}

/// The same seed with and without: what the registers' clients ask comes from dice of their own.
#[test]
fn a_run_without_other_workloads_has_none_of_their_counters() {
    let knobs = beside(205, &[]);
    let report = must_hold(knobs, Plan::empty(secs(10)));
    assert!(Workload::ALL.iter().all(|workload| report.counters.get(&format!("{workload} done")) == 0), "{report}");
}

/// Each checker sees what it is there for, in the runs that pass without the bug, or in one of the next: which one is luck, and
/// other luck whenever the code changes.
#[cfg(feature = "planted")]
#[test]
fn each_checker_bites() {
    use matrixkv::planted::Bug;
    use matrixkv_sim::run::{Options, run};

    let bites = [
        (Bug::AcknowledgeBeforeCommit, Workload::Set, SET),
        (Bug::ReadWithoutQuorum, Workload::Monotonic, MONOTONIC),
        (Bug::RetryUnknown, Workload::Churn, CHURN),
    ];
    for (bug, workload, seed) in bites {
        let is_seen = |seed: u64| {
            let knobs = beside(seed, &[workload]);
            let plan = faults(&knobs);
            let report = run(Options { bug: Some(bug), ..Options::of_plan(knobs, plan) });
            let seen = report.violations.iter().find(|violation| violation.invariant == workload.invariant());
            seen.inspect(|violation| println!("{} with seed {seed}: {violation}", bug.name())).is_some()
        };
        assert!((seed..seed + SEEDS_MAX).any(is_seen), "{} is not seen by the checker of {workload}", bug.name());
    }
}
