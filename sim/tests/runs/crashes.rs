//! Named scenarios of nodes that die, are cut off or stand still, and come back, some of them empty. Each demands all
//! invariants, and that its fault did happen.

use std::time::Duration;

use crate::support::{self, LENGTH, busy, crowd, everywhere, millis, moving, patient, repeated, secs, splitting};
use matrixkv_sim::{
    knobs::{KeyShape, Knobs, Transport},
    plan::{Fault, Harm, Illness, Kind, Moment, Plan, Target},
    run::{Options, Report, Verdict, run},
};

/// Runs `plan`; all invariants hold, and faults of `kind` happened `times` at least.
fn must_hold(knobs: Knobs, plan: Plan, kind: Kind, times: u64) -> Report {
    let report = support::must_hold(knobs, plan);
    let happened = report.counters.faults(kind);
    assert!(happened >= times, "{kind} happened {happened} times instead of {times}:\n{report}");
    report
}

/// Many clients that ask for few keys.
fn few_keys(seed: u64) -> Knobs {
    Knobs { keys: 6, shards: 3, key_shape: KeyShape::Short, ..crowd(patient(busy(seed))) }
}

/// 1, L, A: nothing applies twice, nothing acknowledged is lost. Seen to fail with the planted bugs
/// `acknowledge-before-commit` and `apply-twice-after-restart`.
#[test]
fn leader_killed_with_proposals_in_flight() {
    let kill = |n| Fault::Kill { node: Target::Leader(n as u64), down: millis(300) };
    must_hold(few_keys(1), repeated(secs(6), millis(1200), 24, kill), Kind::KillLeader, 15);
}

/// 2 and 27, D, E: a node loses power between any two of its disk operations, votes and appends among them. Seen to fail with the
/// planted bug `skip-sync`.
#[test]
fn power_lost_inside_disk_operations() {
    let crash =
        |n| Fault::ArmedCrash { node: Target::Node(n as usize % 4), operation: 1 + n as u64 * 7, down: millis(400) };
    must_hold(busy(2), repeated(secs(6), millis(1500), 15, crash), Kind::ArmedCrash, 8);
}

/// 4, E: a node loses power when its vote is durable and on its way. Seen to fail with the planted bug `forget-vote`.
#[test]
fn power_lost_right_after_a_vote() {
    for seed in [4, 104] {
        let crash = |n| {
            let (delay, lasts) = (millis(n as u64 / 4), millis(300));
            Fault::AtMoment { moment: Moment::Voted, delay, harm: Harm::PowerLoss, lasts }
        };
        let mut plan = repeated(secs(6), millis(1500), 16, crash);
        for n in 0..8 {
            plan = plan.with(millis(6500 + 3000 * n), Fault::Isolate { node: Target::Leader(n), lasts: millis(1500) });
        }
        must_hold(busy(seed), plan, Kind::AtMoment, 10);
    }
}

/// 5, D, E: all nodes lose power at once, and what was acknowledged is there. Seen to fail with the planted bug `skip-sync`.
#[test]
fn all_nodes_lose_power_at_once() {
    let knobs = busy(5);
    let down = vec![millis(500); knobs.nodes];
    let plan = repeated(secs(6), secs(5), 4, |_| Fault::PowerLossAll { down: down.clone() });
    must_hold(knobs, plan, Kind::PowerLossAll, 4);
}

/// 7, A: nodes are restarted one after the other, sooner than any of them has caught up. Seen to fail with the planted bug
/// `apply-twice-after-restart`.
#[test]
fn rolling_restarts() {
    let restart = |n| Fault::Restart { node: Target::Node(n as usize % 5), down: millis(150) };
    must_hold(splitting(7), repeated(secs(6), millis(500), 50, restart), Kind::Restart, 40);
}

/// 8, A: a node dies again and again while it starts. Seen to fail with the planted bug `apply-twice-after-restart`.
#[test]
fn a_node_dies_at_every_moment_of_its_start() {
    let lives = (1..=12).map(|n| millis(n * n)).collect::<Vec<_>>();
    let plan =
        repeated(secs(6), secs(8), 3, |n| Fault::KillLoop { node: Target::Node(n as usize), lives: lives.clone() });
    must_hold(busy(8), plan, Kind::KillLoop, 20);
}

/// 8, E, D: a node loses power inside each of the first operations on its disk. Seen to fail with the planted bugs
/// `skip-sync` and `forget-vote`.
#[test]
fn power_lost_at_every_durable_step_of_a_start() {
    let knobs = Knobs { disk_latency: (millis(1), millis(2)), ..busy(108) };
    let mut plan = Plan::empty(LENGTH);
    for n in 0..30 {
        let (at, node) = (secs(6) + millis(1000) * n, Target::Node(n as usize % 4));
        plan = plan.with(at, Fault::Kill { node, down: millis(100) });
        let crash = Fault::ArmedCrash { node, operation: 1 + u64::from(n), down: millis(50) };
        plan = plan.with(at + millis(103), crash);
    }
    must_hold(knobs, plan, Kind::ArmedCrash, 20);
}

