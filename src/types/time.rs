//! Monotonic time as a value: the pure rooms get it as an argument.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

/// Nanoseconds on a node's monotonic clock. Comparable within one boot of one node only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The time since `earlier`; zero if it lies in the future.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A clock that does not leap. A machine counts by it how long somebody has been silent: what passed while nobody looked,
/// since the process stood still or its clock was set, is no silence of anybody.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    shown: Instant,
    seen: Instant,
    leap_max: Duration,
}

impl Steady {
    /// Shows `now` at first, and goes on by `leap_max` at the most from one look to the next.
    pub fn new(now: Instant, leap_max: Duration) -> Self {
        Steady { shown: now, seen: now, leap_max }
    }

    /// What it shows when the clock shows `now`.
    pub fn at(&mut self, now: Instant) -> Instant {
        self.shown = self.shown + now.since(self.seen).min(self.leap_max);
        self.seen = self.seen.max(now);
        self.shown
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.0 as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_clock_goes_on_and_does_not_leap() {
        let (start, second) = (Instant(7), Duration::from_secs(1));
        let mut steady = Steady::new(start, second);
        assert_eq!(steady.at(start + second), start + second);
        assert_eq!(steady.at(start + second * 3600), start + second * 2);
        assert_eq!(steady.at(start + second * 3600), start + second * 2);
        assert_eq!(steady.at(start + second * 3600 + second / 2), start + second * 5 / 2);
    }
}
