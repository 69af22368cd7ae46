//! Virtual time. One clock is true: madsim's. Each life of a node sees it through a [`Clock`] of its own, which starts
//! anywhere and may run fast, slow, or not at all, or jump ahead.
//!
//! Said aloud: a timer that was set before its clock began to run wrong rings as if that ran right, and looks then.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use madsim::time::{Instant, Sleep, TimeHandle, sleep};
use matrixkv::types::{self, Rng};

/// A million parts.
const MILLION: i128 = 1_000_000;

/// How often what waits for a clock that stands still looks whether it goes on.
const GLANCE: Duration = Duration::from_millis(20);

/// Where the clock of a new life starts at most.
const START_MAX: Duration = Duration::from_secs(1 << 30);

/// True nanoseconds since the start of the run; `None` outside of it, where nothing that happens counts.
pub fn now() -> Option<u64> {
    TimeHandle::try_current().map(|time| time.elapsed().as_nanos() as u64)
}

/// Resolves after `duration`, to the nanosecond: madsim's own sleep is never shorter than a millisecond.
pub fn pause(duration: Duration) -> impl Future<Output = ()> + Send + 'static {
    until(Instant::now() + duration)
}

fn until(deadline: Instant) -> impl Future<Output = ()> + Send + 'static {
    let mut timer: std::pin::Pin<Box<Sleep>> = Box::pin(sleep(Duration::ZERO));
    timer.as_mut().reset(deadline);
    timer
}

/// The monotonic clock of a machine in one life. Clones are one clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What it showed at the true time `at`.
    shown: u64,
    at: u64,
    /// How many millionths it runs too fast.
    drift: i128,
}

impl Clock {
    /// Starts anywhere, and runs right.
    pub fn new(rng: &mut Rng, now: u64) -> Self {
        let shown = rng.duration(Duration::ZERO, START_MAX).as_nanos() as u64;
        Self(Arc::new(Mutex::new(State { shown, at: now, drift: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What it shows at the true time `now`.
    pub fn show(&self, now: u64) -> types::Instant {
        types::Instant(self.state().show(now))
    }

    /// How long something truly takes that takes `shown` on this clock as it runs now; `None` if it stands still.
    pub fn true_duration(&self, shown: Duration) -> Option<Duration> {
        let drift = self.state().drift;
        let nanos = shown.as_nanos().min(u64::MAX as u128) as i128;
        (drift > -MILLION)
            .then(|| Duration::from_nanos(((nanos * MILLION + MILLION + drift - 1) / (MILLION + drift)) as u64))
    }

    /// Resolves when `duration` is over on this clock.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        async move {
            let until = clock.show(now().unwrap_or(0)) + duration;
            pause(clock.true_duration(duration).unwrap_or(GLANCE)).await;
            loop {
                let left = until.since(clock.show(now().unwrap_or(0)));
                if left.is_zero() {
                    return;
                }
                pause(clock.true_duration(left).unwrap_or(GLANCE)).await;
            }
        }
    }

    /// It runs `millionths` too fast from now on (too slow, if negative).
    pub fn set_drift(&self, now: u64, millionths: i32) {
        assert!(millionths >= -1_000_000, "a clock never runs backwards");
        let mut state = self.state();
        *state = State { shown: state.show(now), at: now, drift: millionths.into() };
    }

    /// It jumps ahead.
    pub fn jump(&self, by: Duration) {
        self.state().shown += by.as_nanos() as u64;
    }
}

impl State {
    fn show(&self, now: u64) -> u64 {
        self.shown + (i128::from(now - self.at) * (MILLION + self.drift) / MILLION) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_drifts_and_jumps_but_never_back() {
        let clock = Clock::new(&mut Rng::new(1), 1000);
        let start = clock.show(1000);
        clock.set_drift(2_001_000, 100_000);
        assert_eq!(clock.show(2_001_000) - start, Duration::from_millis(2));
        assert_eq!(clock.show(12_001_000) - start, Duration::from_millis(13));
        assert_eq!(clock.true_duration(Duration::from_millis(11)), Some(Duration::from_millis(10)));
        clock.jump(Duration::from_secs(3600));
        assert_eq!(clock.show(12_001_000) - start, Duration::from_millis(3_600_013));
        clock.set_drift(12_001_000, -1_000_000);
        assert_eq!(clock.show(99_001_000) - start, Duration::from_millis(3_600_013));
        assert_eq!(clock.true_duration(Duration::from_millis(11)), None);
    }
}
