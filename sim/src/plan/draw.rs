//! From a seed to its plan. Each kind of fault has dice of its own, so that taking one away leaves the others where
//! they were; and each seed leaves some kinds out altogether, since some bugs hide behind a fault that comes too often.

use std::time::Duration;

use matrixkv::types::Rng;

use super::{
    Access, CONTACT_MARGIN, Damage, EMPTY_PATIENCE, Fault, Harm, Kind, Liveness, Moment, Move, Part, Plan, Profile,
    Quiet, Stranger, Target, Timed, profile::Frequency,
};
use crate::knobs::{DISK_RESERVE, Knobs, Links, dice};

impl Plan {
    /// The plan of the knobs' seed for a run of `length`, with the faults of `profile`.
    pub fn draw(knobs: &Knobs, length: Duration, profile: &Profile) -> Self {
        let mut plan = Plan::empty(length);
        let ill = plan.draw_liveness(knobs, profile.liveness());
        let until = plan.liveness.as_ref().map_or(plan.heal_at, |liveness| liveness.from);
        for kind in Kind::ALL.iter().filter(|kind| ill.is_none() || Liveness::bears(**kind)) {
            let Some(Frequency { chance, most }) = profile.frequency(*kind) else { continue };
            let mut rng = dice(knobs.seed, kind.name());
            if rng.chance(chance) {
                let count = rng.between(1, most);
                plan.faults.extend((0..count).map(|_| draw_timed(*kind, knobs, until, &mut rng)));
            }
        }
        plan.faults.sort_by_key(|timed| timed.at);
        if let Some((node, illness)) = ill {
            let lasts = plan.heal_at - until;
            plan = plan.ill(knobs, node, illness, until, lasts);
        }
        plan.drop_beside(Kind::OldFolder, &[Kind::EmptyFolder]);
        plan.make_quiet(knobs);
        plan.keep_majorities();
        plan
    }

    /// The time around the loss of a folder in which nothing else happens, if there is one.
    pub fn quiet(&self, knobs: &Knobs) -> Option<Quiet> {
        let loss = self.faults.iter().find(|timed| timed.fault.loses_a_folder())?;
        let until = loss.at + EMPTY_PATIENCE + loss.fault.lasts() + knobs.founding_wait + CONTACT_MARGIN;
        Some(Quiet { from: loss.at, until })
    }

    /// With one replica damaged, or one node lost for good, no other voter may go before that was replaced.
    fn keep_majorities(&mut self) {
        self.drop_beside(Kind::Damage, &[Kind::EmptyFolder, Kind::OldFolder, Kind::RemoveReplica]);
        self.drop_beside(Kind::BitFlip, &[Kind::EmptyFolder, Kind::OldFolder, Kind::RemoveReplica, Kind::Damage]);
    }

    /// Leaves the faults of `kind` out where there is one of the others.
    fn drop_beside(&mut self, kind: Kind, others: &[Kind]) {
        if self.faults.iter().any(|timed| others.contains(&timed.fault.kind())) {
            self.faults.retain(|timed| timed.fault.kind() != kind);
        }
    }

    /// Ends what would reach into the quiet time before it, and drops what would begin in it.
    fn make_quiet(&mut self, knobs: &Knobs) {
        let Some(quiet) = self.quiet(knobs) else { return };
        self.faults.retain(|Timed { at, fault }| {
            let over_before = !fault.waits() && *at + fault.lasts() + CONTACT_MARGIN < quiet.from;
            fault.loses_a_folder() || over_before || *at > quiet.until
        });
    }
}

