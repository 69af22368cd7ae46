//! Named scenarios of snapshots on their way. The numbers are those of the list of scenarios in the project's plan of faults.

mod support;

use std::time::Duration;

use matrixkv_sim::{
    knobs::Knobs,
    plan::{Fault, Move, Plan, Target},
};

use support::{LENGTH, at_least, millis, moving, must_hold, patient, secs};

/// A shard of many chunks on three nodes, and logs that are soon compacted: whoever was away needs a snapshot.
fn chunky(seed: u64) -> Knobs {
    let starts = vec![Duration::ZERO; 3];
    let knobs = Knobs { nodes: 3, starts, shards: 1, keys: 60, chunk_bytes: 64, compact_threshold: 4, ..moving(seed) };
    patient(knobs)
}

/// 32: the receiver of a snapshot loses power inside any of its disk operations: while it puts chunks aside, while the old
/// rows go and the new ones come, and when raft's state follows (A, D). Seen to fail when an installation that was
/// interrupted clears the range again after rows had been moved into it.
#[test]
fn the_receiver_of_a_snapshot_crashes_at_every_step() {
    for (seed, chunks_max) in [(32, 8), (132, 1)] {
        let plan = (0..9).fold(Plan::empty(LENGTH), |plan, n| {
            let away = secs(4) + millis(3500) * n;
            let node = Target::Node(1);
            let plan = plan.with(away, Fault::Kill { node, down: millis(1200) });
            (0..3).fold(plan, |plan, crash| {
                let operation = u64::from(25 + 40 * crash + 9 * n);
                let at = away + millis(1250) + millis(600) * crash;
                plan.with(at, Fault::ArmedCrash { node, operation, down: millis(100) })
            })
        });
        let report = must_hold(Knobs { chunks_max, ..chunky(seed) }, plan);
        at_least(&report, "fault armed-crash", 10);
        at_least(&report, "snapshots installed", 4);
        at_least(&report, "snapshot chunks", 60);
    }
}

/// 33: a snapshot is overtaken while it travels: by the log of a new leader, by compaction, by another snapshot, by chunks
/// of an earlier one (M, A). Seen to fail when a chunk is taken whatever snapshot it is of.
#[test]
fn a_snapshot_is_overtaken() {
    for seed in [33, 133] {
        let knobs = chunky(seed);
        let links = matrixkv_sim::knobs::Links {
            latency: (millis(1), millis(20)),
            loss: 0.05,
            duplicate: 0.3,
            late: 0.3,
            late_by: millis(700),
        };
        let storm = Fault::Links { kind: matrixkv_sim::plan::Kind::Reorder, links, lasts: secs(26) };
        let plan = (0..8).fold(Plan::empty(LENGTH).with(secs(4), storm), |plan, n| {
            let at = secs(4) + millis(3200) * n;
            let node = Target::Node(n as usize % 3);
            let plan = plan.with(at, Fault::Kill { node, down: millis(2600) });
            let node = (n as usize + 2) % 3;
            let plan = plan.with(at + millis(2700), Fault::Move { what: Move::Leader, group: n.into(), node });
            plan.with(at + millis(2900), Fault::Isolate { node: Target::Leader(n.into()), lasts: millis(900) })
        });
        let report = must_hold(knobs, plan);
        at_least(&report, "snapshots installed", 4);
        at_least(&report, "snapshot chunks", 40);
    }
}
