//! Faults of the network between nodes. Clients reach every node that lives, so each side of a cut has its clients.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use madsim::time::sleep;

use super::Struck;
use crate::{
    env::Policy,
    knobs::Links,
    plan::Kind,
    workload::Ground,
    world::{State, World},
};

/// A cluster whose links can be cut, one direction at a time.
pub trait Wired: Ground {
    /// What `from` sends does not reach `to` any more.
    fn cut(&self, from: usize, to: usize);

    /// It does again.
    fn mend(&self, from: usize, to: usize);
}

impl Wired for World {
    fn cut(&self, from: usize, to: usize) {
        self.net().cut(from, to);
    }

    fn mend(&self, from: usize, to: usize) {
        self.net().mend(from, to);
    }
}

/// What acts on the network now. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Harm>>);

#[derive(Default)]
struct Harm {
    /// How many faults cut each direction.
    cuts: BTreeMap<(usize, usize), u32>,
    /// The faults that make all links worse, by their place in the plan.
    links: BTreeMap<usize, Links>,
    /// Those that make one worse, in one direction.
    single: BTreeMap<usize, ((usize, usize), Links)>,
}

impl Network {
    fn harm(&self) -> MutexGuard<'_, Harm> {
        self.0.lock().expect("no holder panics")
    }

    /// Cuts these directions.
    pub async fn cut(&self, world: &impl Wired, kind: Kind, directions: &[(usize, usize)], lasts: Duration) -> Struck {
        self.hold(world, directions);
        world.record().fault(kind, world.now(), &format!("{directions:?} for {lasts:?}"));
        world.sleep(lasts).await;
        self.release(world, directions);
        Struck::Yes
    }

    fn hold(&self, world: &impl Wired, directions: &[(usize, usize)]) {
        for (from, to) in directions {
            *self.harm().cuts.entry((*from, *to)).or_default() += 1;
            world.cut(*from, *to);
        }
    }

    fn release(&self, world: &impl Wired, directions: &[(usize, usize)]) {
        for (from, to) in directions {
            self.mend(world, *from, *to);
        }
    }

    fn mend(&self, world: &impl Wired, from: usize, to: usize) {
        let mut harm = self.harm();
        let holders = harm.cuts.get_mut(&(from, to)).expect("it was cut");
        *holders -= 1;
        if *holders == 0 {
            world.mend(from, to);
        }
    }

    /// Cuts two sides apart.
    pub async fn cut_sides(&self, world: &impl Wired, kind: Kind, a: &[usize], b: &[usize], lasts: Duration) -> Struck {
        let pairs = a.iter().flat_map(|a| b.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
        self.cut(world, kind, &pairs.collect::<Vec<_>>(), lasts).await
    }

    /// Cuts one node off.
    pub async fn isolate(&self, world: &impl Wired, kind: Kind, node: usize, lasts: Duration) -> Struck {
        self.cut_sides(world, kind, &[node], &others(world, &[node]), lasts).await
    }

    /// Cuts one side off.
    pub async fn split(&self, world: &impl Wired, side: &[usize], lasts: Duration) -> Struck {
        self.cut_sides(world, Kind::Split, side, &others(world, side), lasts).await
    }

    /// Breaks all connections between two nodes, and counts the groups that lost their leader for it.
    pub async fn reset(&self, world: &World, a: usize, b: usize) -> Struck {
        if a == b || [a, b].iter().any(|node| world.state(*node) != State::Up) {
            return Struck::Skipped;
        }
        let before = world.record().observer.leaders();
        world.net().reset(a, b);
        world.record().fault(Kind::Reset, world.now(), &format!("node{a} | node{b}"));
        sleep(world.knobs().election_timeout() * 2).await;
        let after: BTreeMap<_, _> = world.record().observer.leaders().into_iter().collect();
        let lost = before.iter().filter(|(shard, leader)| after.get(shard) != Some(leader)).count();
        world.record().count("leaders that changed after a reset", lost as u64);
        Struck::Yes
    }

    /// Makes all links worse.
    pub async fn worsen(&self, world: &World, kind: Kind, number: usize, links: Links, lasts: Duration) -> Struck {
        world.record().fault(kind, world.now(), &format!("{links} for {lasts:?}"));
        self.harm().links.insert(number, links);
        self.apply_links(world);
        sleep(lasts).await;
        self.harm().links.remove(&number);
        self.apply_links(world);
        Struck::Yes
    }

    fn apply_links(&self, world: &World) {
        let harm = self.harm();
        let worst = harm.links.values().fold(world.knobs().links, |worst, links| worst.worse_of(*links));
        world.net().set_default_policy(worst.policy());
        world.net().reset_policies();
        let mut single: BTreeMap<_, Links> = BTreeMap::new();
        for (direction, links) in harm.single.values() {
            let so_far = single.get(direction).copied().unwrap_or(worst);
            single.insert(*direction, so_far.worse_of(*links));
        }
        for ((from, to), links) in single {
            world.net().set_policy(from, to, links.policy());
        }
    }

    /// Makes one link worse, in one direction.
    pub async fn worsen_one(
        &self,
        world: &World,
        number: usize,
        (from, to): (usize, usize),
        links: Links,
        lasts: Duration,
    ) -> Struck {
        world.record().fault(Kind::BadLink, world.now(), &format!("node{from} -> node{to}, {links} for {lasts:?}"));
        self.harm().single.insert(number, ((from, to), links));
        self.apply_links(world);
        sleep(lasts).await;
        self.harm().single.remove(&number);
        self.apply_links(world);
        Struck::Yes
    }

    /// Cuts nodes off one by one, and takes them back in another order.
    pub async fn swizzle(&self, world: &impl Wired, order: &[usize], back: &[usize], every: Duration) -> Struck {
        world.record().fault(Kind::Swizzle, world.now(), &format!("{order:?}, back {back:?}, every {every:?}"));
        for node in order {
            self.hold(world, &around(world, *node));
            world.sleep(every).await;
        }
        for node in back {
            self.release(world, &around(world, *node));
            world.sleep(every).await;
        }
        Struck::Yes
    }

    /// Cuts a pair, mends it, and so on.
    pub async fn flap(&self, world: &impl Wired, (a, b): (usize, usize), every: Duration, lasts: Duration) -> Struck {
        world.record().fault(Kind::Flapping, world.now(), &format!("node{a} | node{b}, every {every:?} for {lasts:?}"));
        let until = world.now() + lasts;
        while world.now() < until {
            self.hold(world, &[(a, b), (b, a)]);
            world.sleep(every).await;
            self.release(world, &[(a, b), (b, a)]);
            world.sleep(every).await;
        }
        Struck::Yes
    }
}

/// All directions from and to a node.
fn around(world: &impl Ground, node: usize) -> Vec<(usize, usize)> {
    others(world, &[node]).into_iter().flat_map(|other| [(node, other), (other, node)]).collect()
}

fn others(world: &impl Ground, side: &[usize]) -> Vec<usize> {
    (0..world.knobs().nodes).filter(|node| !side.contains(node)).collect()
}

/// Undoes all of it.
pub fn heal(world: &World) {
    world.net().mend_all();
    world.net().set_default_policy(world.knobs().links.policy());
}

impl Links {
    fn worse_of(self, other: Links) -> Links {
        Links {
            latency: (self.latency.0.max(other.latency.0), self.latency.1.max(other.latency.1)),
            loss: self.loss.max(other.loss),
            duplicate: self.duplicate.max(other.duplicate),
            late: self.late.max(other.late),
            late_by: self.late_by.max(other.late_by),
        }
    }

    /// As the network takes it.
    pub fn policy(self) -> Policy {
        let Links { latency, loss, duplicate, late, late_by } = self;
        Policy { latency, loss, duplicate, late, late_by }
    }
}
