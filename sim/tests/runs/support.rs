//! What the named scenarios share: knobs, and what they demand of a run.

use std::{collections::BTreeSet, time::Duration};

use matrixkv::planted::Bug;
use matrixkv_sim::{
    history::{Function, Operation, Outcome, operations},
    knobs::{KeyShape, Knobs, LONG_DOWN_TIME, Links, Transport},
    plan::{Fault, Plan},
    run::{Options, Report, Verdict, run},
};

/// How long a scenario is, unless it says otherwise.
pub const LENGTH: Duration = Duration::from_secs(40);

/// So many seconds.
pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many milliseconds.
pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The knobs of a seed without other workloads than registers, with clients that leave no pause and quick links, so that something is always under way.
pub fn busy(seed: u64) -> Knobs {
    let (knobs, requests_max) = (Knobs::draw(seed), 4096);
    let knobs = Knobs { clients: 8, think_max: millis(10), requests_max, ..knobs };
    Knobs { transport: Transport::Datagrams, workloads: BTreeSet::new(), ..knobs }
}

/// One shard of all keys that splits until each key has one of its own, five nodes, busy clients.
pub fn splitting(seed: u64) -> Knobs {
    let starts = vec![Duration::ZERO; 5];
    Knobs { nodes: 5, starts, keys: 20, shards: 1, shard_capacity: 64, value_bytes_max: 200, ..busy(seed) }
}

/// No shard splits, and stores and replicas are missed after two seconds.
pub fn moving(seed: u64) -> Knobs {
    let short = millis(2000);
    Knobs { shards: 6, shard_capacity: 64 << 20, peer_down_time: short, store_down_time: short, ..splitting(seed) }
}

/// Nobody is missed before the run ends: what is away comes back to what it had.
pub fn patient(knobs: Knobs) -> Knobs {
    Knobs { peer_down_time: LONG_DOWN_TIME, store_down_time: LONG_DOWN_TIME, ..knobs }
}

/// Clients prefer no key: for demands that each is served soon.
pub fn fair(knobs: Knobs) -> Knobs {
    Knobs { skew: 1, request_deadline: secs(1), ..knobs }
}

/// Five replicas of each shard on five nodes, so that any three nodes are a majority of each; few keys, no splits, nobody is
/// missed.
pub fn everywhere(seed: u64) -> Knobs {
    let knobs = fair(patient(splitting(seed)));
    let shape = KeyShape::Short;
    Knobs { replicas: 5, shards: 5, shard_capacity: 64 << 20, keys: 6, key_shape: shape, clients: 12, ..knobs }
}

/// Many clients that ask now and then instead of a few that ask all the time: some are free to ask while the others wait for a
/// node that does not answer. Messages take a while, so that requests are under way whenever something happens.
pub fn crowd(knobs: Knobs) -> Knobs {
    let links = Links { latency: (millis(4), millis(15)), ..knobs.links };
    Knobs { clients: 60, think_max: millis(300), skew: 1, links, ..knobs }
}

/// The bug that the environment plants, to see a scenario fail: `MATRIXKV_PLANT=give-id-twice cargo test -p matrixkv-sim
/// --features planted`.
fn planted() -> Option<Bug> {
    let name = std::env::var("MATRIXKV_PLANT").ok().filter(|name| !name.is_empty())?;
    let bug = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
    Some(bug.unwrap_or_else(|| panic!("no such bug: {name}")))
}

/// All invariants hold.
pub fn must_hold(knobs: Knobs, plan: Plan) -> Report {
    all_hold(Options::of_plan(knobs, plan))
}

/// The same, and the report has a film and the history.
pub fn must_hold_on_film(knobs: Knobs, plan: Plan) -> Report {
    all_hold(Options { film: true, ..Options::of_plan(knobs, plan) })
}

fn all_hold(options: Options) -> Report {
    let report = run(Options { bug: planted(), ..options });
    assert_eq!(report.verdict(), Verdict::Passed, "{report}");
    report
}

/// How many gets clients asked for between `from` and `until`, and how many of them were done.
pub fn gets(report: &Report, from: Duration, until: Duration) -> (usize, usize) {
    let filmed = report.filmed.as_ref().expect("the run was filmed");
    let asked = operations(&filmed.history).expect("clients write a sound history");
    let is_within = |operation: &&Operation| (from..until).contains(&Duration::from_nanos(operation.invoke_time));
    let asked: Vec<_> = asked.iter().filter(is_within).filter(|operation| operation.f == Function::Get).collect();
    (asked.len(), asked.iter().filter(|operation| operation.outcome == Outcome::Done).count())
}

/// What the scenario is about did happen.
pub fn at_least(report: &Report, counter: &str, times: u64) {
    let counted = report.counters.get(counter);
    assert!(counted >= times, "{counter}: {counted} instead of {times}\n{report}");
}

/// The same fault every `period` from `from` on, `times` times.
pub fn repeated(from: Duration, period: Duration, times: u32, fault: impl Fn(u32) -> Fault) -> Plan {
    (0..times).fold(Plan::empty(LENGTH), |plan, n| plan.with(from + period * n, fault(n)))
}
