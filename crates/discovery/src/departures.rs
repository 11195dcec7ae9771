//! [`Departures`].

use std::time::{Duration, Instant};

use p2p_identity::{DisconnectReason, Origin};

/// A connection that lasted so long was a good one.
const LASTED: Duration = Duration::from_secs(120);

/// One that was lost sooner than this was not lost to the network: the peer has dropped it.
const DROPPED: Duration = Duration::from_secs(5);

/// Longer than two nodes with one key leave each other alone.
const UNDISPUTED: Duration = Duration::from_secs(1800);

/// The least waits, in seconds, after connections that the peer ended soon, and after those that another node with our key
/// replaced.
const LEFT: [u64; 5] = [0, 5, 15, 30, 600];
const REPLACED: [u64; 3] = [10, 30, 600];

/// How often a peer has left soon after it was connected, and for how long to leave it alone because of that: it is tried at
/// most five times in the first minute, and then once in ten minutes. No I/O.
#[derive(Debug, Clone, Default)]
pub struct Departures {
    since: Option<Instant>,
    left: usize,
    replaced: usize,
}

impl Departures {
    /// The peer is connected.
    pub fn connected(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Its connection has ended; gives for how long it is to be left alone at least. That is nothing where the network is to blame.
    pub fn disconnected(&mut self, now: Instant, reason: &DisconnectReason) -> Duration {
        let lived = self.since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if lived >= LASTED {
            self.left = 0;
        }
        if lived >= UNDISPUTED {
            self.replaced = 0;
        }
        let dropped = reason.origin() == Origin::Transport && lived < DROPPED;
        let (count, waits): (_, &[u64]) = match reason {
            DisconnectReason::Replaced => (&mut self.replaced, &REPLACED),
            _ if dropped || reason.origin() == Origin::Remote => (&mut self.left, &LEFT),
            _ => return Duration::ZERO,
        };
        let step = (*count).min(waits.len() - 1);
        *count = step + 1;
        Duration::from_secs(waits[step])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    /// What is waited for after so many connections that lived so long.
    fn waits(times: usize, lived: Duration, reason: &DisconnectReason) -> Vec<u64> {
        let (mut departures, mut now) = (Departures::default(), start());
        (0..times)
            .map(|_| {
                departures.connected(now);
                now += lived;
                let wait = departures.disconnected(now, reason);
                now += wait;
                wait.as_secs()
            })
            .collect()
    }

    #[test]
    fn who_leaves_again_and_again_is_left_alone() {
        let short = Duration::from_secs(1);
        assert_eq!(waits(6, short, &DisconnectReason::RemoteShutdown), [0, 5, 15, 30, 600, 600]);
        assert_eq!(waits(4, short, &DisconnectReason::Lost("reset".into())), [0, 5, 15, 30]);
        assert_eq!(waits(4, LASTED, &DisconnectReason::Replaced), [10, 30, 600, 600]);
    }

    #[test]
    fn what_the_network_took_and_what_lasted_is_no_departure() {
        assert_eq!(waits(9, DROPPED, &DisconnectReason::Lost("reset".into())), [0; 9]);
        assert_eq!(waits(9, Duration::ZERO, &DisconnectReason::PingTimeout), [0; 9]);
        assert_eq!(waits(9, LASTED, &DisconnectReason::RemoteShutdown), [0; 9]);
    }
}
