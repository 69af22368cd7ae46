//! Named scenarios of links that are bad, and of clients who are told late or never. Each demands all invariants, and that what
//! it is about did happen.

use std::time::Duration;

use crate::support::{
    LENGTH, at_least, busy, crowd, everywhere, millis, must_hold, patient, repeated, secs, splitting,
};
use matrixkv_sim::{
    knobs::{Knobs, Transport},
    plan::{Fault, Kind, Move, Plan, Stranger, Target},
};

/// Pairs of nodes do not hear each other from `from` on for ten seconds, and every key is served meanwhile.
fn served_without(pairs: &[(usize, usize)], from: Duration) -> Plan {
    let lasts = secs(10);
    let cut = |plan: Plan, (a, b): &(usize, usize)| plan.with(from, Fault::CutPair { a: *a, b: *b, lasts });
    // The first leaders may be on the wrong side.
    let plan = pairs.iter().fold(Plan::empty(LENGTH), cut);
    plan.must_serve(from + secs(3), from + lasts)
}

/// 13, V: two nodes on either side do not hear the other side, and both hear the one in the middle. Seen to fail without
/// pre-vote and check-quorum; without one of them leaders change hands, and keys are served in between.
#[test]
fn a_bridge_between_two_sides() {
    let across = [(0, 3), (0, 4), (1, 3), (1, 4)];
    for seed in [13, 113] {
        let report = must_hold(everywhere(seed), served_without(&across, secs(14)));
        at_least(&report, "fault cut-pair", 4);
    }
}

/// 14, V: five nodes in a ring, each hears its two neighbours alone: every three in a row are a majority, and no other three. Seen
/// to fail without pre-vote.
#[test]
fn a_ring_of_overlapping_majorities() {
    let chords = [(0, 2), (0, 3), (1, 3), (1, 4), (2, 4)];
    for seed in [14, 114] {
        let report = must_hold(everywhere(seed), served_without(&chords, secs(14)));
        at_least(&report, "fault cut-pair", 5);
    }
}

/// 15, V: the links of a node come and go at the period of the election time-out; the others serve every key every two seconds.
/// Seen to fail without pre-vote.
#[test]
fn links_that_flap_at_the_period_of_elections() {
    for seed in [15, 115] {
        let knobs = everywhere(seed);
        let (every, lasts) = (knobs.election_timeout(), secs(14));
        let flap = |plan: Plan, a: usize| plan.with(secs(12), Fault::Flapping { a, b: 4, every, lasts });
        let serve = |plan: Plan, from| plan.must_serve(secs(from), secs(from + 2));
        let plan = (14..26).step_by(2).fold((0..4).fold(Plan::empty(LENGTH), flap), serve);
        let report = must_hold(knobs, plan);
        at_least(&report, "fault flapping", 4);
    }
}

/// 16, L, V: nodes are cut off one by one and come back in another order, again and again. Seen to fail with the planted bugs
/// `read-without-quorum` (L), `honour-any-destroy` (R) and `lingering-learner` (V).
#[test]
fn swizzles_over_subsets() {
    let orders: [(&[usize], &[usize]); 4] =
        [(&[0, 1, 2], &[1, 2, 0]), (&[3, 0], &[0, 3]), (&[2, 3, 1, 0], &[0, 3, 2, 1]), (&[1, 4], &[4, 1])];
    let swizzle = |n: u32| {
        let (order, back) = orders[n as usize % orders.len()];
        Fault::Swizzle { order: order.to_vec(), back: back.to_vec(), every: millis(300) }
    };
    let report = must_hold(patient(splitting(16)), repeated(secs(6), secs(3), 8, swizzle));
    at_least(&report, "fault swizzle", 8);
}

/// 18, L: connections break in the midst of what they carry, and nothing half is taken for whole. Seen to fail when what has come
/// of a frame is completed with zeros and taken in, and with the planted bug `retry-unknown-write`.
#[test]
fn connections_break_in_mid_frame() {
    // Frames of many segments, so that most breaks are inside of one.
    let knobs = Knobs { transport: Transport::Streams, value_bytes_max: 4000, ..busy(18) };
    let nodes = knobs.nodes;
    let reset = |n: u32| Fault::Reset { a: n as usize % nodes, b: (n as usize + 1 + n as usize / nodes % 2) % nodes };
    let report = must_hold(knobs, repeated(secs(6), millis(150), 150, reset));
    at_least(&report, "fault reset", 150);
}

/// 19, L: writes time out and commit late, while others come between; nothing acts twice. Seen to fail with the planted bug
/// `retry-unknown-write`.
#[test]
fn writes_that_time_out_commit_late() {
    let knobs = Knobs { keys: 5, request_deadline: millis(500), ..crowd(patient(splitting(19))) };
    let links = matrixkv_sim::knobs::Links { late: 0.3, late_by: secs(2), ..knobs.links };
    let late = |_| Fault::Links { kind: Kind::Delay, links, lasts: secs(3) };
    let report = must_hold(knobs, repeated(secs(6), secs(5), 4, late));
    at_least(&report, "operations unknown", 50);
}

/// 20, L: writes are on their way to a leader that hands over, again and again. Seen to fail with the planted bug
/// `retry-unknown-write`.
#[test]
fn forwarded_writes_while_leaders_change() {
    let moves = |n: u32| Fault::Move { what: Move::Leader, group: n as u64, node: n as usize % 5 };
    let knobs = Knobs { shards: 2, shard_capacity: 64 << 20, ..crowd(patient(splitting(20))) };
    let report = must_hold(knobs, repeated(secs(6), millis(100), 230, moves));
    at_least(&report, "fault transfer-leader", 60);
    at_least(&report, "elections", 60);
}

/// 21, L: leaders die one after the other, on slow links: whoever takes over is asked before it has committed anything. Seen to
/// fail with the planted bug `read-without-quorum`.
#[test]
fn reads_on_a_leader_that_has_committed_nothing() {
    let kill = |n: u32| match n % 2 {
        0 => Fault::Isolate { node: Target::Leader(n as u64), lasts: millis(1800) },
        _ => Fault::Kill { node: Target::Leader(n as u64), down: millis(400) },
    };
    let report = must_hold(crowd(patient(busy(21))), repeated(secs(6), millis(900), 26, kill));
    at_least(&report, "elections", 20);
}

/// 50, R: nodes of another cluster and of another protocol version connect all the time, and connections break in the middle
/// of their first words: each is refused that can be, and nothing changes (L, E, V). Seen to fail when clusters are not
/// compared, and when protocol versions are not.
#[test]
fn strangers_are_refused_and_nothing_changes() {
    let knobs = Knobs { transport: Transport::Streams, ..patient(splitting(50)) };
    let all = [Stranger::Cluster, Stranger::Protocol, Stranger::HalfFrame];
    let knocks = (0..30).map(|n| (n, Fault::Stranger { node: n % 5, who: all[n % 3] }));
    let plan = knocks.fold(Plan::empty(LENGTH), |plan, (n, knock)| plan.with(secs(6) + millis(700) * n as u32, knock));
    let report = must_hold(knobs, plan);
    at_least(&report, "fault stranger", 25);
    at_least(&report, "strangers refused", 15);
}
