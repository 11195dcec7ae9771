//! The round-trip time of a multiplexed connection: a small frame that the remote returns.

use std::time::{Duration, Instant};

use crate::shortest::Shortest;

/// A measurement is begun no sooner than this after the last one, but for the first few.
const EVERY: Duration = Duration::from_secs(1);

/// The first measurements follow each other at once: a new connection has not yet filled any queue, so they are the best.
const FIRST: u32 = 4;

/// Measures when it is asked to.
#[derive(Debug, Default)]
pub(super) struct Rtt {
    count: u32,
    /// The number of a frame that is under way, and when it was queued.
    pending: Option<(u32, Instant)>,
    last: Option<Instant>,
    shortest: Shortest,
}

impl Rtt {
    /// The number of a frame to send now, if a measurement is wanted.
    pub(super) fn begin(&mut self, now: Instant) -> Option<u32> {
        let due = self.count < FIRST || self.last.is_none_or(|last| now.saturating_duration_since(last) >= EVERY);
        if self.pending.is_some() || !due {
            return None;
        }
        self.count = self.count.wrapping_add(1).max(1);
        self.pending = Some((self.count, now));
        self.last = Some(now);
        Some(self.count)
    }

    /// The frame has come back; `false` if it was not under way.
    pub(super) fn end(&mut self, now: Instant, number: u32) -> bool {
        let Some((_, begun)) = self.pending.take_if(|(pending, _)| *pending == number) else { return false };
        self.shortest.measured(now, now.saturating_duration_since(begun));
        true
    }

    /// The shortest time that was measured lately.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.shortest.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_shortest_of_the_last_while_counts() {
        let start = crate::mux::clock::tests::start();
        let mut rtt = Rtt::default();
        let mut measure = |at: u64, took: u64| {
            let number = rtt.begin(start + ms(at)).expect("it is due");
            assert_eq!(rtt.begin(start + ms(at)), None, "one at a time");
            assert!(!rtt.end(start + ms(at), number + 1), "another one");
            assert!(rtt.end(start + ms(at + took), number));
            assert!(!rtt.end(start + ms(at + took), number), "it has come back");
            rtt.shortest().expect("measured")
        };
        assert_eq!(measure(0, 50), ms(50));
        assert_eq!(measure(60, 20), ms(20));
        assert_eq!(measure(2_000, 300), ms(20));
        // A path that is longer for good.
        assert_eq!(measure(12_000, 300), ms(20));
        assert_eq!(measure(23_000, 200), ms(200));
    }

    #[test]
    fn after_the_first_few_it_is_measured_once_a_second() {
        let start = crate::mux::clock::tests::start();
        let mut rtt = Rtt::default();
        let begun = (0..10_000).filter(|at| {
            let now = start + ms(*at);
            rtt.begin(now).is_some_and(|number| rtt.end(now, number))
        });
        assert!((10..=14).contains(&begun.count()));
    }
}
