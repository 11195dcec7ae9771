//! Exponential back-off with jitter.

use std::time::Duration;

use crate::Runtime;

/// How long to wait before the next try: the step doubles from `base` to `max`, and each wait is drawn from the upper half of
/// its step, so that many nodes that failed together do not try again together ("equal jitter").
///
/// ```
/// use p2p_core::Backoff;
/// use std::time::Duration;
///
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// let first = backoff.next_wait(u64::MAX);
/// assert!(first >= Duration::from_millis(500) && first <= Duration::from_secs(1));
/// assert_eq!(backoff.failures(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    step: Duration,
    failures: u32,
}

impl Backoff {
    /// Steps start at `base` and never exceed `max` (or `base`, if that is longer).
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max: max.max(base), step: base, failures: 0 }
    }

    /// Counts a failure and gives the wait after it; `random` is any uniformly drawn number.
    pub fn next_wait(&mut self, random: u64) -> Duration {
        let half = self.step / 2;
        // Above 584 years the spread is cut to that.
        let spread = u64::try_from((self.step - half).as_nanos()).unwrap_or(u64::MAX);
        self.failures = self.failures.saturating_add(1);
        self.step = self.step.saturating_mul(2).min(self.max);
        // The high half of the product is uniform over 0..=spread.
        half + Duration::from_nanos(((u128::from(random) * (u128::from(spread) + 1)) >> 64) as u64)
    }

    /// As [`next_wait`](Self::next_wait), with entropy from `runtime`.
    pub fn next(&mut self, runtime: &dyn Runtime) -> Duration {
        self.next_wait(runtime.random_u64())
    }

    /// Failures since the last [`reset`](Self::reset).
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A success: the next wait starts at `base` again.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.step = self.base;
    }
}
