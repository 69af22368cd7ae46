//! A run as a file, `plan.toml`: the knobs, the faults, and what the clients ask. It can be printed, edited and run again;
//! what shrinking leaves of a failing seed is one.

use std::{collections::BTreeSet, ops::RangeInclusive, path::Path, time::Duration};

use matrixkv::{config::Config, planted::Bug};
use serde::{Deserialize, Serialize};

use super::{Fault, Liveness, Plan, Script, Serving, Target, Timed, span};
use crate::{
    check::Invariant,
    knobs::{DISK_RESERVE, Knobs, Links, PROPHET_NODES},
};

/// Nodes that a plan may have at most.
pub const NODES_MAX: usize = 9;

/// Clients that a plan may have at most.
pub const CLIENTS_MAX: usize = 1000;

/// How many millionths a clock may run too fast.
const DRIFTS: RangeInclusive<i32> = -500_000..=1_000_000;

/// The longest run.
pub const LENGTH_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A plan and all that it needs to run.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanFile {
    /// What it is about, for its reader.
    pub about: Option<String>,
    /// The bug on purpose with which it fails, where it fails only with one.
    pub bug: Option<Bug>,
    /// What is violated when it fails.
    pub breaks: Option<Invariant>,
    /// The knobs.
    pub knobs: Knobs,
    /// The faults and the requests.
    pub plan: Plan,
}

/// As TOML has it: words and times before tables.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bug: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaks: Option<String>,
    #[serde(with = "span")]
    heal_at: Duration,
    #[serde(with = "span")]
    end_at: Duration,
    knobs: Knobs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    liveness: Option<Liveness>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    serving: Vec<Serving>,
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    faults: Vec<Timed>,
    /// Missing: all clients throw dice. Empty: nobody asks anything.
    #[serde(rename = "client", skip_serializing_if = "Option::is_none")]
    scripts: Option<Vec<Script>>,
}

impl PlanFile {
    /// Reads and checks `path`; the error names the field.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text)).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Reads and checks `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
        let file = Self::of_written(written)?;
        check(&file.knobs, &file.plan)?;
        Ok(file)
    }

    fn of_written(written: Written) -> Result<Self, String> {
        let bug = |name: &String| {
            let found = Bug::ALL.iter().find(|bug| bug.name() == name);
            found.copied().ok_or_else(|| format!("bug: there is no {name:?}"))
        };
        let invariant = |letter: &String| {
            let found = Invariant::ALL.iter().find(|invariant| invariant.letter() == letter);
            found.copied().ok_or_else(|| format!("breaks: there is no invariant {letter:?}"))
        };
        let mut faults = written.faults;
        faults.sort_by_key(|timed| timed.at);
        let Written { heal_at, end_at, liveness, serving, scripts, .. } = written;
        Ok(PlanFile {
            about: written.about,
            bug: written.bug.as_ref().map(bug).transpose()?,
            breaks: written.breaks.as_ref().map(invariant).transpose()?,
            knobs: written.knobs,
            plan: Plan { faults, liveness, serving, scripts, heal_at, end_at },
        })
    }

    /// As a file. Fails where a number does not fit into TOML, as a seed above 2^63.
    pub fn text(&self) -> Result<String, String> {
        let plan = self.plan.clone();
        let written = Written {
            about: self.about.clone(),
            bug: self.bug.map(|bug| bug.name().to_owned()),
            breaks: self.breaks.map(|invariant| invariant.letter().to_owned()),
            heal_at: plan.heal_at,
            end_at: plan.end_at,
            knobs: self.knobs.clone(),
            liveness: plan.liveness,
            serving: plan.serving,
            faults: plan.faults,
            scripts: plan.scripts,
        };
        toml::to_string_pretty(&written).map_err(|error| format!("the plan does not fit into TOML: {error}"))
    }
}

/// Whether the plan can be run at all.
pub fn check(knobs: &Knobs, plan: &Plan) -> Result<(), String> {
    check_knobs(knobs)?;
    let demand = |good: bool, what: &str| if good { Ok(()) } else { Err(what.to_owned()) };
    demand(plan.heal_at <= plan.end_at, "heal-at: must not be after end-at")?;
    demand(plan.end_at <= LENGTH_MAX, &format!("end-at: at most {LENGTH_MAX:?}"))?;
    demand(plan.serving.iter().all(|serving| serving.from < serving.until), "serving: from must be before until")?;
    if let Some(liveness) = &plan.liveness {
        check_liveness(knobs, plan, liveness)?;
    }
    for (number, timed) in plan.faults.iter().enumerate() {
        check_fault(knobs, &timed.fault).map_err(|why| format!("fault {number} ({}): {why}", timed.fault))?;
    }
    for script in plan.scripts.iter().flatten() {
        demand(script.client < knobs.clients, &format!("client {}: there are {}", script.client, knobs.clients))?;
        for step in &script.asks {
            let good = step.node < knobs.nodes && step.key < knobs.keys;
            let there = format!("there are {} nodes and {} keys", knobs.nodes, knobs.keys);
            demand(good, &format!("client {}, \"{step}\": {there}", script.client))?;
        }
    }
    Ok(())
}

