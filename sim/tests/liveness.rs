//! Liveness: a minority that is faulty for good does not keep the others from serving.

mod support;

use std::time::Duration;

use matrixkv_sim::{
    knobs::{Knobs, Links},
    plan::{Fault, Plan, Target},
};
use support::{at_least, everywhere, millis, must_hold, secs};

/// When it begins.
const FROM: Duration = Duration::from_secs(20);

/// How long it lasts.
const HOUR: Duration = Duration::from_secs(3600);

/// In every stretch of this length each key must be read and written.
const STRETCH: Duration = Duration::from_secs(30);

/// The nodes that it befalls: one is of Prophet as well. Each shard has a replica on all five nodes.
const MINORITY: [usize; 2] = [2, 4];

const NODES: usize = 5;

#[derive(Clone, Copy)]
enum Ill {
    /// It hears no other node, and is heard.
    Deaf,
    /// No other node hears it, and it hears them.
    Mute,
    /// What it sends and what it is sent takes longer than an election, and its disk is slow.
    Slow,
}

impl Ill {
    fn befall(self, plan: Plan, node: usize, at: Duration, lasts: Duration) -> Plan {
        let links =
            Links { latency: (millis(1000), millis(1500)), loss: 0.0, duplicate: 0.0, late: 0.0, late_by: millis(0) };
        let late = |from, to| Fault::BadLink { from, to, links, lasts };
        let plan = match self {
            Ill::Slow => plan.with(at, Fault::SlowDisk { node: Target::Node(node), latency: millis(200), lasts }),
            Ill::Deaf | Ill::Mute => plan,
        };
        (0..NODES).filter(|other| *other != node).fold(plan, |plan, other| match self {
            Ill::Deaf => plan.with(at, Fault::CutOneWay { from: other, to: node, lasts }),
            Ill::Mute => plan.with(at, Fault::CutOneWay { from: node, to: other, lasts }),
            Ill::Slow => plan.with(at, late(other, node)).with(at, late(node, other)),
        })
    }
}

/// 51, V: two of five nodes are deaf, mute or slow for an hour, each in turn and never well in between, and all the while every key
/// is read and written, by clients that ask the ill nodes as well.
#[test]
fn two_of_five_are_ill_for_an_hour() {
    let knobs = Knobs { think_max: millis(500), ..everywhere(52) };
    let turns = [[Ill::Deaf, Ill::Mute], [Ill::Mute, Ill::Slow], [Ill::Slow, Ill::Deaf]];
    let turn = HOUR / turns.len() as u32;
    let heal_at = FROM + HOUR;
    let mut plan = Plan { heal_at, end_at: heal_at + secs(20), ..Plan::empty(HOUR) };
    for (ills, n) in turns.iter().zip(0..) {
        for (ill, node) in ills.iter().zip(MINORITY) {
            plan = ill.befall(plan, node, FROM + turn * n, turn);
        }
    }
    for n in 0..HOUR.as_secs() / STRETCH.as_secs() {
        let from = FROM + STRETCH * n as u32;
        plan = plan.must_serve(from, from + STRETCH);
    }
    let report = must_hold(knobs, plan);
    at_least(&report, "fault cut-one-way", 16);
    at_least(&report, "fault bad-link", 16);
}
