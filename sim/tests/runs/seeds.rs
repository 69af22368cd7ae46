//! Fixed seeds that run with every `cargo test`: some at random, and one of them twice. Those that failed once are plans
//! under `sim/tests/regressions/`, since a seed draws something else whenever a fault or a knob is added.

use std::time::Duration;

use matrixkv_sim::run::{LENGTH, Options, Report, Verdict, run};

fn must_pass(seed: u64) -> Report {
    let report = run(Options::of_seed(seed, LENGTH));
    assert_eq!(report.verdict(), Verdict::Passed, "{report}");
    report
}

/// Four tests, so that four threads share the seeds.
fn seeds_of(part: u64) {
    for seed in (0..12).filter(|seed| seed % 4 == part) {
        must_pass(seed);
    }
}

#[test]
fn seeds_part_0() {
    seeds_of(0);
}

#[test]
fn seeds_part_1() {
    seeds_of(1);
}

#[test]
fn seeds_part_2() {
    seeds_of(2);
}

#[test]
fn seeds_part_3() {
    seeds_of(3);
}

/// P, within one process; `matrixkv-sim twice` compares processes and builds.
#[test]
fn the_same_seed_leaves_the_same_trace() {
    let length = Duration::from_secs(20);
    let hash = |seed| run(Options::of_seed(seed, length)).trace_hash;
    let first = hash(100);
    assert_eq!(first, hash(100));
    assert_ne!(first, hash(101));
}
