//! How long an answer may take, from how long answers took.

use std::time::Duration;

/// What is assumed before anything was measured.
const UNMEASURED: Duration = Duration::from_secs(2);

/// Round-trip times of many nodes, smoothed, with their variation: RFC 6298, section 2.
///
/// ```
/// use std::time::Duration;
/// use p2p_kademlia::lookup::RttEstimator;
///
/// let mut rtt = RttEstimator::default();
/// rtt.observe(Duration::from_millis(100));
/// assert_eq!(rtt.timeout(), Duration::from_millis(300));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RttEstimator {
    measured: Option<Measured>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    smoothed: Duration,
    variation: Duration,
}

impl RttEstimator {
    /// One more answer took this long.
    pub fn observe(&mut self, rtt: Duration) {
        let measured = match self.measured {
            None => Measured { smoothed: rtt, variation: rtt / 2 },
            Some(Measured { smoothed, variation }) => Measured {
                // Saturating: what a simulation or a suspended machine measures may be any figure.
                variation: (variation / 4).saturating_mul(3).saturating_add(smoothed.abs_diff(rtt) / 4),
                smoothed: (smoothed / 8).saturating_mul(7).saturating_add(rtt / 8),
            },
        };
        self.measured = Some(measured);
    }

    /// The smoothed round-trip time; `None` before the first answer.
    pub fn smoothed(&self) -> Option<Duration> {
        self.measured.map(|measured| measured.smoothed)
    }

    /// After how long there will hardly be an answer. Callers bound it.
    pub fn timeout(&self) -> Duration {
        let timeout = |Measured { smoothed, variation }| variation.saturating_mul(4).saturating_add(smoothed);
        self.measured.map_or(UNMEASURED, timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_what_is_measured() {
        let mut rtt = RttEstimator::default();
        assert_eq!((rtt.smoothed(), rtt.timeout()), (None, UNMEASURED));
        (0..100).for_each(|_| rtt.observe(Duration::from_millis(80)));
        assert!(rtt.timeout() < Duration::from_millis(90), "{rtt:?}");
        (0..100).for_each(|_| rtt.observe(Duration::from_millis(800)));
        assert!(rtt.timeout() > Duration::from_millis(790), "{rtt:?}");
        rtt.observe(Duration::MAX);
        rtt.observe(Duration::MAX);
        assert!(rtt.timeout() > Duration::from_secs(3600));
    }
}