impl Kind {
    fn draw(self, knobs: &Knobs, rng: &mut Rng) -> Fault {
        let node = draw_target(self, knobs, rng);
        let down = draw_lasts(rng, 100, 6000);
        let lasts = draw_lasts(rng, 300, 8000);
        match self {
            Kind::Restart => Fault::Restart { node, down },
            Kind::Kill | Kind::KillLeader => Fault::Kill { node, down },
            Kind::KillLoop => Fault::KillLoop { node, lives: draw_lives(rng) },
            Kind::PowerLoss => Fault::PowerLoss { node, down },
            Kind::PowerLossAll => {
                Fault::PowerLossAll { down: (0..knobs.nodes).map(|_| draw_lasts(rng, 100, 4000)).collect() }
            }
            Kind::ArmedCrash => Fault::ArmedCrash { node, operation: rng.between(1, 300), down },
            Kind::Pause => Fault::Pause { node, lasts: draw_pause(knobs, rng) },
            Kind::CutPair => draw_pair(knobs, rng, |a, b| Fault::CutPair { a, b, lasts }),
            Kind::CutOneWay => draw_pair(knobs, rng, |from, to| Fault::CutOneWay { from, to, lasts }),
            Kind::Isolate | Kind::CutLeader => Fault::Isolate { node, lasts },
            Kind::Split => Fault::Split { side: draw_side(knobs, rng), lasts },
            Kind::Loss | Kind::Delay | Kind::Duplicate | Kind::Reorder => {
                Fault::Links { kind: self, links: draw_links(self, knobs.links, rng), lasts }
            }
            Kind::Reset => draw_pair(knobs, rng, |a, b| Fault::Reset { a, b }),
            Kind::AtMoment => draw_at_moment(knobs, rng),
            Kind::Rush => draw_rush(rng),
            Kind::DiskStall => Fault::DiskStall { node, lasts },
            Kind::SlowDisk => {
                let latency = Duration::from_millis(rng.between(5, 60));
                Fault::SlowDisk { node, latency, lasts }
            }
            Kind::Damage => {
                let all = [Damage::Row, Damage::Entry, Damage::Contradiction];
                Fault::Damage { node, group: rng.below(64), what: all[rng.below(3) as usize] }
            }
            Kind::SplitAt => Fault::SplitAt { key: rng.below(knobs.keys as u64) as usize },
            Kind::TransferLeader => draw_move(Move::Leader, knobs, rng),
            Kind::AddReplica => draw_move(Move::Add, knobs, rng),
            Kind::RemoveReplica => draw_move(Move::Remove, knobs, rng),
            Kind::Drain => {
                let node = rng.below(knobs.nodes as u64) as usize;
                Fault::Drain { node, lasts: lasts * 2 }
            }
            Kind::EmptyFolder => {
                // The first one is where a second cluster could come from.
                let node = if rng.chance(0.4) { 0 } else { rng.below(knobs.nodes as u64) as usize };
                Fault::EmptyFolder { node, down }
            }
            Kind::OldFolder => Fault::OldFolder { node: rng.below(knobs.nodes as u64) as usize, down },
            Kind::Stranger => {
                let all = [Stranger::Cluster, Stranger::Protocol, Stranger::HalfFrame];
                Fault::Stranger { node: rng.below(knobs.nodes as u64) as usize, who: all[rng.below(3) as usize] }
            }
            Kind::Swizzle => draw_swizzle(knobs, rng),
            Kind::Flapping => {
                // About the time after which a follower gives its leader up.
                let every = knobs.election_timeout() * rng.between(4, 14) as u32 / 10;
                draw_pair(knobs, rng, |a, b| Fault::Flapping { a, b, every, lasts: lasts * 2 })
            }
            Kind::BadLink => {
                let kinds = [Kind::Loss, Kind::Delay, Kind::Duplicate, Kind::Reorder];
                let links = draw_links(kinds[rng.below(kinds.len() as u64) as usize], knobs.links, rng);
                draw_pair(knobs, rng, |from, to| Fault::BadLink { from, to, links, lasts })
            }
            Kind::ClockJump => Fault::ClockJump { node, by: Duration::from_millis(2 << rng.below(21)) },
            Kind::ClockDrift => {
                let millionths = rng.between(1000, 100_000) as i32;
                Fault::ClockDrift { node, millionths: if rng.chance(0.5) { millionths } else { -millionths }, lasts }
            }
            Kind::ClockFreeze => Fault::ClockFreeze { node, lasts },
            Kind::DiskError if rng.chance(0.3) => {
                Fault::DiskError { node, on: Access::Read, operation: rng.between(1, 40), down }
            }
            Kind::DiskError => Fault::DiskError { node, on: Access::Change, operation: rng.between(1, 300), down },
            Kind::DiskFull => {
                // Between too little for writes and too little for entries, or below.
                Fault::DiskFull { node, left: DISK_RESERVE * rng.between(3, 9) / 8, lasts: lasts * 2 }
            }
            Kind::BitFlip => Fault::BitFlip { node, part: [Part::Any, Part::Log, Part::Data][rng.below(3) as usize] },
            Kind::Overload => Fault::Overload { latency: Duration::from_millis(rng.between(2, 20)), lasts },
        }
    }
}

