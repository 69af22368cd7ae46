//! Dice. The pure rooms are handed one of these; only an Env makes them.

use std::time::Duration;

/// A seeded generator: the same seed gives the same throws.
#[derive(Debug, Clone)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// Dice for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A stream of its own that shares no further throw with this one.
    pub fn fork(&mut self) -> Rng {
        Rng(self.0.fork())
    }

    /// Any number but zero (zero means "not yet known" in every id).
    pub fn id(&mut self) -> u64 {
        self.0.u64(1..)
    }

    /// A number in `0..bound`; `bound` must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.u64(..bound)
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.u64(low..=high)
    }

    /// True with probability `p` (0 to 1).
    pub fn chance(&mut self, p: f64) -> bool {
        self.0.f64() < p
    }

    /// A duration in `low..=high`.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(low.as_nanos() as u64, high.as_nanos() as u64))
    }

    /// Between half of `base` and `base`: what a back-off waits.
    pub fn jitter(&mut self, base: Duration) -> Duration {
        self.duration(base / 2, base)
    }
}
