//! How many lines of the log remotes can cause.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use p2p_core::TokenBucket;

/// Lines about remotes that may come at once.
pub(crate) const BURST: u32 = 256;

/// Lines a second after that.
pub(crate) const PER_SECOND: u32 = 16;

/// Rations the lines that one kind of news may take in the log. What is left out is counted and told with the next line.
#[derive(Debug)]
pub(crate) struct Lines(Mutex<State>);

#[derive(Debug)]
struct State {
    tokens: TokenBucket,
    left_out: u64,
}

impl State {
    fn new(now: Instant) -> Self {
        Self { tokens: TokenBucket::new(BURST, PER_SECOND, now), left_out: 0 }
    }

    /// Whether there is room for a line; then also how many before it had none.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.tokens.take(now) {
            return Some(std::mem::take(&mut self.left_out));
        }
        self.left_out += 1;
        None
    }
}

impl Lines {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(State::new(now)))
    }

    /// Whether there is room for a line. Says how many lines had none, once there is again.
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        // Valid after each statement.
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).next(now);
        if let Some(left_out @ 1..) = next {
            tracing::info!(left_out, "more happened than the log has lines for");
        }
        next.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_of_news_takes_few_lines_and_is_counted() {
        let start = crate::clock::now();
        let mut lines = State::new(start);
        let said = (0..100_000).filter(|_| lines.next(start).is_some()).count();
        assert_eq!(said, BURST as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(lines.next(later), Some(100_000 - u64::from(BURST)));
        let said = (0..100_000).filter(|_| lines.next(later).is_some()).count();
        assert_eq!(said, PER_SECOND as usize - 1);
    }
}
