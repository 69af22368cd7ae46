//! Named scenarios of Prophet: without a quorum, changing hands, coming back. The numbers are those of the list of scenarios
//! in the project's plan of faults. Each demands all invariants, and each was seen to fail with the rule taken out that its
//! first lines name.

use crate::support::*;
use matrixkv_sim::{
    knobs::{Knobs, Links},
    plan::{Fault, Kind, Move, Plan, Target},
};

/// 46, R, V: Prophet's leader is cut off again and again while it moves replicas, and a tenth of all envelopes come late: the
/// orders of the old leader reach shards that obey the new one already. Seen to fail with the planted bug `give-id-twice`.
/// (That an order is void on another membership than the one that it was decided on is the story `a_stale_order_is_void`: an
/// order that is not harms nothing that lasts, since ids are given once.)
#[test]
fn the_orders_of_an_old_prophet_come_late() {
    let mut void = 0;
    for seed in [46, 146, 246, 346] {
        let knobs = patient(moving(seed));
        let links = Links { late: 0.1, late_by: millis(1500), ..knobs.links };
        let late = Fault::Links { kind: Kind::Reorder, links, lasts: secs(24) };
        let what = [Move::Add, Move::Remove];
        let mut plan = repeated(secs(6), millis(250), 80, |n| Fault::Move {
            what: what[n as usize % 2],
            group: n as u64 * 5,
            node: n as usize * 3 % 5,
        });
        let lasts = knobs.election_timeout() * 3;
        for n in 0..5 {
            plan = plan.with(secs(7 + 4 * n), Fault::Isolate { node: Target::ProphetLeader, lasts });
        }
        let report = must_hold(knobs, plan.with(secs(5), late));
        at_least(&report, "replicas destroyed", 3);
        void += report.counters.get("void orders");
    }
    assert!(void >= 2, "{void} void orders in all of them");
}

/// 47, L, V: the stores of two of three Prophet members are emptied, and both members die, or are cut off and silent: without
/// a quorum of Prophet's, every key is read and written on. Seen to fail when a router asks Prophet before it believes its routes.
#[test]
fn the_data_path_goes_on_without_prophet() {
    let lasts = secs(14);
    let dead = (0..2).map(|node| Fault::Kill { node: Target::Node(node), down: lasts }).collect();
    for (seed, away) in [(47, dead), (147, vec![Fault::Split { side: vec![0, 1], lasts }])] {
        // Who asks a node that is cut off waits for it: others must be free to ask.
        let knobs = fair(crowd(patient(moving(seed))));
        let knobs = Knobs { nodes: 6, starts: vec![secs(0); 6], ..knobs };
        let mut plan = Plan::empty(LENGTH).must_serve(secs(16), secs(27));
        for node in 0..2 {
            plan = plan.with(secs(6), Fault::Drain { node, lasts: secs(22) });
        }
        let plan = away.into_iter().fold(plan, |plan, fault: Fault| plan.with(secs(14), fault));
        must_hold(knobs, plan);
    }
}

/// 48, R, V: Prophet's leader dies or is cut off again and again: no id is given twice, and no store looks down for it. Seen to
/// fail with the planted bugs `give-id-twice` and `down-from-saved-heartbeats`.
#[test]
fn prophet_changes_hands() {
    let kill = |n: u32| match n % 2 {
        0 => Fault::Kill { node: Target::ProphetLeader, down: millis(400) },
        _ => Fault::Isolate { node: Target::ProphetLeader, lasts: millis(1200) },
    };
    let knobs = Knobs { store_down_time: secs(6), ..splitting(48) };
    let report = must_hold(knobs, repeated(secs(4), secs(2), 10, kill));
    assert_eq!(report.counters.get("stores held for down"), 0, "{report}");
    at_least(&report, "splits applied", 20);
}

/// 54, V: the whole cluster is without power for longer than every down-time, and no store is held for Down because of it.
/// Seen to fail when Prophet's new leader counts silence from before its election (the planted bug
/// `down-from-saved-heartbeats`).
#[test]
fn a_long_power_cut_makes_no_store_down() {
    for seed in [54, 154] {
        let down = vec![secs(14); 5];
        let knobs = Knobs { peer_down_time: secs(6), store_down_time: secs(6), ..moving(seed) };
        let report = must_hold(knobs, Plan::empty(LENGTH).with(secs(10), Fault::PowerLossAll { down }));
        assert_eq!(report.counters.get("stores held for down"), 0, "{report}");
    }
}
