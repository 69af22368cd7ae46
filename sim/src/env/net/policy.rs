//! What a link does to what travels on it, one direction at a time.

use std::{collections::BTreeMap, time::Duration};

use matrixkv::types::Rng;

use crate::env::dice;

/// How good a link is, in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The shortest and the longest time that a message usually takes. Each draws its own, so they overtake.
    pub latency: (Duration, Duration),
    /// The chance that it is lost. On a byte stream it is repeated by the operating system, which takes time.
    pub loss: f64,
    /// The chance that it arrives twice. Byte streams hide this.
    pub duplicate: f64,
    /// The chance that it is late, and overtaken by those behind it. A late piece of a byte stream holds up the rest.
    pub late: f64,
    /// How much later the late ones are at most.
    pub late_by: Duration,
}

impl Policy {
    /// A good link in one building.
    pub const GOOD: Policy = Policy {
        latency: (Duration::from_micros(100), Duration::from_micros(500)),
        loss: 0.0,
        duplicate: 0.0,
        late: 0.0,
        late_by: Duration::ZERO,
    };

    /// From a machine to itself. No fault touches it.
    const LOOPBACK: Policy = Policy { latency: (Duration::from_micros(10), Duration::from_micros(50)), ..Policy::GOOD };
}

impl Default for Policy {
    fn default() -> Self {
        Self::GOOD
    }
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Cut,
    Lost,
    /// It arrives after this time, and a second time after that.
    Arrives {
        after: Duration,
        late: bool,
        again: Option<Duration>,
    },
}

/// Of second copies, how many lag far behind the first, and how far at most: others act in between.
const LAGS: f64 = 0.2;
const LAG_MAX: Duration = Duration::from_secs(1);

/// How long the operating system waits at first until it repeats what was lost, and how often it tries.
const REPEAT_AFTER: Duration = Duration::from_millis(200);
const REPEATS_MAX: u32 = 6;

/// From one node to another.
pub(super) type Direction = (usize, usize);

/// Each fault of a direction has dice of its own, and throws them for each message, so that none disturbs another.
struct Dice {
    latency: Rng,
    loss: Rng,
    duplicate: Rng,
    late: Rng,
}

/// All links.
pub(super) struct Links {
    seed: u64,
    policy: Policy,
    policies: BTreeMap<Direction, Policy>,
    /// Since when a direction is cut.
    cuts: BTreeMap<Direction, u64>,
    dice: BTreeMap<Direction, Dice>,
}

impl Links {
    pub(super) fn new(seed: u64) -> Self {
        let (policies, cuts, dice) = Default::default();
        Links { seed, policy: Policy::GOOD, policies, cuts, dice }
    }

    pub(super) fn set_default_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    pub(super) fn set_policy(&mut self, direction: Direction, policy: Policy) {
        self.policies.insert(direction, policy);
    }

    pub(super) fn reset_policies(&mut self) {
        self.policies.clear();
    }

    /// Whether it was open until now.
    pub(super) fn cut(&mut self, direction: Direction, now: u64) -> bool {
        let open = !self.cuts.contains_key(&direction);
        if open {
            self.cuts.insert(direction, now);
        }
        open
    }

    /// Since when it was cut, if it was.
    pub(super) fn mend(&mut self, direction: Direction) -> Option<u64> {
        self.cuts.remove(&direction)
    }

    pub(super) fn cut_since(&self, direction: Direction) -> Option<u64> {
        self.cuts.get(&direction).copied()
    }

    pub(super) fn is_cut(&self, direction: Direction) -> bool {
        self.cuts.contains_key(&direction)
    }

    pub(super) fn all_cuts(&self) -> Vec<Direction> {
        self.cuts.keys().copied().collect()
    }

    fn policy(&self, (from, to): Direction) -> Policy {
        match self.policies.get(&(from, to)) {
            _ if from == to => Policy::LOOPBACK,
            Some(policy) => *policy,
            None => self.policy,
        }
    }