/// 9, L: a leader that is cut off with its clients acknowledges nothing and reads nothing stale. Seen to fail with the
/// planted bug `read-without-quorum`.
#[test]
fn leader_cut_off_with_clients_on_its_side() {
    let cut = |n| Fault::Isolate { node: Target::Leader(n as u64), lasts: secs(3) };
    must_hold(few_keys(9), repeated(secs(6), secs(4), 6, cut), Kind::CutLeader, 4);
}

/// 10, L: a majority and a minority, clients on both. Seen to fail with the planted bug `read-without-quorum`.
#[test]
fn majority_and_minority_with_clients_on_both() {
    for seed in [10, 110, 210] {
        let split = |n| Fault::Split { side: vec![n as usize % 4, (n as usize + 1) % 4], lasts: secs(3) };
        must_hold(few_keys(seed), repeated(secs(6), secs(4), 6, split), Kind::Split, 6);
    }
}

/// 11 and 12, V: a node hears nobody and is heard. What it leads it gives up, so that others serve; and where it follows it
/// asks for votes for ever, and the term stays. Seen to fail without pre-vote (12), and where a leader neither checks its quorum
/// nor counts its rounds (11; one of the two is enough): others campaign only when they have lost their connections to it, after
/// six seconds, and every key must be served before that.
#[test]
fn a_deaf_node_leads_nothing_and_disturbs_nobody() {
    // One and the same run until then, so one of them leads the shard.
    for node in 0..5 {
        let (tick, heartbeat_ticks, election_ticks) = (millis(50), 2, 10);
        let knobs = Knobs { shards: 1, tick, heartbeat_ticks, election_ticks, ..everywhere(11) };
        let plan = Plan::empty(LENGTH).ill(&knobs, node, Illness::Deaf, secs(8), secs(25));
        // Two time-outs until who leads knows it, two until there is another leader.
        let plan = plan.must_serve(secs(10), secs(14)).must_serve(secs(14), secs(32));
        let report = must_hold(knobs, plan, Kind::CutOneWay, 4);
        assert!(report.counters.get("elections") <= 6, "{report}");
    }
}

/// 11, L: one link in one direction is gone. Seen to fail with the planted bug `acknowledge-before-commit`.
#[test]
fn one_way_cuts() {
    let cut = |n| Fault::CutOneWay { from: n as usize % 4, to: (n as usize + 1 + n as usize / 4) % 4, lasts: secs(2) };
    let plan =
        [0, 1, 2, 4, 5, 6].iter().fold(Plan::empty(LENGTH), |plan, n| plan.with(secs(6 + 3 * n), cut(*n as u32)));
    must_hold(few_keys(11), plan, Kind::CutOneWay, 6);
}

/// 17 and 57, L, E: a third of all envelopes is lost, a third comes twice, and many come late, some over a restart of their
/// receiver. Seen to fail with the planted bug `propose-doubled-envelope`.
#[test]
fn a_storm_of_doubled_and_late_envelopes() {
    let knobs = few_keys(57);
    let mut links = knobs.links;
    links.loss = 0.3;
    links.duplicate = 0.3;
    links.late = 0.2;
    links.late_by = secs(1);
    let storm = Fault::Links { kind: Kind::Duplicate, links, lasts: secs(20) };
    let kill = |n: u64| Fault::Kill { node: Target::Leader(n), down: millis(300) };
    let plan = (0..4).fold(Plan::empty(LENGTH).with(secs(6), storm), |plan, n| plan.with(secs(8 + 4 * n), kill(n)));
    let report = must_hold(knobs, plan, Kind::Duplicate, 1);
    support::at_least(&report, "requests that came twice", 30);
    support::at_least(&report, "messages lost", 2000);
}

/// 22, L: a leader stands still for half an election time-out to five, and goes on with answers queued. Seen to fail with the
/// planted bug `acknowledge-before-commit`; `read-without-quorum` alone does no harm here, since a leader that wakes gives up
/// first.
#[test]
fn a_paused_leader_goes_on() {
    for seed in [22, 122] {
        let knobs = few_keys(seed);
        let timeout = knobs.election_timeout();
        let pause = |n| Fault::Pause { node: Target::Leader(n as u64), lasts: timeout * (1 + n % 4 * 3) / 2 };
        must_hold(knobs, repeated(secs(6), millis(2500), 10, pause), Kind::Pause, 5);
    }
}

/// 24, V: the disk of a leader stands still for half a minute: leadership moves, and every key is read and written meanwhile.
/// Seen to fail with the planted bug `acknowledge-before-commit`.
#[test]
fn a_leaders_disk_stands_still() {
    for seed in [24, 224] {
        let stall = Fault::DiskStall { node: Target::Leader(seed), lasts: secs(30) };
        let plan = Plan::empty(secs(60)).with(secs(8), stall).must_serve(secs(13), secs(37));
        must_hold(everywhere(seed), plan, Kind::DiskStall, 1);
    }
}