/// Most faults may come at any time, during bootstrap too. A lost folder needs a cluster that stands.
fn draw_timed(kind: Kind, knobs: &Knobs, until: Duration, rng: &mut Rng) -> Timed {
    let (earliest, latest) = match kind {
        Kind::EmptyFolder | Kind::OldFolder => (until / 3, until * 2 / 3),
        _ => (Duration::from_millis(500).min(until), until),
    };
    let at = rng.duration(earliest, latest);
    Timed { at, fault: kind.draw(knobs, rng) }
}

fn draw_target(kind: Kind, knobs: &Knobs, rng: &mut Rng) -> Target {
    let node = Target::Node(rng.below(knobs.nodes as u64) as usize);
    let leader = if rng.chance(0.2) { Target::ProphetLeader } else { Target::Leader(rng.below(64)) };
    match kind {
        Kind::KillLeader | Kind::CutLeader => leader,
        Kind::ClockJump | Kind::ClockDrift | Kind::ClockFreeze | Kind::DiskError | Kind::DiskFull
            if rng.chance(0.5) =>
        {
            leader
        }
        Kind::Pause | Kind::DiskStall | Kind::ArmedCrash | Kind::PowerLoss if rng.chance(0.5) => leader,
        _ => node,
    }
}

/// Short ones are as likely as long ones: the exponent is drawn, not the value.
fn draw_lasts(rng: &mut Rng, low_ms: u64, high_ms: u64) -> Duration {
    let doublings = (high_ms / low_ms).ilog2() as u64;
    let low = low_ms << rng.below(doublings + 1);
    Duration::from_millis(rng.between(low, (low * 2).min(high_ms)))
}

/// From half an election time-out to ten.
fn draw_pause(knobs: &Knobs, rng: &mut Rng) -> Duration {
    knobs.election_timeout() * rng.between(5, 100) as u32 / 10
}

/// Soon after the moment, within what a commit or a message takes. Half of them last about as long as an election, so that
/// some groups have a new leader when they are over and some have not.
fn draw_at_moment(knobs: &Knobs, rng: &mut Rng) -> Fault {
    let moments = [Moment::Proposed, Moment::Applied, Moment::Receiving, Moment::Installing];
    let moment = moments[rng.below(moments.len() as u64) as usize];
    let moment = if rng.chance(0.1) { Moment::Voted } else { moment };
    let harms = [Harm::Kill, Harm::PowerLoss, Harm::Pause, Harm::Isolate, Harm::DiskStall, Harm::DiskStall];
    let harm = harms[rng.below(harms.len() as u64) as usize];
    let delay = draw_soon(rng, 7);
    let about_an_election = knobs.election_timeout() * rng.between(10, 20) as u32 / 10;
    let lasts = if rng.chance(0.5) { about_an_election } else { draw_lasts(rng, 100, 6000) };
    Fault::AtMoment { moment, delay, harm, lasts }
}

/// Most often while the split is not applied anywhere: whoever asks then does not know of it.
fn draw_rush(rng: &mut Rng) -> Fault {
    let moment = if rng.chance(0.8) { Moment::Proposed } else { Moment::Applied };
    Fault::Rush { moment, delay: draw_soon(rng, 4) }
}

/// At once, or within half a millisecond and up to so many doublings less one of that.
fn draw_soon(rng: &mut Rng, doublings: u64) -> Duration {
    let doublings = rng.below(doublings);
    if rng.chance(0.3) { Duration::ZERO } else { Duration::from_micros(rng.between(0, 500 << doublings)) }
}

fn draw_lives(rng: &mut Rng) -> Vec<Duration> {
    (0..rng.between(3, 6)).map(|_| draw_lasts(rng, 4, 1500)).collect()
}

fn draw_pair(knobs: &Knobs, rng: &mut Rng, make: impl FnOnce(usize, usize) -> Fault) -> Fault {
    let nodes = knobs.nodes as u64;
    let a = rng.below(nodes);
    let b = (a + rng.between(1, nodes - 1)) % nodes;
    make(a as usize, b as usize)
}

