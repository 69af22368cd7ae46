//! What is taken away, and in which order.

use std::{collections::BTreeMap, time::Duration};

use super::{Case, Failing, judge::Judge, subsets::minimise};
use crate::{
    knobs::{KeyShape, Knobs, Links, PROPHET_NODES, Transport},
    plan::{Act, Fault, Liveness, Plan, Script, Target},
    run::Asked,
    workload::Workload,
};

/// How much longer than until the violation a run goes on at least.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// Everything, as often as it helps.
pub fn all(judge: &mut Judge<'_>, best: &mut Failing) {
    loop {
        let before = size(&best.case);
        time(judge, best);
        liveness(judge, best);
        faults(judge, best);
        time(judge, best);
        requests(judge, best);
        faults(judge, best);
        nodes(judge, best);
        knobs(judge, best);
        if size(&best.case) == before || judge.gave_up() {
            return;
        }
    }
}

/// What gets smaller: a round that changes none of it was the last.
fn size(case: &Case) -> (usize, usize, Duration) {
    (case.steps(), case.knobs.nodes, case.plan.end_at)
}

/// The first of `cases` that fails takes the place of the best.
fn improve(judge: &mut Judge<'_>, best: &mut Failing, cases: &[Case]) -> Option<usize> {
    let (chosen, failing) = judge.first_failing(cases)?;
    *best = failing;
    judge.tell(best);
    Some(chosen)
}

/// Heals earlier, and stops sooner after it.
fn time(judge: &mut Judge<'_>, best: &mut Failing) {
    loop {
        let Plan { heal_at, end_at, .. } = best.case.plan;
        let afterwards = end_at - heal_at;
        let found = best.report.violations[0].at + AFTERWARDS;
        let mut ends = vec![(found, found)];
        ends.extend([heal_at / 4, heal_at / 2, heal_at * 3 / 4].map(|heal| (heal, heal + afterwards)));
        ends.extend([afterwards / 8, afterwards / 2].map(|afterwards| (heal_at, heal_at + afterwards)));
        // Less than a tenth is not worth the runs.
        ends.retain(|(heal, end)| *heal <= heal_at && *end < end_at * 9 / 10);
        let cases: Vec<_> = ends.iter().map(|(heal, end)| ending(&best.case, *heal, *end)).collect();
        if improve(judge, best, &cases).is_none() {
            return;
        }
    }
}

fn ending(case: &Case, heal_at: Duration, end_at: Duration) -> Case {
    let mut plan = Plan { heal_at, end_at, ..case.plan.clone() };
    plan.faults.retain(|timed| timed.at < heal_at);
    let patience = Liveness::patience(&case.knobs);
    if plan.liveness.as_ref().is_some_and(|liveness| liveness.from + patience > heal_at) {
        plan.liveness = None;
    }
    plan.serving.retain(|serving| serving.until <= end_at);
    Case { knobs: case.knobs.clone(), plan }
}

/// One phase less, with what it begins with.
fn liveness(judge: &mut Judge<'_>, best: &mut Failing) {
    let Some(Liveness { from, .. }) = best.case.plan.liveness else { return };
    let mut case = best.case.clone();
    case.plan.liveness = None;
    case.plan.faults.retain(|timed| timed.at < from);
    improve(judge, best, &[case]);
}

fn faults(judge: &mut Judge<'_>, best: &mut Failing) {
    minimise(best.case.plan.faults.clone(), |lists| {
        let cases: Vec<_> = lists
            .iter()
            .map(|faults| Case { plan: Plan { faults: faults.clone(), ..best.case.plan.clone() }, ..best.case.clone() })
            .collect();
        improve(judge, best, &cases)
    });
}

/// From here on the clients ask what they asked in the run that failed, and less and less of it.
fn requests(judge: &mut Judge<'_>, best: &mut Failing) {
    let asked = best.report.asked.clone();
    let listed = |best: &Failing, asked: &[Asked]| {
        let plan = Plan { scripts: Some(Script::of(asked)), ..best.case.plan.clone() };
        Case { plan, ..best.case.clone() }
    };
    let whole = listed(best, &asked);
    if improve(judge, best, &[whole]).is_none() {
        return;
    }
    let mut clients: BTreeMap<usize, Vec<Asked>> = BTreeMap::new();
    asked.iter().for_each(|asked| clients.entry(asked.client).or_default().push(*asked));
    let left = minimise(clients.into_values().collect(), |lists| {
        let cases: Vec<_> = lists.iter().map(|list| listed(best, &list.concat())).collect();
        improve(judge, best, &cases)
    });
    let mut left = left.concat();
    left.sort_by_key(|asked| asked.began);
    minimise(left, |lists| {
        let cases: Vec<_> = lists.iter().map(|list| listed(best, list)).collect();
        improve(judge, best, &cases)
    });
}