/// 24, for longer than `disk-stall-max`: the node gives up, others lead at once, nothing is acknowledged by it meanwhile,
/// and it is taken back when it is started again. Seen to fail when nobody watches the driver's commits.
#[test]
fn a_disk_that_hangs_ends_its_node() {
    for seed in [124, 125] {
        let knobs = Knobs { disk_stall_max: secs(2), ..busy(seed) };
        let stall = |n| Fault::DiskStall { node: Target::Leader(n as u64), lasts: secs(8) };
        let report = must_hold(knobs, repeated(secs(6), secs(11), 2, stall), Kind::DiskStall, 2);
        assert_eq!(report.counters.get("nodes that gave up their disk"), 2, "{report}");
    }
}

/// All nodes may start at once, in any order; late ones are waited for.
#[test]
fn nodes_start_in_any_order() {
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]] {
        let mut knobs = busy(60 + order[0]);
        knobs.starts = (0..knobs.nodes).map(|node| millis(1500) * order[node] as u32).collect();
        let report = run(Options::of_plan(knobs, Plan::empty(LENGTH)));
        assert_eq!(report.verdict(), Verdict::Passed, "{report}");
    }
}

/// A Prophet node and a store that come when everybody else has settled.
#[test]
fn late_joiners_are_taken_in() {
    let mut knobs = busy(61);
    knobs.starts = vec![Duration::ZERO; knobs.nodes];
    knobs.starts[2] = secs(15);
    knobs.starts[3] = secs(20);
    let report = run(Options::of_plan(knobs, Plan::empty(LENGTH)));
    assert_eq!(report.verdict(), Verdict::Passed, "{report}");
}

/// 53, V: the connections between two nodes break, again and again, on datagrams and on streams; nobody loses a leader that
/// lives. Prophet has no quorum meanwhile, so that it moves none either. Seen to fail when who loses a connection to its
/// leader campaigns at once, without asking first whether it would get the votes; and when who misses a follower wakes although it
/// follows itself, since its quiet leader says nothing then.
#[test]
fn broken_connections_change_no_leader() {
    let (datagrams, streams) = (Transport::Datagrams, Transport::Streams);
    for (seed, transport) in [(53, datagrams), (153, streams), (156, streams), (161, streams)] {
        let knobs = Knobs { nodes: 6, starts: vec![secs(0); 6], transport, ..patient(moving(seed)) };
        let reset = |n: u32| Fault::Reset { a: 2 + n as usize % 4, b: 2 + (n as usize + 1 + n as usize / 4 % 3) % 4 };
        let mut plan = repeated(secs(19), millis(400), 16, reset);
        for node in 0..2 {
            plan = plan.with(secs(6), Fault::Drain { node, lasts: secs(23) });
            plan = plan.with(secs(14), Fault::Kill { node: Target::Node(node), down: secs(15) });
        }
        let report = must_hold(knobs, plan, Kind::Reset, 16);
        assert_eq!(report.counters.get("leaders that changed after a reset"), 0, "{report}");
    }
}

/// A node returns with an empty folder, at the first moment that counts: when everything has all its voters.
fn returns_empty(seed: u64, node: usize) -> Report {
    let plan = repeated(secs(12), millis(3100), 4, |_| Fault::EmptyFolder { node, down: secs(1) });
    // Without splits and late stores, so that there is one.
    let mut knobs = Knobs { shard_capacity: 64 << 20, ..busy(seed) };
    knobs.starts.fill(Duration::ZERO);
    must_hold(knobs, plan, Kind::EmptyFolder, 1)
}

/// 56, L, R, seen to fail with the planted bug `found-second-cluster`: the first Prophet node returns with an empty folder and an
/// empty `join`; there is no second cluster.
#[test]
fn the_first_prophet_node_returns_empty() {
    for seed in [56, 156] {
        returns_empty(seed, 0);
    }
}

/// 30, E, R: another node returns empty. A member of Prophet is not taken in under its old name, and a store is a new one: nobody
/// votes as the one that was lost. Seen to fail when Prophet welcomes such a member, and when it gives such a store its old id.
#[test]
fn a_known_node_returns_empty() {
    returns_empty(30, 1);
    let report = returns_empty(130, 3);
    support::at_least(&report, "stores that came back as another one", 1);
}

/// A route that was learnt when the shard had one replica names a node that is gone for good: the nodes that never had
/// to ask anew find the other replicas. Every run ends with the loss of a leader; in these nothing before it taught
/// anybody. Seen to fail when the router does not ask again for a route of which nobody answers.
#[test]
fn a_route_from_the_shards_youth_is_not_believed_for_ever() {
    for seed in 0..6 {
        let report = run(Options::of_plan(Knobs::draw(seed), Plan::empty(LENGTH)));
        assert_eq!(report.verdict(), Verdict::Passed, "{report}");
        assert_eq!(report.counters.get("leaders lost at the end"), 1, "{report}");
    }
}
