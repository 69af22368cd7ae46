//! Named scenarios of machines that are bad: their disks, their clocks, and too much to do. Each demands all invariants, and that
//! what it is about did happen.

use crate::support::{
    LENGTH, at_least, busy, crowd, everywhere, gets, millis, moving, must_hold, must_hold_on_film, patient, repeated,
    secs, splitting,
};
use matrixkv_sim::{
    knobs::Knobs,
    plan::{Access, Fault, Part, Plan, Target},
};

/// What the simulator's nodes keep free: `[limits] disk-reserve`.
const RESERVE: u64 = matrixkv_sim::knobs::DISK_RESERVE;

/// 3, A: nodes die at any moment, many times, between what they apply and what they write of that. Seen to fail with the planted
/// bugs `applied-index-before-its-data` and `apply-twice-after-restart`.
#[test]
fn crashes_between_data_and_applied_index() {
    let kill = |n: u32| Fault::Kill { node: Target::Node(n as usize % 4), down: millis(200) };
    // What is committed is applied over several batches, and each takes so long that a node dies in the midst of one.
    let knobs = Knobs { batch_bytes_max: 64, disk_latency: (millis(5), millis(15)), ..patient(moving(3)) };
    let report = must_hold(knobs, repeated(secs(6), millis(400), 60, kill));
    at_least(&report, "fault kill", 50);
}

/// 6, D: a group of one, and power is lost right after it answered. Seen to fail with the planted bugs
/// `acknowledge-before-commit` and `skip-sync`.
#[test]
fn a_group_of_one_loses_power() {
    // A commit takes so long that the power goes in the midst of it.
    let knobs = Knobs { replicas: 1, disk_latency: (millis(5), millis(15)), ..patient(splitting(6)) };
    let cut = |n: u32| Fault::PowerLoss { node: Target::Leader(n as u64), down: millis(300) };
    let report = must_hold(knobs, repeated(secs(6), millis(700), 30, cut));
    at_least(&report, "fault power-loss", 20);
}

/// 23, L, V: one clock jumps by an hour, runs 10 % wrong, stands still, and every key is served all the while. Seen to fail when
/// a clock that leaps is taken for silence.
#[test]
fn one_clock_is_wrong() {
    for seed in [23, 123] {
        let node = Target::ProphetLeader;
        let plan = Plan::empty(LENGTH)
            .with(secs(8), Fault::ClockJump { node, by: secs(3600) })
            .with(secs(12), Fault::ClockDrift { node, millionths: 100_000, lasts: secs(5) })
            .with(secs(18), Fault::ClockFreeze { node, lasts: secs(4) })
            .with(secs(24), Fault::ClockDrift { node, millionths: -100_000, lasts: secs(5) })
            .must_serve(secs(9), secs(18))
            .must_serve(secs(20), secs(29));
        let short = millis(6000);
        let report = must_hold(Knobs { peer_down_time: short, store_down_time: short, ..everywhere(seed) }, plan);
        for kind in ["clock-jump", "clock-drift", "clock-freeze"] {
            at_least(&report, &format!("fault {kind}"), 1);
        }
        assert_eq!(report.counters.get("stores held for down"), 0, "{report}");
    }
}

/// 25, D: a write or a sync fails once, at any place; the node stops at once, and what it had acknowledged is there. Seen to fail
/// when an error of a commit is passed over.
#[test]
fn a_sync_fails_once() {
    let error = |n: u32| Fault::DiskError {
        node: Target::Node(n as usize % 4),
        on: Access::Change,
        operation: 1 + n as u64 * 5,
        down: millis(300),
    };
    let report = must_hold(patient(busy(25)), repeated(secs(6), millis(1500), 15, error));
    at_least(&report, "fault disk-error", 12);
}