fn nodes(judge: &mut Judge<'_>, best: &mut Failing) {
    while best.case.knobs.nodes > PROPHET_NODES {
        let fewer = with_nodes(&best.case, best.case.knobs.nodes - 1);
        if improve(judge, best, &[fewer]).is_none() {
            return;
        }
    }
}

/// Without the last ones, and without the faults that are about them.
fn with_nodes(case: &Case, nodes: usize) -> Case {
    let mut case = case.clone();
    case.knobs.nodes = nodes;
    case.knobs.starts.truncate(nodes);
    case.plan.faults.retain(|timed| timed.fault.nodes().iter().all(|node| *node < nodes));
    case.plan.liveness = case.plan.liveness.filter(|liveness| liveness.ill.iter().all(|node| *node < nodes));
    for timed in &mut case.plan.faults {
        if let Fault::PowerLossAll { down } = &mut timed.fault {
            down.truncate(nodes);
        }
    }
    let asks = case.plan.scripts.iter_mut().flatten().flat_map(|script| &mut script.asks);
    asks.for_each(|step| step.node %= nodes);
    case
}

/// What is odd about the world and may have nothing to do with it.
fn knobs(judge: &mut Judge<'_>, best: &mut Failing) {
    let good = Links { loss: 0.0, duplicate: 0.0, late: 0.0, ..best.case.knobs.links };
    let without = |workload| move |knobs: &mut Knobs| knobs.workloads.retain(|other| *other != workload);
    let changes: [&dyn Fn(&mut Knobs); 10] = [
        &|knobs| knobs.workloads.clear(),
        &without(Workload::Set),
        &without(Workload::Monotonic),
        &without(Workload::Churn),
        &|knobs| knobs.transport = Transport::Datagrams,
        &|knobs| knobs.links = good,
        &|knobs| knobs.key_shape = KeyShape::Short,
        &|knobs| knobs.shards = 1,
        &|knobs| knobs.shard_capacity = 64 << 20,
        &|knobs| knobs.starts.fill(Duration::ZERO),
    ];
    for change in changes {
        let mut case = best.case.clone();
        change(&mut case.knobs);
        if case.knobs != best.case.knobs {
            improve(judge, best, &[case]);
        }
    }
    targets(judge, best);
    values(judge, best);
    let asking = best.case.plan.scripts.iter().flatten().map(|script| script.client + 1).max();
    let clients = asking.filter(|clients| *clients < best.case.knobs.clients);
    if let Some(clients) = clients {
        let knobs = Knobs { clients, ..best.case.knobs.clone() };
        improve(judge, best, &[Case { knobs, ..best.case.clone() }]);
    }
}

/// A number that picks one of many groups picks the first instead.
fn targets(judge: &mut Judge<'_>, best: &mut Failing) {
    let mut case = best.case.clone();
    for timed in &mut case.plan.faults {
        match &mut timed.fault {
            Fault::Kill { node: Target::Leader(group), .. } | Fault::Isolate { node: Target::Leader(group), .. } => {
                *group = 0
            }
            _ => {}
        }
    }
    if case.plan != best.case.plan {
        improve(judge, best, &[case]);
    }
}

/// Values of which only the name is left.
fn values(judge: &mut Judge<'_>, best: &mut Failing) {
    let mut case = best.case.clone();
    let asks = case.plan.scripts.iter_mut().flatten().flat_map(|script| &mut script.asks);
    for step in asks {
        if let Act::Set(bytes) = &mut step.act {
            *bytes = 0;
        }
    }
    if case.plan != best.case.plan {
        improve(judge, best, &[case]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_node_go_with_it() {
        let knobs = Knobs { nodes: 5, starts: vec![Duration::ZERO; 5], ..Knobs::draw(1) };
        let lasts = Duration::from_secs(1);
        let plan = Plan::empty(lasts * 60)
            .with(lasts, Fault::CutPair { a: 0, b: 4, lasts })
            .with(lasts * 2, Fault::PowerLossAll { down: vec![lasts; 5] })
            .with(lasts * 3, Fault::Pause { node: Target::Node(3), lasts });
        let fewer = with_nodes(&Case { knobs, plan }, 4);
        assert_eq!(crate::plan::file::check(&fewer.knobs, &fewer.plan), Ok(()));
        assert_eq!(fewer.plan.faults.len(), 2);
    }
}