fn check_knobs(knobs: &Knobs) -> Result<(), String> {
    let within = |name: &str, n: usize, low: usize, high: usize| match (low..=high).contains(&n) {
        true => Ok(()),
        false => Err(format!("knobs.{name}: {n}, must be {low} to {high}")),
    };
    within("nodes", knobs.nodes, PROPHET_NODES, NODES_MAX)?;
    within("starts", knobs.starts.len(), knobs.nodes, knobs.nodes)?;
    within("replicas", knobs.replicas, 1, knobs.nodes)?;
    within("clients", knobs.clients, 1, CLIENTS_MAX)?;
    within("keys", knobs.keys, 1, 1000)?;
    within("shards", knobs.shards, 1, knobs.keys)?;
    within("skew", knobs.skew as usize, 1, 100)?;
    check_links(&knobs.links).map_err(|why| format!("knobs.links: {why}"))?;
    for node in 0..knobs.nodes {
        let (text, name) = (knobs.config_text(node), Knobs::host(node));
        Config::parse(&text, &name).map_err(|error| format!("knobs: the configuration of {error}"))?;
    }
    Ok(())
}

fn check_liveness(knobs: &Knobs, plan: &Plan, liveness: &Liveness) -> Result<(), String> {
    let Liveness { from, ill } = liveness;
    if let Some(node) = ill.iter().find(|node| **node >= knobs.nodes) {
        return Err(format!("liveness.ill: node{node}: there are {} nodes", knobs.nodes));
    }
    if ill.len() * 2 >= knobs.replicas {
        return Err(format!(
            "liveness.ill: {} nodes, must be fewer than half of {} replicas",
            ill.len(),
            knobs.replicas
        ));
    }
    let latest = plan.heal_at.saturating_sub(Liveness::patience(knobs));
    if *from > latest {
        return Err(format!(
            "liveness.from: {from:?}, must be {latest:?} at the latest, so that heal-at leaves time enough"
        ));
    }
    Ok(())
}

fn check_links(links: &Links) -> Result<(), String> {
    let chances = [("loss", links.loss), ("duplicate", links.duplicate), ("late", links.late)];
    match chances.iter().find(|(_, chance)| !(0.0..=1.0).contains(chance)) {
        Some((name, chance)) => Err(format!("{name}: {chance}, must be 0 to 1")),
        None => Ok(()),
    }
}

