//! How much may lie ahead of the next frame, in the system's socket and in our queue: it follows the rate of the line.
//!
//! What the system holds unsent, and what waits here, cannot be overtaken. On a fast line it has to be plenty, so that the
//! line never waits for us; on a slow one it is the time by which everything else on the connection is late.

use std::time::{Duration, Instant};

/// What may lie in each of the two places, in time.
const AHEAD: Duration = Duration::from_millis(25);

/// The least, in bytes: two packets.
pub(super) const MIN_AHEAD: u32 = 3 << 10;

/// The most, which is enough for lines of 40 Mbit/s and above.
pub(super) const MAX_AHEAD: u32 = 128 << 10;

/// What may lie there once [`ENOUGH`] bytes were written without the socket being full. Until then it is little: when a
/// hub begins to send to many, what their sockets hold is out of its hands.
const UNHINDERED: u32 = 64 << 10;

/// A rate is measured over at least so long, unless [`ENOUGH`] bytes have passed.
const SPELL: Duration = Duration::from_millis(20);
const ENOUGH: u64 = 64 << 10;

/// From this rate on, what a stream of its own (TLS) holds back is gone in half a millisecond: a gigabit, in bytes per second.
const FAST: u64 = 125_000_000;

/// Measures at which rate a full socket takes bytes, which is the rate at which it sends them.
#[derive(Debug)]
pub(super) struct Pace {
    /// Since when the socket is full again and again, and what it took since.
    spell: Option<(Instant, u64)>,
    /// In bytes per second.
    rate: Option<u64>,
    ahead: u32,
    /// Bytes written before the socket was full for the first time.
    unhindered: u64,
}

impl Pace {
    /// Begins with `ahead` bytes.
    pub(super) fn new(ahead: u32) -> Self {
        Self { spell: None, rate: None, ahead, unhindered: 0 }
    }

    /// The bytes that may lie in each place.
    pub(super) fn ahead(&self) -> u32 {
        self.ahead
    }

    /// Whether less lies ahead than on a fast line.
    pub(super) fn is_slow(&self) -> bool {
        self.ahead < MAX_AHEAD
    }

    /// Whether the line was measured to be slow. What a socket takes in a moment says nothing yet: a message that fills it for a
    /// millisecond is sent on a fast line.
    pub(super) fn is_known_slow(&self) -> bool {
        self.is_slow() && self.rate.is_some()
    }

    /// Whether the line was measured to be so fast that bytes held back make nothing late.
    pub(super) fn is_fast(&self) -> bool {
        self.rate.is_some_and(|rate| rate >= FAST)
    }

    /// Whether the socket was full, and nothing that was written since was all there was.
    pub(super) fn measures(&self) -> bool {
        self.spell.is_some()
    }

    /// The socket has taken so many bytes. Whether [`ahead`](Self::ahead) has changed.
    pub(super) fn on_written(&mut self, bytes: usize) -> bool {
        if let Some((_, written)) = &mut self.spell {
            *written += bytes as u64;
            return false;
        }
        if self.unhindered >= ENOUGH {
            return false;
        }
        self.unhindered += bytes as u64;
        let changes = self.unhindered >= ENOUGH && self.rate.is_none() && self.ahead < UNHINDERED;
        if changes {
            self.ahead = UNHINDERED;
        }
        changes
    }

    /// The socket is full. Whether [`ahead`](Self::ahead) has changed by much, for which it is worth telling the system.
    pub(super) fn on_full(&mut self, now: Instant) -> bool {
        let Some((since, written)) = self.spell else {
            self.spell = Some((now, 0));
            return false;
        };
        let took = now.saturating_duration_since(since);
        if written == 0 || (took < SPELL && written < ENOUGH) {
            return false;
        }
        self.spell = Some((now, 0));
        let rate = (u128::from(written) * 1_000_000_000 / took.as_nanos().max(1)) as u64;
        let rate = self.rate.map_or(rate, |before| before - before / 4 + rate / 4);
        self.rate = Some(rate);
        let ahead = u128::from(rate) * AHEAD.as_nanos() / 1_000_000_000;
        let ahead = ahead.clamp(MIN_AHEAD.into(), MAX_AHEAD.into()) as u32;
        let changed = ahead >= self.ahead.saturating_mul(5) / 4 || ahead <= self.ahead / 5 * 4;
        if changed {
            self.ahead = ahead;
        }
        changed
    }

    /// All was written: how fast the socket sends does not show any more.
    pub(super) fn on_empty(&mut self) {
        self.spell = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that sends at `rate` bytes a second, and is full whenever it holds what may lie ahead.
    fn run(pace: &mut Pace, now: &mut Instant, rate: u64, time: Duration) {
        let end = *now + time;
        while *now < end {
            pace.on_full(*now);
            // Half of it goes before there is room again.
            let bytes = u64::from(pace.ahead() / 2).max(1);
            *now += Duration::from_nanos(1_000_000_000 * bytes / rate);
            pace.on_written(bytes as usize);
        }
    }

    #[test]
    fn what_lies_ahead_follows_the_rate() {
        let mut now = crate::mux::clock::tests::start();
        let mut pace = Pace::new(64 << 10);
        let mut at = |rate: u64, secs| {
            run(&mut pace, &mut now, rate, Duration::from_secs(secs));
            pace.ahead()
        };
        // 1 Mbit/s; 10 Mbit/s, which are 31 KiB in 25 ms; a gigabit; and slow again.
        assert!((MIN_AHEAD..4 << 10).contains(&at(125_000, 4)));
        assert!((24 << 10..40 << 10).contains(&at(1_250_000, 2)));
        assert_eq!(at(125_000_000, 1), MAX_AHEAD);
        assert!((24 << 10..40 << 10).contains(&at(1_250_000, 2)));
        assert!((MIN_AHEAD..4 << 10).contains(&at(10_000, 20)));
    }

    #[test]
    fn a_socket_that_is_full_for_a_moment_is_not_known_to_be_slow() {
        let mut now = crate::mux::clock::tests::start();
        let mut pace = Pace::new(8 << 10);
        for _ in 0..1000 {
            // A message of 50,000 bytes, at a gigabit, five times a second.
            pace.on_full(now);
            pace.on_written(50_000);
            now += Duration::from_micros(400);
            pace.on_full(now);
            pace.on_empty();
            now += Duration::from_millis(200);
        }
        assert!(pace.is_slow() && !pace.is_known_slow());
        run(&mut pace, &mut now, 1_250_000, Duration::from_secs(1));
        assert!(pace.is_known_slow());
        run(&mut pace, &mut now, 125_000_000, Duration::from_secs(1));
        assert!(!pace.is_known_slow());
    }

    #[test]
    fn a_socket_that_is_never_full_says_nothing() {
        let now = crate::mux::clock::tests::start();
        let mut pace = Pace::new(8 << 10);
        for n in 0..1000 {
            assert_eq!(pace.on_written(100), n == 655);
            // Once in a while, after long pauses.
            assert!(!pace.on_full(now + Duration::from_secs(n)));
            pace.on_empty();
        }
        assert_eq!(pace.ahead(), 64 << 10);
    }
}
