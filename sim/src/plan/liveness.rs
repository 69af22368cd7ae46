//! The second phase of a run that has one: all that went before is healed, and once the cluster is whole a minority falls
//! ill for good. From then on progress is demanded of all others, until everybody is healed.

use std::{ops::Range, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Fault, Kind, Plan, Target, span};
use crate::knobs::{Knobs, Links, dice};

/// What befalls some for good while the others have a minority of every group less to rely on: nobody may be lost before.
const TAKES_VOTERS: [Kind; 4] = [Kind::EmptyFolder, Kind::OldFolder, Kind::BitFlip, Kind::Damage];

/// How long the cluster may take at least to become whole before the minority falls ill.
const WHOLE_WITHIN: Duration = Duration::from_secs(5);

/// What all requests to the others may take, elections and deadlines not included: they are made one after the other.
const REQUESTS: Duration = Duration::from_secs(10);

/// The phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Liveness {
    /// When what began before is healed. What is planned from here on begins once the cluster is whole.
    #[serde(with = "span")]
    pub from: Duration,
    /// The nodes that it befalls.
    pub ill: Vec<usize>,
}

/// How a node is ill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illness {
    /// It hears no other node, and is heard.
    Deaf,
    /// No other node hears it, and it hears them.
    Mute,
    /// Neither.
    CutOff,
    /// What it sends and what it is sent takes longer and longer, until an answer to it takes more than two election time-outs; and
    /// its disk is slow.
    Slow,
    /// It does not run.
    Dead,
}

impl Liveness {
    /// Whether `kind` may come in a plan with such a phase.
    pub(super) fn bears(kind: Kind) -> bool {
        !TAKES_VOTERS.contains(&kind)
    }

    /// Within what time all others must serve: what they are asked of any key after it they must do at the first try.
    pub fn patience(knobs: &Knobs) -> Duration {
        knobs.election_timeout() * 10 + knobs.request_deadline * 2 + REQUESTS
    }

    /// Those that must serve.
    pub fn healthy(&self, knobs: &Knobs) -> Vec<usize> {
        (0..knobs.nodes).filter(|node| !self.ill.contains(node)).collect()
    }
}

impl Plan {
    /// Gives the plan such a phase with this chance, where its time is long enough: it takes the last two thirds.
    pub(super) fn draw_liveness(&mut self, knobs: &Knobs, chance: f64) -> Option<(usize, Illness)> {
        let mut rng = dice(knobs.seed, "liveness");
        let (from, heal_at) = (self.end_at / 3, self.end_at * 11 / 12);
        let fits = from + WHOLE_WITHIN + Liveness::patience(knobs) <= heal_at;
        let drawn = rng.chance(chance);
        let (node, illness) = (rng.below(knobs.nodes as u64) as usize, rng.below(Illness::ALL.len() as u64) as usize);
        if !drawn || !fits {
            return None;
        }
        self.heal_at = heal_at;
        self.liveness = Some(Liveness { from, ill: vec![node] });
        Some((node, Illness::ALL[illness]))
    }

    /// This plan with `node` ill from `at`.
    pub fn ill(self, knobs: &Knobs, node: usize, illness: Illness, at: Duration, lasts: Duration) -> Self {
        let others = || (0..knobs.nodes).filter(|other| *other != node);
        match illness {
            Illness::Deaf => {
                others().fold(self, |plan, other| plan.with(at, Fault::CutOneWay { from: other, to: node, lasts }))
            }
            Illness::Mute => {
                others().fold(self, |plan, other| plan.with(at, Fault::CutOneWay { from: node, to: other, lasts }))
            }
            Illness::CutOff => self.with(at, Fault::Isolate { node: Target::Node(node), lasts }),
            Illness::Dead => self.with(at, Fault::Kill { node: Target::Node(node), down: lasts }),
            Illness::Slow => {
                let slow = Fault::SlowDisk { node: Target::Node(node), latency: Illness::SLOW_DISK, lasts };
                let plan = self.with(at, slow);
                // Slower by degrees: a leap would look like silence, and cost it what it leads at once.
                let (fair, bad) = (Illness::slow_links(knobs, 55..65), Illness::slow_links(knobs, 105..130));
                let later = Illness::ONSET.min(lasts / 2);
                [(at, fair), (at + later, bad)].into_iter().fold(plan, |plan, (from, links)| {
                    let late = |from, to| Fault::BadLink { from, to, links, lasts: lasts - later };
                    others().fold(plan, |plan, other| plan.with(from, late(other, node)).with(from, late(node, other)))
                })
            }
        }
    }
}

impl Illness {
    /// All of them.
    pub const ALL: [Illness; 5] = [Illness::Deaf, Illness::Mute, Illness::CutOff, Illness::Slow, Illness::Dead];

    const SLOW_DISK: Duration = Duration::from_millis(200);

    /// How long it takes until links are as slow as they get.
    const ONSET: Duration = Duration::from_secs(2);

    /// A message takes so many hundredths of the usual election time-out.
    fn slow_links(knobs: &Knobs, percent: Range<u32>) -> Links {
        let part = |percent| knobs.election_timeout() * percent / 100;
        let latency = (part(percent.start), part(percent.end));
        Links { latency, loss: 0.0, duplicate: 0.0, late: 0.0, late_by: Duration::ZERO }
    }
}