fn check_fault(knobs: &Knobs, fault: &Fault) -> Result<(), String> {
    let nodes = fault.nodes();
    if let Some(node) = nodes.iter().find(|node| **node >= knobs.nodes) {
        return Err(format!("node{node}: there are {} nodes", knobs.nodes));
    }
    let why = match fault {
        Fault::CutPair { a, b, .. }
        | Fault::Reset { a, b }
        | Fault::Flapping { a, b, .. }
        | Fault::BadLink { from: a, to: b, .. }
        | Fault::CutOneWay { from: a, to: b, .. }
            if a == b =>
        {
            "two nodes are needed"
        }
        Fault::Swizzle { order, back, .. } if !are_the_same(order, back) => "back: the nodes of order, each once",
        Fault::ClockDrift { millionths, .. } if !DRIFTS.contains(millionths) => "millionths: -500000 to 1000000",
        Fault::DiskFull { left, .. } if *left < DISK_RESERVE / 4 => "left: at least a quarter of limits.disk-reserve",
        Fault::Split { side, .. } if side.is_empty() || side.len() >= knobs.nodes => "each side needs a node",
        Fault::PowerLossAll { down } if down.len() != knobs.nodes => "down: one time for each node",
        Fault::SplitAt { key } if *key >= knobs.keys => "key: there are not so many",
        Fault::Links { links, .. } | Fault::BadLink { links, .. } => return check_links(links),
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

fn are_the_same(order: &[usize], back: &[usize]) -> bool {
    let sorted = |nodes: &[usize]| nodes.iter().copied().collect::<BTreeSet<_>>();
    order.len() == back.len() && sorted(order).len() == order.len() && sorted(order) == sorted(back)
}

impl Fault {
    /// The nodes that it names.
    pub fn nodes(&self) -> Vec<usize> {
        match self {
            Fault::CutPair { a, b, .. }
            | Fault::Reset { a, b }
            | Fault::Flapping { a, b, .. }
            | Fault::BadLink { from: a, to: b, .. }
            | Fault::CutOneWay { from: a, to: b, .. } => vec![*a, *b],
            Fault::Split { side, .. } | Fault::Swizzle { order: side, .. } => side.clone(),
            Fault::Move { node, .. } | Fault::Drain { node, .. } => vec![*node],
            Fault::Restart { node, .. }
            | Fault::Kill { node, .. }
            | Fault::KillLoop { node, .. }
            | Fault::PowerLoss { node, .. }
            | Fault::ArmedCrash { node, .. }
            | Fault::Pause { node, .. }
            | Fault::Isolate { node, .. }
            | Fault::DiskStall { node, .. }
            | Fault::SlowDisk { node, .. }
            | Fault::ClockJump { node, .. }
            | Fault::ClockDrift { node, .. }
            | Fault::ClockFreeze { node, .. }
            | Fault::DiskError { node, .. }
            | Fault::DiskFull { node, .. }
            | Fault::BitFlip { node, .. }
            | Fault::Damage { node, .. } => match node {
                Target::Node(node) => vec![*node],
                Target::Leader(_) | Target::ProphetLeader => Vec::new(),
            },
            Fault::PowerLossAll { .. }
            | Fault::Links { .. }
            | Fault::Overload { .. }
            | Fault::SplitAt { .. }
            | Fault::AtMoment { .. }
            | Fault::Rush { .. } => Vec::new(),
            Fault::EmptyFolder { node, .. } | Fault::OldFolder { node, .. } | Fault::Stranger { node, .. } => {
                vec![*node]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Profile;

    fn file(seed: u64) -> PlanFile {
        let knobs = Knobs::draw(seed);
        let plan = Plan::draw(&knobs, Duration::from_secs(60), &Profile::all());
        PlanFile { about: None, bug: None, breaks: None, knobs, plan }
    }

    #[test]
    fn a_plan_reads_as_it_was_written() {
        for seed in 0..300 {
            let mut file = file(seed);
            file.plan = file.plan.must_serve(Duration::from_secs(1), Duration::from_secs(2));
            if seed % 2 == 0 {
                let step = "rest 5ms, node1: set 3 to 24 bytes".parse().unwrap();
                file.plan.scripts = Some(vec![Script { client: 1, asks: vec![step; 3] }]);
                file.bug = Some(Bug::ForgetVote);
                file.breaks = Some(Invariant::Election);
            }
            let text = file.text().unwrap();
            assert_eq!(PlanFile::parse(&text).unwrap(), file, "{text}");
        }
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_field() {
        let good = file(1).text().unwrap();
        let changed = |from: &str, to: &str| {
            assert!(good.contains(from), "{good}");
            PlanFile::parse(&good.replacen(from, to, 1)).unwrap_err()
        };
        let knobs = Knobs::draw(1);
        let told = changed(&format!("nodes = {}", knobs.nodes), "nodes = 2");
        assert!(told.contains("knobs.nodes: 2, must be 3 to 9"), "{told}");
        let told = changed("heal-at = \"45s\"", "heal-at = \"2h\"");
        assert!(told.contains("heal-at"), "{told}");
        let told = changed("heal-at = \"45s\"", "heal-at = \"soon\"");
        assert!(told.contains("heal-at") && told.contains("soon"), "{told}");
        let told = changed("heal-at", "healed = true\nheal-at");
        assert!(told.contains("healed"), "{told}");
        let told = PlanFile::parse(&format!(
            "{good}\n[[fault]]\nat = \"1s\"\nfault = \"kill\"\nnode = \"node9\"\ndown = \"1s\"\n"
        ));
        assert!(told.as_ref().is_err_and(|told| told.contains("node9")), "{told:?}");
        let told = PlanFile::parse(&format!(
            "{good}\n[[fault]]\nat = \"1s\"\nfault = \"kill\"\nnode = \"node1\"\nup = \"1s\"\n"
        ));
        assert!(told.as_ref().is_err_and(|told| told.contains("up")), "{told:?}");
    }
}
