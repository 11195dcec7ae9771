//! Keep-alive: when to ping, whether the peer lives, and how far away it is. No I/O.

use std::time::{Duration, Instant};

/// When to ping and how long to wait.
#[derive(Debug, Clone, Copy)]
pub struct PingTimes {
    /// From one ping to the next.
    pub interval: Duration,
    /// From the moment the transport has taken the ping to the first byte that must have come from the peer.
    pub timeout: Duration,
    /// From a ping to its pong, whatever else comes: a peer that answers nothing for so long takes nothing.
    pub stall: Duration,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send a ping with this number, and call [`Ping::taken`] when the transport has taken it.
    Send(u64),
    /// The peer is gone: nothing came from it.
    TimedOut,
    /// The peer, or the way to it, takes nothing.
    Stalled,
}

/// The keep-alive of one connection. Any growth of the bytes received is life; only a pong says that the peer still
/// reads.
#[derive(Debug)]
pub struct Ping {
    times: PingTimes,
    next: Instant,
    number: u64,
    outstanding: Option<Outstanding>,
    rtt: Rtt,
}

#[derive(Debug)]
struct Outstanding {
    sent: Instant,
    /// The transport has it since, and had received so many bytes when the wait began.
    taken: Option<(Instant, u64)>,
}

impl Ping {
    /// The first ping, which gives the first round-trip time, comes after `first`.
    pub fn new(times: PingTimes, first: Duration, now: Instant) -> Self {
        Self { times, next: now + first.min(times.interval), number: 0, outstanding: None, rtt: Rtt::default() }
    }

    /// When [`poll`](Self::poll) has something to say next.
    pub fn deadline(&self) -> Instant {
        let Some(outstanding) = &self.outstanding else { return self.next };
        let stalled = outstanding.sent + self.times.stall;
        match outstanding.taken {
            Some((since, _)) => stalled.min(since + self.times.timeout),
            None => stalled,
        }
    }

    /// What is due now, given the bytes received on the connection so far. `number` is for the ping, should one be due: a
    /// random one, so that nobody can answer what it has not read.
    pub fn poll(&mut self, now: Instant, received: u64, number: impl FnOnce() -> u64) -> Option<Due> {
        let Some(outstanding) = &mut self.outstanding else {
            if now < self.next {
                return None;
            }
            self.number = number();
            self.next = now + self.times.interval;
            self.outstanding = Some(Outstanding { sent: now, taken: None });
            return Some(Due::Send(self.number));
        };
        if now >= outstanding.sent + self.times.stall {
            return Some(Due::Stalled);
        }
        match &mut outstanding.taken {
            Some((since, before)) if now >= *since + self.times.timeout => {
                if received == *before {
                    return Some(Due::TimedOut);
                }
                (*since, *before) = (now, received);
                None
            }
            _ => None,
        }
    }

    /// The transport has taken the ping; so many bytes had been received by then.
    pub fn taken(&mut self, now: Instant, received: u64) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.taken.get_or_insert((now, received));
        }
    }

    /// Whether a ping waits for the transport to take it.
    pub fn is_waiting_for_transport(&self) -> bool {
        self.outstanding.as_ref().is_some_and(|outstanding| outstanding.taken.is_none())
    }

    /// A pong has come; `false` when nobody asked for it.
    pub fn pong(&mut self, now: Instant, number: u64) -> bool {
        match &self.outstanding {
            Some(outstanding) if number == self.number => {
                self.rtt.sample(now.saturating_duration_since(outstanding.sent));
                self.outstanding = None;
                // An interval shorter than the round trip must not turn into a flood.
                self.next = self.next.max(now + self.times.interval.min(Duration::from_millis(1)));
                true
            }
            _ => false,
        }
    }

    /// Pings at once, unless one is under way: something looks wrong.
    pub fn probe(&mut self, now: Instant) {
        if self.outstanding.is_none() {
            self.next = now;
        }
    }

    /// The smoothed round-trip time, after the first pong.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.smoothed
    }
}

/// Smooths round-trip times (RFC 6298 §2: the new sample weighs an eighth).
#[derive(Debug, Default)]
struct Rtt {
    smoothed: Option<Duration>,
}

