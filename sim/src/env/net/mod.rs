//! The network between simulated machines: datagrams for envelopes, byte streams for everything else, over links whose
//! faults are set one direction at a time.
//!
//! Invariants:
//! - a cut, a bad link and a dead machine mean the same to datagrams and to byte streams;
//! - a node that is killed sends nothing more, and nothing is delivered to it; peers of a dead process are told by its
//!   machine, peers of a machine without power by nobody, until they notice;
//! - the machine of a node that was never started is up, and refuses.
//!
//! Said aloud: a paused process takes nothing, but its machine still does, until its buffers are full. A cut stops what
//! is sent after it, not what is under way.

mod address;
mod datagram;
mod fabric;
mod pipe;
mod policy;
mod stream;

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::{Context, Poll},
    time::Duration,
};

use madsim::time::{Instant, TimeHandle, sleep};
use matrixkv::types::Rng;
use tokio::sync::oneshot;

pub use datagram::SimNetwork;
pub use fabric::NetCounters;
pub use policy::Policy;
pub use stream::{SimListener, SimStream};

use self::fabric::{Event, Fabric};
use super::{Clock, Trace, film::Life};

/// How a node dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// Its process is killed; its machine lives and says so.
    Process,
    /// Its machine loses power, and says nothing.
    Power,
}

/// The network of a world. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Net(Arc<Shared>);

struct Shared {
    fabric: Mutex<Fabric>,
    time: TimeHandle,
}

impl Net {
    /// A network of good links. To be called inside the runtime, on a node that is never killed: the task that delivers
    /// runs there.
    pub fn new(seed: u64, trace: Trace) -> Self {
        let fabric = Mutex::new(Fabric::new(seed, trace));
        let net = Net(Arc::new(Shared { fabric, time: TimeHandle::current() }));
        madsim::task::spawn(deliver(Arc::downgrade(&net.0)));
        net
    }

    /// Does `work` on the network at this moment.
    fn with<T>(&self, work: impl FnOnce(&mut Fabric, u64) -> T) -> T {
        let now = self.0.now();
        work(&mut self.0.fabric(), now)
    }

    /// What is sent from `from` to `to` from now on gets lost; what byte streams carry waits.
    pub fn cut(&self, from: usize, to: usize) {
        assert_ne!(from, to, "nobody is cut off from itself");
        self.with(|fabric, now| fabric.cut(now, (from, to)));
    }

    /// Ends a cut.
    pub fn mend(&self, from: usize, to: usize) {
        self.with(|fabric, now| fabric.mend(now, (from, to)));
    }

    /// Ends all cuts, and gives every link the default policy.
    pub fn mend_all(&self) {
        self.with(|fabric, now| {
            fabric.links.all_cuts().into_iter().for_each(|direction| fabric.mend(now, direction));
            fabric.links.reset_policies();
        });
    }

    /// How good one direction is from now on, whatever the default.
    pub fn set_policy(&self, from: usize, to: usize, policy: Policy) {
        self.with(|fabric, _| fabric.links.set_policy((from, to), policy));
    }

    /// Forgets how good single directions are: the default holds for all.
    pub fn reset_policies(&self) {
        self.with(|fabric, _| fabric.links.reset_policies());
    }

    /// How good all others are.
    pub fn set_default_policy(&self, policy: Policy) {
        self.with(|fabric, _| fabric.links.set_default_policy(policy));
    }

    /// Breaks every connection between two nodes, streams and sessions, in the midst of what is under way.
    pub fn reset(&self, a: usize, b: usize) {
        self.with(|fabric, now| {
            fabric.reset_between(now, a, b);
            fabric.lose_sessions_across(now, (a, b));
        });
    }

    /// `node` is dead from now on, until a [`super::SimEnv`] is made for it. To be called before its tasks are dropped.
    pub fn kill_node(&self, node: usize, death: Death) {
        self.with(|fabric, now| fabric.kill_node(now, node, death));
    }

    /// The clock of `node`'s present life; `None` if it was never started.
    pub fn clock(&self, node: usize) -> Option<Clock> {
        self.with(|fabric, _| fabric.host(node).clock.clone())
    }

    /// What it did so far.
    pub fn counters(&self) -> NetCounters {
        self.with(|fabric, _| fabric.counters)
    }

    pub(super) fn seed(&self) -> u64 {
        self.with(|fabric, _| fabric.seed)
    }

    pub(super) fn start_host(&self, node: usize) -> Clock {
        self.with(|fabric, now| fabric.start_host(now, node))
    }

    pub(super) fn dice(&self, node: usize) -> Rng {
        self.with(|fabric, _| fabric.dice(node))
    }

    /// Resolves after `duration`, to the nanosecond, without a timer of its own.
    async fn delay(&self, duration: Duration) {
        let (waiting, over) = oneshot::channel();
        self.with(|fabric, now| fabric.at(now + duration.as_nanos() as u64, Event::Wake(waiting)));
        // Only the end of the world takes the other half away.
        let _ = over.await;
    }
}

impl Fabric {
    fn cut(&mut self, now: u64, direction: (usize, usize)) {
        if self.links.cut(direction, now) {
            self.trace.note(now, direction.0, "link to node{} is cut", [direction.1 as u64]);
            self.trace.film(|film| film.cuts.push((now, direction, true)));
            let noticed = self.notices_silence(now);
            self.at(noticed, Event::SilentLink { direction, since: now });
        }
    }

    fn mend(&mut self, now: u64, direction: (usize, usize)) {
        if let Some(since) = self.links.mend(direction) {
            self.trace.note(now, direction.0, "link to node{} is mended", [direction.1 as u64]);
            self.trace.film(|film| film.cuts.push((now, direction, false)));
            self.unpark(now, direction, Duration::from_nanos(now - since));
        }
    }

    fn kill_node(&mut self, now: u64, node: usize, death: Death) {
        self.trace.record(now, node, "dies by", format!("{death:?}"));
        self.trace.film(|film| film.lives.push((now, node, Life::Down)));
        self.sockets.retain(|(at, _), _| *at != node);
        match death {
            Death::Process => {
                self.close_all(now, node);
                self.close_endpoints(now, node);
            }
            Death::Power => {
                // A second time, if its disk has told already.
                self.host(node).off = true;
                self.let_die(node);
                self.forget_endpoints(node);
                let noticed = self.notices_silence(now);
                self.at(noticed, Event::SilentHost(node));
            }
        }
    }
}

impl Shared {
    fn fabric(&self) -> MutexGuard<'_, Fabric> {
        self.fabric.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn now(&self) -> u64 {
        self.time.elapsed().as_nanos() as u64
    }

    /// Does what is due, and asks to be polled again when the next is.
    fn poll_deliver(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = {
                let mut fabric = self.fabric();
                let next = fabric.run_due(self.now());
                fabric.next_look = next.unwrap_or(u64::MAX);
                fabric.waker = Some(cx.waker().clone());
                next
            };
            let Some(next) = next else { return Poll::Pending };
            let mut timer = pin!(sleep(Duration::ZERO));
            timer.as_mut().reset(Instant::now() + Duration::from_nanos(next.saturating_sub(self.now())));
            if timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// Empties the queue for ever. It does not keep the network alive.
async fn deliver(shared: Weak<Shared>) {
    poll_fn(|cx| shared.upgrade().map_or(Poll::Ready(()), |shared| shared.poll_deliver(cx))).await;
}

#[cfg(test)]
mod tests;
