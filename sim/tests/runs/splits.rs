//! Named scenarios of shards that split, and of logs that are cut short. The numbers are those of the list of scenarios in
//! the project's plan of faults. Each demands all invariants, and that what it is about did happen; and each was seen to
//! fail with the rule taken out that its first lines name.

use std::time::Duration;

use crate::support::*;
use matrixkv_sim::{
    knobs::{KeyShape, Knobs, Links},
    plan::{Fault, Harm, Kind, Moment, Move, Target},
};

fn at_moment(moment: Moment, delay: Duration, harm: Harm, lasts: Duration) -> Fault {
    Fault::AtMoment { moment, delay, harm, lasts }
}

/// 34, V: the log is compacted below a follower that was away, on links that lose every fifth envelope, and every replica
/// has everything in the end. Seen to fail when a snapshot that was lost is not sent again.
#[test]
fn a_follower_that_the_log_has_left_behind() {
    let knobs = Knobs { compact_threshold: 4, ..patient(moving(34)) };
    let links = Links { loss: 0.2, ..knobs.links };
    let plan = repeated(secs(8), secs(5), 4, |n| Fault::Kill { node: Target::Node(n as usize), down: secs(2) });
    let lossy = Fault::Links { kind: Kind::Loss, links, lasts: secs(25) };
    let report = must_hold(knobs, plan.with(secs(5), lossy));
    at_least(&report, "snapshots installed", 20);
}

/// 35, R, L, D: a leader is killed when it has proposed a split, while that is committed, and when it has applied it; again
/// and again, under load. Seen to fail with the planted bug `drop-epoch-check`.
#[test]
fn leaders_die_while_their_shards_split() {
    let moments = [Moment::Proposed, Moment::Applied];
    let kill =
        |n: u32| at_moment(moments[n as usize % 2], Duration::from_micros(400 << (n % 8)), Harm::Kill, millis(500));
    for seed in [35, 135] {
        // So many keys that there is something to split to the end.
        let knobs = Knobs { keys: 40, ..splitting(seed) };
        let report = must_hold(knobs, repeated(millis(3500), millis(900), 14, kill));
        at_least(&report, "splits applied", 30);
        assert!(report.counters.faults(Kind::AtMoment) >= 8, "{report}");
    }
}

/// 36, R, A: followers are away again and again while their shards split, and a third of all envelopes come late: parents
/// that have grown small and children that nobody here has seen reach them as entries and as snapshots, in any order. Seen
/// to fail when a replica is born where another one still holds its keys.
#[test]
fn shards_split_while_a_follower_is_away() {
    for seed in [36, 136] {
        let knobs = Knobs { compact_threshold: 4, ..patient(splitting(seed)) };
        let links = Links { late: 0.3, late_by: millis(200), ..knobs.links };
        let late = Fault::Links { kind: Kind::Reorder, links, lasts: secs(25) };
        let plan = repeated(secs(3), millis(1500), 14, |n| match n % 3 {
            0 => Fault::Kill { node: Target::Node(n as usize % 5), down: millis(1800) },
            _ => Fault::Isolate { node: Target::Node(n as usize % 5), lasts: millis(1300) },
        });
        let report = must_hold(knobs, plan.with(secs(3), late));
        at_least(&report, "splits applied", 20);
        at_least(&report, "snapshots installed", 10);
        at_least(&report, "messages for unborn replicas", 10);
    }
}

/// 37, L: every node learnt its routes before all splits; then leaders change, and pairs of nodes do not hear each other. So
/// old routes name who still leads the old shard and hears nothing of what is written to the new one. Seen to fail with the
/// planted bug `drop-range-check-of-reads`.
#[test]
fn stale_routes_everywhere() {
    for seed in [37, 137] {
        let transfer = |n: u32| Fault::Move { what: Move::Leader, group: 3 * n as u64, node: n as usize % 5 };
        let mut plan = repeated(millis(2500), millis(250), 60, transfer);
        for n in 0..24 {
            let (a, b) = (n % 5, (n + 1 + n / 5 % 4) % 5);
            let cut = Fault::CutPair { a, b, lasts: millis(1100) };
            plan = plan.with(millis(2500 + 500 * n as u64), cut);
        }
        let report = must_hold(crowd(splitting(seed)), plan);
        at_least(&report, "shards at the end", 10);
        at_least(&report, "requests for old ranges", 10);
    }
}

/// 38, R: splits in quick succession while replicas of the same shards come and go, and what was said about them comes late
/// and twice. Seen to fail when a destroyed replica leaves no tomb.
#[test]
fn splits_in_quick_succession_while_replicas_move() {
    let what = [Move::Add, Move::Remove];
    let knobs = splitting(38);
    let links = Links { late: 0.2, late_by: millis(1500), duplicate: 0.3, ..knobs.links };
    let late = Fault::Links { kind: Kind::Reorder, links, lasts: secs(24) };
    let mut plan = repeated(secs(4), millis(150), 80, |n| Fault::Move {
        what: what[n as usize % 2],
        group: n as u64 * 7,
        node: n as usize * 3 % 5,
    });
    for n in 0..10 {
        plan = plan.with(millis(4500 + 700 * n), Fault::SplitAt { key: 2 * n as usize });
    }
    let report = must_hold(knobs, plan.with(secs(5), late));
    at_least(&report, "splits applied", 30);
    at_least(&report, "replicas destroyed", 10);
}

/// 39, L: a leader takes in reads and has a split under way, and its disk stands still while it applies that. Somebody else
/// leads the new shard meanwhile and writes to it, while the old one has no new leader yet; then the reads are due. Seen to
/// fail with the planted bug `drop-range-check-of-reads`.
#[test]
fn a_read_waits_while_its_shard_is_split() {
    for seed in 390..394 {
        let quick = crowd(splitting(seed));
        let knobs = Knobs { tick: millis(40), election_ticks: 8, request_deadline: secs(5), ..quick };
        let election = knobs.election_timeout();
        let stall = |n: u32| {
            let lasts = election * (11 + n % 8) / 10;
            at_moment(Moment::Proposed, Duration::from_micros(100) * (n % 4), Harm::DiskStall, lasts)
        };
        let report = must_hold(knobs, repeated(secs(2), millis(600), 24, stall));
        assert!(report.counters.faults(Kind::AtMoment) >= 4, "{report}");
    }
}

/// R, A, L: keys that are equal in their first kilobyte, odd keys, and values from nothing to 60 KB, in shards that may hold
/// 16 bytes: each key ends in a shard of its own, and leaders die on the way. (What decides where to split is tested on real
/// processes, in `tests/cluster/splits.rs`.) Seen to fail with the planted bug `drop-epoch-check`.
#[test]
fn shards_of_sixteen_bytes_with_keys_and_values_of_any_kind() {
    for key_shape in [KeyShape::Alike, KeyShape::Odd] {
        let knobs = Knobs { shard_capacity: 16, value_bytes_max: 60_000, key_shape, ..splitting(16) };
        let knobs = Knobs { think_max: millis(400), request_deadline: secs(5), skew: 1, ..knobs };
        let kill = |n: u32| Fault::Kill { node: Target::Leader(u64::from(n) * 5), down: millis(700) };
        let mut plan = repeated(secs(5), secs(3), 6, kill);
        for n in 0..20 {
            plan = plan.with(millis(2000 + 300 * n), Fault::Rush { moment: Moment::Proposed, delay: Duration::ZERO });
        }
        let report = must_hold(knobs, plan);
        at_least(&report, "shards at the end", 20);
        at_least(&report, "fault rush", 10);
    }
}
