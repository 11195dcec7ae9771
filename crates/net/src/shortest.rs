//! The shortest round-trip time of late.

use std::time::{Duration, Instant};

/// The shortest time of so long counts. What lies in queues ahead of a frame makes single ones longer; and a path that
/// has become longer must not be forgotten for ever.
const WINDOW: Duration = Duration::from_secs(10);

/// With a shorter round trip the windows that a connection begins with are wide enough, and more than the processor's caches
/// hold would make a transfer slower.
pub(crate) const NEAR: Duration = Duration::from_millis(1);

/// The shortest of the times that were measured in this window and in the one before.
#[derive(Debug, Default)]
pub(crate) struct Shortest {
    now: Option<(Duration, Instant)>,
    before: Option<Duration>,
}

impl Shortest {
    pub(crate) fn measured(&mut self, now: Instant, sample: Duration) {
        self.now = Some(match self.now {
            Some((shortest, since)) if now.saturating_duration_since(since) < WINDOW => (shortest.min(sample), since),
            ended => {
                self.before = ended.map(|(shortest, _)| shortest);
                (sample, now)
            }
        });
    }

    /// Whether it was measured, and is near.
    #[cfg(feature = "quic")]
    pub(crate) fn is_near(&self) -> bool {
        self.get().is_some_and(|rtt| rtt < NEAR)
    }

    /// `None` before the first measurement.
    pub(crate) fn get(&self) -> Option<Duration> {
        let (now, _) = self.now?;
        Some(self.before.map_or(now, |before| before.min(now)))
    }
}