    fn dice(&mut self, (from, to): Direction) -> &mut Dice {
        let seed = self.seed;
        self.dice.entry((from, to)).or_insert_with(|| {
            let dice = |fault| dice(seed, fault, &[from as u64, to as u64]);
            Dice { latency: dice("latency"), loss: dice("loss"), duplicate: dice("duplicate"), late: dice("late") }
        })
    }

    /// What becomes of a datagram that is sent now.
    pub(super) fn fate(&mut self, direction: Direction) -> Fate {
        let (policy, cut) = (self.policy(direction), self.is_cut(direction));
        let dice = self.dice(direction);
        let lost = dice.loss.chance(policy.loss);
        let (late, late_by) = (dice.late.chance(policy.late), dice.late.duration(Duration::ZERO, policy.late_by));
        let mut after = dice.latency.duration(policy.latency.0, policy.latency.1);
        if late {
            after += late_by;
        }
        let doubled = dice.duplicate.chance(policy.duplicate);
        let again = doubled.then(|| {
            let lag = if dice.duplicate.chance(LAGS) { LAG_MAX } else { policy.latency.1 * 4 };
            after + dice.duplicate.duration(policy.latency.0, lag.max(policy.latency.0))
        });
        match (cut, lost) {
            (true, _) => Fate::Cut,
            (false, true) => Fate::Lost,
            (false, false) => Fate::Arrives { after, late, again },
        }
    }

    /// How long a piece of a byte stream takes.
    pub(super) fn travel(&mut self, direction: Direction) -> Duration {
        let mut repeated = Duration::ZERO;
        for repeats in 0..REPEATS_MAX {
            match self.fate(direction) {
                Fate::Arrives { after, .. } => return repeated + after,
                Fate::Cut | Fate::Lost => repeated += REPEAT_AFTER * (1 << repeats),
            }
        }
        repeated
    }

    /// How long after a cut was mended the operating system repeats what it could not send for `cut`: it waits ever
    /// longer between its attempts.
    pub(super) fn repeat_after_cut(&mut self, direction: Direction, cut: Duration) -> Duration {
        let longest = (REPEAT_AFTER * (1 << REPEATS_MAX)).min(REPEAT_AFTER.max(cut));
        self.dice(direction).loss.duration(Duration::ZERO, longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_does_what_its_policy_says() {
        let mut links = Links::new(1);
        let late_by = Duration::from_secs(1);
        links.set_policy((0, 1), Policy { loss: 0.3, duplicate: 0.2, late: 0.1, late_by, ..Policy::GOOD });
        let fates: Vec<_> = (0..10_000).map(|_| links.fate((0, 1))).collect();
        let count = |what: fn(&Fate) -> bool| fates.iter().filter(|fate| what(fate)).count();
        assert!((2800..3200).contains(&count(|fate| *fate == Fate::Lost)));
        assert!((1250..1550).contains(&count(|fate| matches!(fate, Fate::Arrives { again: Some(_), .. }))));
        assert!((600..800).contains(&count(|fate| matches!(fate, Fate::Arrives { late: true, .. }))));
        assert!(matches!(links.fate((1, 0)), Fate::Arrives { late: false, again: None, .. }));
    }

    #[test]
    fn a_cut_has_one_direction_and_spares_loopback() {
        let mut links = Links::new(1);
        assert!(links.cut((0, 1), 5) && !links.cut((0, 1), 6));
        assert_eq!(links.fate((0, 1)), Fate::Cut);
        assert!(matches!(links.fate((1, 0)), Fate::Arrives { .. }));
        assert_eq!((links.mend((0, 1)), links.mend((0, 1))), (Some(5), None));
        assert!(matches!(links.fate((0, 1)), Fate::Arrives { .. }));
    }

    #[test]
    fn faults_do_not_disturb_each_other() {
        let lost = |duplicate: f64| {
            let mut links = Links::new(7);
            links.set_default_policy(Policy { loss: 0.3, duplicate, ..Policy::GOOD });
            (0..200).map(|_| links.fate((0, 1)) == Fate::Lost).collect::<Vec<_>>()
        };
        assert_eq!(lost(0.0), lost(0.5));
    }
}
