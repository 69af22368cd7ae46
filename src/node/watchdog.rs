//! A disk that hangs. A driver that reads, or waits for a commit, can do nothing else, and a call that never ends cannot be
//! taken back: so a task beside it looks whether a turn has been under way for too long, and ends the node. What needs no
//! disk is done then: connections close, and others lead what was led here.
//!
//! It counts its own looks instead of time, so that a process that stood still (a suspended machine, a paused container)
//! does not blame its disk for that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::NodeError;
use crate::env::Env;

/// Looks within the longest time that a turn may take. It is found out at most one look late.
const LOOKS: u32 = 8;

/// What a driver is waiting for. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Turns>);

#[derive(Debug, Default)]
struct Turns {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A turn under way, until it is dropped.
pub(super) struct Underway<'a>(&'a Turns);

impl Watch {
    /// A turn begins.
    pub fn begin(&self) -> Underway<'_> {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Underway(&self.0)
    }

    /// The number of the turn under way.
    fn underway(&self) -> Option<u64> {
        let (ended, begun) = (self.0.ended.load(Ordering::Relaxed), self.0.begun.load(Ordering::Relaxed));
        (begun > ended).then_some(begun)
    }

    /// Looks until one turn has been under way for longer than `limit`.
    pub async fn watch<E: Env>(self, env: E, limit: Duration) -> Result<(), NodeError> {
        let (mut seen, mut looks) = (None, 0);
        loop {
            env.sleep(limit / LOOKS).await;
            let now = self.underway();
            looks = if now.is_some() && now == seen { looks + 1 } else { 0 };
            seen = now;
            if looks >= LOOKS {
                return Err(NodeError::DiskStalled(limit));
            }
        }
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{real::RealEnv, within};

    #[tokio::test]
    async fn one_turn_that_does_not_end_is_told_and_many_short_ones_are_not() {
        let (env, watch, limit) = (RealEnv::new(), Watch::default(), Duration::from_millis(80));
        let busy = async {
            loop {
                let _turn = watch.begin();
                env.sleep(Duration::from_millis(5)).await;
            }
        };
        let many = within(&env, limit * 5, async {
            tokio::select! { biased; told = watch.clone().watch(env.clone(), limit) => told, () = busy => unreachable!() }
        });
        assert!(many.await.is_none());
        let _hangs = watch.begin();
        let told = within(&env, limit * 50, watch.clone().watch(env.clone(), limit)).await;
        assert!(told.unwrap().unwrap_err().to_string().contains("limits.disk-stall-max"));
    }
}