/// Two nodes at least, and all of them now and then.
fn draw_swizzle(knobs: &Knobs, rng: &mut Rng) -> Fault {
    let mut order: Vec<_> = (0..knobs.nodes).collect();
    shuffle(&mut order, rng);
    order.truncate(rng.between(2, knobs.nodes as u64) as usize);
    let mut back = order.clone();
    shuffle(&mut back, rng);
    Fault::Swizzle { order, back, every: Duration::from_millis(rng.between(20, 1200)) }
}

fn shuffle(nodes: &mut [usize], rng: &mut Rng) {
    for last in (1..nodes.len()).rev() {
        nodes.swap(last, rng.below(last as u64 + 1) as usize);
    }
}

/// One node at least on each side.
fn draw_side(knobs: &Knobs, rng: &mut Rng) -> Vec<usize> {
    let mask = rng.between(1, (1 << knobs.nodes) - 2);
    let side: Vec<_> = (0..knobs.nodes).filter(|node| mask >> node & 1 == 1).collect();
    assert!(!side.is_empty() && side.len() < knobs.nodes, "a split has two sides");
    side
}

fn draw_move(what: Move, knobs: &Knobs, rng: &mut Rng) -> Fault {
    let (group, node) = (rng.below(64), rng.below(knobs.nodes as u64) as usize);
    Fault::Move { what, group, node }
}

fn draw_links(kind: Kind, base: Links, rng: &mut Rng) -> Links {
    let percent = |rng: &mut Rng, low, high| rng.between(low, high) as f64 / 100.0;
    match kind {
        Kind::Loss => Links { loss: percent(rng, 2, 30), ..base },
        Kind::Duplicate => Links { duplicate: percent(rng, 5, 40), ..base },
        Kind::Reorder => {
            Links { late: percent(rng, 5, 40), late_by: Duration::from_millis(rng.between(5, 1000)), ..base }
        }
        _ => {
            let low = Duration::from_millis(rng.between(5, 100));
            Links { latency: (low, low * rng.between(1, 4) as u32), ..base }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(60);

    fn plan(seed: u64) -> (Knobs, Plan) {
        let knobs = Knobs::draw(seed);
        let plan = Plan::draw(&knobs, LENGTH, &Profile::all());
        (knobs, plan)
    }

    #[test]
    fn a_hundred_seeds_have_every_kind() {
        for kind in Kind::ALL {
            assert!((0..100).any(|seed| plan(seed).1.faults.iter().any(|timed| timed.fault.kind() == *kind)), "{kind}");
        }
    }

    #[test]
    fn only_a_minority_that_others_can_spare_falls_ill_and_nobody_was_lost_before() {
        let mut phases = 0;
        for seed in 0..500 {
            let (knobs, plan) = plan(seed);
            let Some(liveness) = &plan.liveness else { continue };
            phases += 1;
            assert_eq!(crate::plan::file::check(&knobs, &plan), Ok(()), "seed {seed}");
            assert!(plan.faults.iter().all(|timed| Liveness::bears(timed.fault.kind())), "seed {seed}");
            assert!(plan.faults_of(true).next().is_some(), "seed {seed}: nobody falls ill");
            for (_, Timed { fault, .. }) in plan.faults_of(true) {
                let nodes = fault.nodes();
                assert!(nodes.iter().any(|node| liveness.ill.contains(node)), "seed {seed}: {fault}");
            }
        }
        assert!((50..250).contains(&phases), "{phases} of 500 seeds have the phase");
    }

    #[test]
    fn nothing_else_happens_around_a_lost_folder() {
        for seed in 0..500 {
            let (knobs, plan) = plan(seed);
            let Some(quiet) = plan.quiet(&knobs) else { continue };
            for Timed { at, fault } in &plan.faults {
                let apart = !fault.waits() && *at + fault.lasts() < quiet.from || *at > quiet.until;
                assert!(apart || fault.loses_a_folder(), "seed {seed}: {fault} at {at:?} in {quiet:?}");
            }
        }
    }

    #[test]
    fn what_is_drawn_is_counted_as_the_kind_that_drew_it() {
        let knobs = Knobs::draw(1);
        for kind in Kind::ALL {
            let mut rng = dice(1, kind.name());
            for _ in 0..50 {
                assert_eq!(kind.draw(&knobs, &mut rng).kind(), *kind);
            }
        }
    }
}
