//! Token buckets.

use std::time::{Duration, Instant};

/// A rate limit with a burst: holds up to `burst` tokens and gains one every `1 / per_second`.
///
/// ```
/// use p2p_core::TokenBucket;
/// use std::time::{Duration, Instant};
///
/// let now = Instant::now();
/// let mut bucket = TokenBucket::new(2, 10, now);
/// assert!(bucket.take(now) && bucket.take(now));
/// assert!(!bucket.take(now));
/// assert!(bucket.take(now + Duration::from_millis(100)));
/// ```
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// In billionths of a token, so that no time that passed is rounded away.
    level: u128,
    burst: u32,
    per_second: u32,
    updated: Instant,
}

const TOKEN: u128 = 1_000_000_000;

impl TokenBucket {
    /// Starts full. `burst` and `per_second` are in tokens.
    pub fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self { level: u128::from(burst) * TOKEN, burst, per_second, updated: now }
    }

    /// Takes one token; `false` when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        self.take_many(1, now)
    }

    /// Takes `tokens` at once or none. More than the burst are never there.
    pub fn take_many(&mut self, tokens: u32, now: Instant) -> bool {
        self.refill(now);
        let wanted = u128::from(tokens) * TOKEN;
        if self.level < wanted {
            return false;
        }
        self.level -= wanted;
        true
    }

    /// Whether it is full again, which is when a table of buckets may forget it.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level == u128::from(self.burst) * TOKEN
    }

    /// How long until one token is there; zero when there is one, [`Duration::MAX`] when none will come.
    pub fn ready_in(&mut self, now: Instant) -> Duration {
        self.refill(now);
        if self.level >= TOKEN {
            return Duration::ZERO;
        }
        if self.per_second == 0 || self.burst == 0 {
            return Duration::MAX;
        }
        Duration::from_nanos((TOKEN - self.level).div_ceil(u128::from(self.per_second)) as u64)
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.updated).as_nanos();
        self.updated = self.updated.max(now);
        self.level = (self.level + passed * u128::from(self.per_second)).min(u128::from(self.burst) * TOKEN);
    }
}
