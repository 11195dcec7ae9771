//! Keep-alive: when to ping, whether the peer lives, and how far away it is. No I/O.
//!
//! A peer is given up [`PingTimes::give_up`] after the last sign that it lives, however many pings were sent and for
//! however long they wait in full queues: TCP and QUIC recover by themselves from an outage of that length, and a
//! connection that their recovery would have saved must not be ended before. What counts as liveness is a number that
//! the connection raises with everything that comes from the remote; it is looked at every [`PingTimes::tick`], so, where
//! the connection does not say when that was, a silent peer is given up at most one tick late, and never early.

use std::time::{Duration, Instant};

/// When to ping and how long to wait.
#[derive(Debug, Clone, Copy)]
pub struct PingTimes {
    /// From one ping to the next.
    pub interval: Duration,
    /// How much longer than one interval a peer may be silent.
    pub timeout: Duration,
    /// How long a peer that is alive may leave a ping unanswered: it reads nothing then, or takes nothing.
    pub stall: Duration,
}

/// The looks at the liveness within [`PingTimes::give_up`].
const TICKS: u32 = 16;

/// Pings that may be left out in a row because one of the remote's has come.
const MAX_SPARED: u32 = 3;

impl PingTimes {
    /// How long a silent peer is waited for.
    pub fn give_up(&self) -> Duration {
        self.interval.saturating_add(self.timeout)
    }

    /// The time between two looks at the liveness.
    pub fn tick(&self) -> Duration {
        self.give_up() / TICKS
    }

    /// A silence that is longer was an outage: what a peer failed to answer before it says nothing.
    fn outage(&self) -> Duration {
        self.stall / 2
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send a ping with this number.
    Send(u64),
    /// The peer is gone: nothing came from it.
    TimedOut,
    /// The peer lives, but reads nothing, or takes nothing.
    Stalled,
}

/// The keep-alive of one connection. Any growth of the liveness keeps the peer; only a pong says that it still reads.
#[derive(Debug)]
pub struct Ping {
    times: PingTimes,
    next: Instant,
    number: u64,
    /// When the ping that is not yet answered was sent.
    sent: Option<Instant>,
    /// Pings left out since the last one.
    spared: u32,
    /// The liveness at the last look, when that was, and when it was last found grown.
    liveness: u64,
    looked: Instant,
    heard: Instant,
    /// The end of the last outage.
    since: Instant,
    rtt: Rtt,
}

impl Ping {
    /// The first ping, which gives the first round-trip time, comes after `first`. `liveness` is that of the connection
    /// so far.
    pub fn new(times: PingTimes, first: Duration, now: Instant, liveness: u64) -> Self {
        Self {
            times,
            next: now + first.min(times.interval),
            number: 0,
            sent: None,
            spared: 0,
            liveness,
            looked: now,
            heard: now,
            since: now,
            rtt: Rtt::default(),
        }
    }

    /// When [`poll`](Self::poll) has something to look at next.
    pub fn deadline(&self) -> Instant {
        let look = (self.looked + self.times.tick()).min(self.heard + self.times.give_up());
        if self.sent.is_none() { look.min(self.next) } else { look }
    }

    /// What is due now, given the liveness of the connection so far, and when it last grew if that is known. `number` is
    /// for the ping, should one be due: a random one, so that nobody can answer what it has not read.
    pub fn poll(
        &mut self,
        now: Instant,
        liveness: u64,
        heard: Option<Instant>,
        number: impl FnOnce() -> u64,
    ) -> Option<Due> {
        self.look(now, liveness, heard);
        if now >= self.heard + self.times.give_up() {
            return Some(Due::TimedOut);
        }
        match self.sent {
            Some(sent) if self.is_stalled(now, sent) => Some(Due::Stalled),
            Some(_) => None,
            None if now < self.next => None,
            None => {
                self.number = number();
                self.next = now + self.times.interval;
                self.sent = Some(now);
                self.spared = 0;
                Some(Due::Send(self.number))
            }
        }
    }

    fn look(&mut self, now: Instant, liveness: u64, heard: Option<Instant>) {
        if liveness != self.liveness {
            if now.saturating_duration_since(self.heard) >= self.times.outage() + self.times.tick() {
                self.since = now;
            }
            self.liveness = liveness;
            self.heard = heard.map_or(now, |heard| heard.clamp(self.heard, now));
        }
        self.looked = now;
    }

    /// A peer that shows liveness for as long as `stall` and answers nothing meanwhile is stalled. Outages do not count,
    /// so that what waits for the transport's recovery is waited for; but a peer that feigns one after the other is
    /// given up too.
    fn is_stalled(&self, now: Instant, sent: Instant) -> bool {
        self.heard.saturating_duration_since(sent.max(self.since)) >= self.times.stall
            || now.saturating_duration_since(sent) >= self.times.stall + self.times.give_up()
    }

