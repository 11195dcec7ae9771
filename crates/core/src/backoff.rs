//! Exponential back-off with jitter.

use std::time::Duration;

use crate::Runtime;

/// How long to wait before the next try: doubles from `base` to `max`, and each wait is drawn from the upper half of
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
    failures: u32,
}

impl Backoff {
    /// Waits start at `base` and never exceed `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max: max.max(base), failures: 0 }
    }

    /// Counts a failure and gives the wait after it; `random` is any uniformly drawn number.
    pub fn next_wait(&mut self, random: u64) -> Duration {
        let step = self.base.saturating_mul(1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let half = step / 2;
        let spread = (step - half).as_nanos().min(u128::from(u64::MAX)) as u64;
        half + Duration::from_nanos(if spread == 0 { 0 } else { random % (spread + 1).max(1) })
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
    }
}
