//! Fixed seeds that run with every `cargo test`: some at random, each seed that ever failed, and one of them twice.

use std::time::Duration;

use matrixkv_sim::run::{LENGTH, Options, Report, Verdict, run};

/// Seeds that failed once, and what they found. A seed that is fixed stays here for ever.
const REGRESSIONS: &[(u64, &str)] = &[
    (10015, "entries that were about to be applied were applied after a snapshot that covers them"),
    (10042, "the goodbye of a stream that was closed during a cut never arrived"),
    (20225, "a member without data could not answer a leader that had joined after it"),
    (1795677128450, "an operator waited for a new replica on a store that had lost its folder"),
    (1795678963381, "a replica that had just come was taken away for having been silent"),
    (43, "a node that was stopping when all was healed was not started again"),
];

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

#[test]
fn seeds_that_failed_once() {
    for (seed, what) in REGRESSIONS {
        println!("seed {seed}: {what}");
        must_pass(*seed);
    }
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