    /// Whether a ping waits for its pong.
    pub fn is_unanswered(&self) -> bool {
        self.sent.is_some()
    }

    /// A pong has come; `false` when nobody asked for it.
    pub fn pong(&mut self, now: Instant, number: u64) -> bool {
        match self.sent {
            Some(sent) if number == self.number => {
                self.rtt.sample(now.saturating_duration_since(sent));
                self.sent = None;
                self.heard = now;
                // An interval shorter than the round trip must not turn into a flood.
                self.next = self.next.max(now + self.times.interval.min(Duration::from_millis(1)));
                true
            }
            _ => false,
        }
    }

    /// A ping of the remote's has come: it spares one of ours, but not each one, since only a pong says that the remote
    /// reads.
    pub fn pinged(&mut self, now: Instant) {
        if self.sent.is_none() && self.rtt.smoothed.is_some() && self.spared < MAX_SPARED {
            self.spared += 1;
            self.next = now + self.times.interval + self.times.tick();
        }
    }

    /// Pings at once, unless one is under way: something looks wrong.
    pub fn probe(&mut self, now: Instant) {
        if self.sent.is_none() {
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
        timeout: Duration::from_secs(30),
        stall: Duration::from_secs(30),
    };

    const NUMBER: fn() -> u64 = || 7;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Pinged at the end of the first interval, when something has just been heard: the liveness is 1.
    fn pinged() -> (Ping, Instant) {
        let start = crate::clock::now();
        let mut ping = Ping::new(TIMES, secs(100), start, 0);
        assert_eq!(ping.poll(start + secs(19), 0, None, NUMBER), None);
        assert_eq!(ping.deadline(), start + secs(20), "the first one is never later than the interval");
        assert_eq!(ping.poll(start + secs(20), 1, None, NUMBER), Some(Due::Send(7)));
        (ping, start + secs(20))
    }

    /// Polls whenever a look is due, with a liveness that grows as `heard` says, and gives what ended it and when.
    fn play(ping: &mut Ping, start: Instant, heard: impl Fn(Duration) -> u64) -> (Due, Duration) {
        loop {
            let now = ping.deadline();
            let at = now - start;
            assert!(at < secs(1000), "it never ends");
            match ping.poll(now, heard(at), None, NUMBER) {
                Some(due @ (Due::TimedOut | Due::Stalled)) => return (due, at),
                Some(Due::Send(_)) | None => {}
            }
        }
    }

    #[test]
    fn a_pong_gives_the_round_trip_and_the_next_ping_comes_in_its_time() {
        let (mut ping, at) = pinged();
        assert!(!ping.pong(at + secs(1), 8), "not the number that was sent");
        assert!(ping.pong(at + secs(1), 7));
        assert_eq!(ping.rtt(), Some(secs(1)));
        assert!(!ping.pong(at + secs(1), 7), "answered already");
        assert_eq!(ping.poll(at + secs(20), 1, None, NUMBER), Some(Due::Send(7)));
        assert!(ping.pong(at + secs(29), 7));
        assert_eq!(ping.rtt(), Some(secs(2)), "(7 × 1 s + 9 s) / 8");
    }

    #[test]
    fn a_silent_peer_is_given_up_interval_and_time_out_after_its_last_byte() {
        for last in [0, 7, 20, 29, 61] {
            let start = crate::clock::now();
            let mut ping = Ping::new(TIMES, secs(1), start, 0);
            // A byte each second until the last.
            let (due, at) = play(&mut ping, start, |at| at.as_secs().min(last));
            // Nothing is answered, so what lives for longer than `stall` is stalled.
            let expected = if Duration::from_secs(last) > TIMES.stall { Due::Stalled } else { Due::TimedOut };
            assert_eq!(due, expected, "last heard after {last} s");
            if due == Due::TimedOut {
                let silent = at - secs(last);
                assert!(silent >= TIMES.give_up(), "given up early: after {silent:?}");
                assert!(silent <= TIMES.give_up() + TIMES.tick() + secs(1), "given up late: after {silent:?}");
            }
        }
    }

    #[test]
    fn an_outage_that_the_transport_outlives_ends_nothing() {
        // 20 s without a packet, the next retransmission 18 s after the line is back, and only then bytes and the pong.
        let (mut ping, at) = pinged();
        for ms in (0..38_000).step_by(500) {
            assert_eq!(ping.poll(at + Duration::from_millis(ms), 1, None, NUMBER), None, "after {ms} ms");
        }
        // Bytes of other streams come first, for as long as the queues take.
        for s in 38..60 {
            assert_eq!(ping.poll(at + secs(s), s, None, NUMBER), None, "after {s} s");
        }
        assert!(ping.pong(at + secs(60), 7));
    }

    #[test]
    fn a_peer_that_lives_and_answers_nothing_is_stalled() {
        let (mut ping, start) = pinged();
        let (due, at) = play(&mut ping, start, |at| 1 + at.as_secs());
        assert_eq!(due, Due::Stalled);
        assert!(at >= TIMES.stall && at <= TIMES.stall + TIMES.tick() + secs(1), "{at:?}");
    }

    #[test]
    fn a_peer_that_feigns_outages_is_given_up_too() {
        let (mut ping, start) = pinged();
        // A byte every 25 s, which is an outage each time.
        let (due, at) = play(&mut ping, start, |at| 1 + at.as_secs() / 25);
        assert_eq!(due, Due::Stalled);
        assert!(at <= TIMES.stall + TIMES.give_up() + TIMES.tick(), "{at:?}");
    }

    #[test]
    fn a_probe_pings_at_once_and_only_once_and_shortens_nothing() {
        let start = crate::clock::now();
        let mut ping = Ping::new(TIMES, secs(20), start, 0);
        ping.probe(start + secs(1));
        assert_eq!(ping.poll(start + secs(1), 0, None, NUMBER), Some(Due::Send(7)));
        ping.probe(start + secs(2));
        assert_eq!(ping.poll(start + secs(2), 0, None, NUMBER), None);
        let (due, at) = play(&mut ping, start, |_| 0);
        assert_eq!((due, at), (Due::TimedOut, TIMES.give_up()));
    }

    #[test]
    fn pings_of_the_remote_spare_ours_but_not_all_of_them() {
        let (mut ping, at) = pinged();
        assert!(ping.pong(at, 7));
        let mut sent = 0;
        for second in 1..=400 {
            let now = at + secs(second);
            if second % 20 == 0 {
                ping.pinged(now);
            }
            if let Some(Due::Send(number)) = ping.poll(now, second, None, NUMBER) {
                sent += 1;
                assert!(ping.pong(now, number));
            }
        }
        assert!((4..=8).contains(&sent), "{sent} pings in 20 intervals");
    }

    proptest! {
        /// A peer that answers every ping within the time-out is never declared gone, whatever else happens.
        #[test]
        fn who_answers_stays(steps in prop::collection::vec((0u64..3000, any::<bool>(), any::<bool>()), 1..200)) {
            let mut now = crate::clock::now();
            let mut ping = Ping::new(TIMES, secs(1), now, 0);
            for (ms, probe, pinged) in steps {
                now += Duration::from_millis(ms);
                if probe { ping.probe(now); }
                if pinged { ping.pinged(now); }
                match ping.poll(now, 0, None, NUMBER) {
                    Some(Due::Send(n)) => {
                        now += Duration::from_millis(ms % 100);
                        prop_assert!(ping.pong(now, n));
                    }
                    other => prop_assert_eq!(other, None),
                }
                prop_assert!(ping.deadline() <= now + TIMES.tick());
            }
        }

        /// Nobody is given up before interval and time-out have passed in silence, and nobody later than a tick after.
        #[test]
        fn silence_alone_gives_a_peer_up(heard in prop::collection::vec(1u64..40_000, 1..20), probes in any::<bool>()) {
            let start = crate::clock::now();
            let mut ping = Ping::new(TIMES, secs(1), start, 0);
            let (mut now, mut last) = (start, start);
            let mut times: Vec<_> = heard.iter().scan(start, |at, ms| { *at += Duration::from_millis(*ms); Some(*at) }).collect();
            times.reverse();
            let mut liveness = 0;
            loop {
                now = ping.deadline().max(now);
                while times.last().is_some_and(|at| *at <= now) {
                    last = times.pop().unwrap_or(last);
                    liveness += 1;
                }
                if probes { ping.probe(now); }
                match ping.poll(now, liveness, None, NUMBER) {
                    Some(Due::TimedOut) => {
                        prop_assert!(now >= last + TIMES.give_up());
                        prop_assert!(now <= last + TIMES.give_up() + TIMES.tick());
                        break;
                    }
                    // Whoever is heard reads as well here.
                    Some(Due::Send(_)) | None => if liveness > 0 { ping.pong(now.min(last), 7); },
                    Some(Due::Stalled) => prop_assert!(false, "it answers"),
                }
            }
        }
    }
}