impl Rtt {
    fn sample(&mut self, sample: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => sample,
            Some(smoothed) => (smoothed * 7 + sample) / 8,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMES: PingTimes = PingTimes {
        interval: Duration::from_secs(20),
        timeout: Duration::from_secs(5),
        stall: Duration::from_secs(30),
    };

    const NUMBER: fn() -> u64 = || 7;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn pinged() -> (Ping, Instant) {
        let start = crate::clock::now();
        let mut ping = Ping::new(TIMES, secs(100), start);
        assert_eq!(ping.deadline(), start + secs(20), "the first one is never later than the interval");
        assert_eq!(ping.poll(start + secs(19), 0, NUMBER), None);
        assert_eq!(ping.poll(start + secs(20), 0, NUMBER), Some(Due::Send(7)));
        (ping, start + secs(20))
    }

    #[test]
    fn a_pong_gives_the_round_trip_and_the_next_ping_comes_in_its_time() {
        let (mut ping, at) = pinged();
        ping.taken(at, 0);
        assert!(!ping.pong(at + secs(1), 8), "not the number that was sent");
        assert!(ping.pong(at + secs(1), 7));
        assert_eq!(ping.rtt(), Some(secs(1)));
        assert!(!ping.pong(at + secs(1), 7), "answered already");
        assert_eq!(ping.poll(at + secs(20), 0, NUMBER), Some(Due::Send(7)));
        assert!(ping.pong(at + secs(29), 7));
        assert_eq!(ping.rtt(), Some(secs(2)), "(7 × 1 s + 9 s) / 8");
    }

    #[test]
    fn silence_after_the_transport_took_the_ping_is_a_time_out() {
        let (mut ping, at) = pinged();
        ping.taken(at + secs(3), 10);
        assert_eq!(ping.deadline(), at + secs(8));
        assert_eq!(ping.poll(at + secs(7), 10, NUMBER), None);
        assert_eq!(ping.poll(at + secs(8), 10, NUMBER), Some(Due::TimedOut));
    }

    #[test]
    fn any_byte_is_life_but_without_a_pong_the_peer_is_stalled_in_the_end() {
        let (mut ping, at) = pinged();
        ping.taken(at, 0);
        for n in 1..6 {
            assert_eq!(ping.poll(at + secs(5 * n), n, NUMBER), None);
        }
        assert_eq!(ping.poll(at + secs(30), 6, NUMBER), Some(Due::Stalled));
    }

    #[test]
    fn a_ping_that_the_transport_does_not_take_is_a_stall_not_a_time_out() {
        let (mut ping, at) = pinged();
        assert!(ping.is_waiting_for_transport());
        assert_eq!(ping.deadline(), at + secs(30));
        assert_eq!(ping.poll(at + secs(29), 0, NUMBER), None);
        assert_eq!(ping.poll(at + secs(30), 0, NUMBER), Some(Due::Stalled));
    }

    #[test]
    fn a_probe_pings_at_once_and_only_once() {
        let start = crate::clock::now();
        let mut ping = Ping::new(TIMES, secs(20), start);
        ping.probe(start + secs(1));
        assert_eq!(ping.poll(start + secs(1), 0, NUMBER), Some(Due::Send(7)));
        ping.probe(start + secs(2));
        assert_eq!(ping.poll(start + secs(2), 0, NUMBER), None);
    }

    proptest! {
        /// A peer that answers every ping within the time-out is never declared gone, whatever else happens.
        #[test]
        fn who_answers_stays(steps in prop::collection::vec((0u64..3000, any::<bool>()), 1..200)) {
            let mut now = crate::clock::now();
            let mut ping = Ping::new(TIMES, secs(1), now);
            for (ms, probe) in steps {
                now += Duration::from_millis(ms);
                if probe { ping.probe(now); }
                match ping.poll(now, 0, NUMBER) {
                    Some(Due::Send(n)) => {
                        ping.taken(now, 0);
                        now += Duration::from_millis(ms % 100);
                        prop_assert!(ping.pong(now, n));
                    }
                    other => prop_assert_eq!(other, None),
                }
                prop_assert!(ping.deadline() <= now + TIMES.interval);
            }
        }
    }
}
