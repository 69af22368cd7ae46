//! Named scenarios of shards that split, and of logs that are cut short. The numbers are those of the list of scenarios in
//! the project's plan of faults. Each demands all invariants, and that what it is about did happen; and each was seen to
//! fail with the rule taken out that its first lines name.

mod support;

use std::time::Duration;

use matrixkv_sim::{
    knobs::{Knobs, Links},
    plan::{Fault, Harm, Kind, Moment, Move, Plan, Target},
};
use support::*;

fn at_split(moment: Moment, delay: Duration, harm: Harm, lasts: Duration) -> Fault {
    Fault::AtSplit { moment, delay, harm, lasts }
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
/// and again, under load. Seen to fail when a split is applied on the preparation of another one, and with the planted bug
/// `drop-epoch-check`.
#[test]
fn leaders_die_while_their_shards_split() {
    let moments = [Moment::Proposed, Moment::Applied];
    let kill =
        |n: u32| at_split(moments[n as usize % 2], Duration::from_micros(400 << (n % 8)), Harm::Kill, millis(500));
    for seed in [35, 135] {
        let report = must_hold(splitting(seed), repeated(millis(3500), millis(900), 14, kill));
        at_least(&report, "splits applied", 30);
        assert!(report.counters.faults(Kind::AtSplit) >= 8, "{report}");
    }
}

/// 36, R, A: shards split while a follower is down; it comes back to parents that have grown small and children that it
/// never saw, and the parent's entries and the children's snapshots reach it in any order. Seen to fail when a replica
/// is born where another one still holds its keys.
#[test]
fn shards_split_while_a_follower_is_down() {
    for node in 0..3 {
        let plan = Plan::empty(LENGTH).with(secs(3), Fault::Kill { node: Target::Node(node), down: secs(8) });
        let report = must_hold(Knobs { compact_threshold: 4, ..patient(splitting(36)) }, plan);
        at_least(&report, "splits applied", 20);
    }
}

/// 37, L: every node learnt its routes before all splits; then leaders change, so that old routes name who has the rows
/// and does not lead them any more. Seen to fail when a read is done whatever range its shard has now.
#[test]
fn stale_routes_everywhere() {
    for seed in [37, 137] {
        let transfer = |n: u32| Fault::Move { what: Move::Leader, group: 3 * n as u64, node: n as usize % 5 };
        let report = must_hold(splitting(seed), repeated(secs(4), millis(300), 60, transfer));
        at_least(&report, "shards at the end", 10);
    }
}

/// 38, R: splits in quick succession while replicas of the same shards come and go. Seen to fail when the range of a
/// destroyed replica may be taken before its rows are gone.
#[test]
fn splits_in_quick_succession_while_replicas_move() {
    let what = [Move::Add, Move::Remove];
    let mut plan = repeated(secs(4), millis(150), 80, |n| Fault::Move {
        what: what[n as usize % 2],
        group: n as u64 * 7,
        node: n as usize * 3 % 5,
    });
    for n in 0..10 {
        plan = plan.with(millis(4500 + 700 * n), Fault::SplitAt { key: 2 * n as usize });
    }
    let report = must_hold(splitting(38), plan);
    at_least(&report, "splits applied", 30);
    at_least(&report, "replicas destroyed", 10);
}

/// 39, L: a read is taken in by a leader that has a split under way, and is done after it: the leader stands still or is
/// alone just then, until somebody else leads the new shard and has written to it. Seen to fail with the planted bug
/// `drop-range-check-of-reads`.
#[test]
fn a_read_waits_while_its_shard_is_split() {
    for seed in 390..394 {
        let knobs = splitting(seed);
        let lasts = knobs.election_timeout();
        let harm = |n: u32| {
            let harm = if n % 3 == 2 { Harm::Isolate } else { Harm::Pause };
            at_split(Moment::Proposed, Duration::from_micros(200 << (n % 7)), harm, lasts * (11 + n) / 10)
        };
        let report = must_hold(knobs, repeated(secs(3), millis(1200), 12, harm));
        assert!(report.counters.faults(Kind::AtSplit) >= 4, "{report}");
    }
}