/// V: disks err just before all is healed, and some nodes have not heard of it by then: who heals ends their lives and starts them
/// again. Seen to fail when it looks only for nodes that are down already (seed 1798400202505 of `disk`).
#[test]
fn disks_err_as_all_is_healed() {
    let mut errors = 0;
    for n in 0..6 {
        let heal_at = secs(9);
        let err =
            |node| Fault::DiskError { node: Target::Node(node), on: Access::Change, operation: 1, down: millis(300) };
        let plan = Plan { heal_at, ..Plan::empty(secs(12)) };
        let plan = (0..4).fold(plan, |plan, node| plan.with(heal_at - millis(1) * (n + 1), err(node)));
        let knobs = Knobs { nodes: 4, starts: vec![secs(0); 4], ..patient(busy(250 + n as u64)) };
        let report = must_hold(Knobs { disk_latency: (millis(4), millis(12)), ..knobs }, plan);
        errors += report.counters.get("errors of disks");
    }
    assert!(errors >= 6, "{errors}");
}

/// 26, L, V: the disks of nodes are nearly full, two at a time: writes are refused before one fails, and done
/// again when there is room; reads go on all the while. Seen to fail when nobody looks at the room, and when who has none
/// refuses reads as well.
#[test]
fn disks_are_full() {
    for seed in [26, 126] {
        let full = |n: u32| {
            let left = RESERVE / 2 * (n as u64 % 2 + 1);
            Fault::DiskFull { node: Target::Node(n as usize % 4), left, lasts: secs(5) }
        };
        let plan = repeated(secs(7), secs(3), 7, full);
        // Nobody answers in the place of a node that was not started yet. Who is refused tries again until the deadline.
        let (starts, request_deadline) = (vec![secs(0); 4], millis(500));
        let knobs = Knobs { nodes: 4, starts, request_deadline, value_bytes_max: 4000, ..patient(busy(seed)) };
        let report = must_hold_on_film(knobs, plan);
        at_least(&report, "fault disk-full", 7);
        at_least(&report, "operations refused", 50);
        let (asked, done) = gets(&report, secs(7), secs(30));
        assert!(asked > 500 && done * 100 >= asked * 98, "{done} of {asked} gets were done on full disks\n{report}");
    }
}

/// 28 and 29, L, D, E: a bit of a node's files flips while it is down, in an entry of a log, among the data, in Prophet's journal,
/// or anywhere. Whatever it reads of that is noticed and never served, and the others go on. Seen to fail when blocks are read
/// without their checksum, and when a journal that lacks what was durable is opened.
#[test]
fn a_bit_flips_at_rest() {
    let noticed = |part, seeds: std::ops::Range<u64>| -> u64 {
        let noticed = seeds.map(|seed| {
            let fault = Fault::BitFlip { node: Target::Node(seed as usize % 4), part };
            let report = must_hold(patient(moving(280 + seed)), Plan::empty(LENGTH).with(secs(12), fault));
            at_least(&report, "fault bit-flip", 1);
            report.counters.get("flipped bits that were noticed")
        });
        noticed.sum()
    };
    assert!(noticed(Part::Any, 0..4) > 0, "no bit was where anybody looked");
    assert_eq!(noticed(Part::Log, 4..8), 4, "a node reads all of its logs when it starts");
    assert!(noticed(Part::Data, 8..12) > 0, "no key was read on the node whose row it was");
    assert!(noticed(Part::ProphetJournal, 12..15) > 0, "no member of Prophet's reads its journal when it starts");
}

/// 31, D, E, R: a node returns with a copy of its folder that was made one life ago: the copy comes to a life of the same number,
/// and must be refused by all who heard of the other. Seen to fail when a life is a number alone.
#[test]
fn a_node_returns_with_an_old_copy() {
    for (seed, node) in [(31, 3), (131, 0), (231, 1)] {
        let plan = Plan::empty(LENGTH).with(secs(12), Fault::OldFolder { node, down: millis(500) });
        let report = must_hold(patient(moving(seed)), plan);
        at_least(&report, "fault old-folder", 1);
    }
}

/// 52, L, V: ten times the clients on slow disks: a node that has enough to do refuses more at once, and all is as it was when they
/// go. Seen to fail when everything is taken in.
#[test]
fn ten_times_the_clients_on_slow_disks() {
    let knobs = Knobs { clients: 80, requests_max: 6, ..crowd(patient(splitting(52))) };
    let overload = Fault::Overload { latency: millis(15), lasts: secs(15) };
    let plan = Plan::empty(LENGTH).with(secs(8), overload).must_serve(secs(25), LENGTH);
    let report = must_hold(knobs, plan);
    at_least(&report, "fault overload", 1);
    at_least(&report, "operations refused", 500);
}
