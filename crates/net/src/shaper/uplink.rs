//! Finds the rate of the node's uplink while many connections are held back by it: time and facts in, a rate out.
//!
//! On a queue that drops what comes last, the windows of many connections are a packet or two each, and whoever loses one
//! waits for a time-out while others go on. The node is told by nobody how fast its uplink is. But sockets take bytes, and
//! remotes acknowledge them, as fast as the line carries them: while all connections are held back at once, the total is the
//! rate of what they share. A little less than that is given to [`Shares`](super::shares::Shares), so that the queue
//! of the line drains and connections wait for turns in place of time-outs.
//!
//! The rate then grows slowly until the line holds connections back again. It is given up when few of them wait.
//!
//! How it goes wrong: peers whose own downlinks are full at the same time look like a full uplink. The rate then follows the
//! total of what they take, and stays some percent below it; where their shares differ, who wants less leaves the rest to
//! others.
//! If nearly all are held back by their own lines and few are not, the few get no more than those until the rate has grown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::shares;

/// With fewer connections held back at once, their own congestion control shares the line well enough.
pub(super) const MANY: usize = 8;

/// The rate is looked at so often.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// The same while there is none, and a round trip at least, of one that is no longer than [`LONGEST_RTT`].
const MEASURES: Duration = Duration::from_millis(125);
const LONGEST_RTT: Duration = Duration::from_secs(1);

/// So many periods, one after the other, have to show a full line before anything is done.
const SURE: u32 = 2;

/// What connections take of a line that is full does not grow by so many percent from one period to the next. Where their
/// congestion windows are still opening, it doubles in a round trip.
const GROWS: u64 = 40;

/// The most that counts as an uplink to be shared, in bytes per second: 100 Mbit/s. Windows are wide enough above.
const MOST: u64 = 12_500_000;

/// The time that a turn takes at a thousand bytes per second.
const TURN: Duration = Duration::from_millis(shares::MIN_TURN);

/// The least rate.
const LEAST: u64 = 16_000;

/// The rate begins so far below what was measured, since a full queue has to drain; and falls so far below what the line
/// took when it is full again. In percent.
const BEGINS_BELOW: u64 = 15;
const FALLS_BELOW: u64 = 8;

/// The line takes what it is given when it takes so many percent of the rate.
const ENOUGH: u64 = 97;

/// Periods after a fall in which what was sent before still shows.
const SETTLES: u32 = 2;

/// Near the rate at which the line was full it grows by so much in a period, elsewhere by so much; in thousandths.
const NEAR_GROWTH: u64 = 5;
const FAR_GROWTH: u64 = 50;

/// And by so much before the line was ever full: what was measured may be less than it takes.
const FIRST_GROWTH: u64 = 30;

/// Periods in which few waited, after which the rate is given up.
const QUIET: u32 = 8;

/// Decides whether connections share a rate, and which.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    period: Option<Period>,
    /// In bytes per second.
    rate: Option<u64>,
    /// The rate at which the line was full. Before there is a rate, the most that was measured.
    full: u64,
    /// What was measured in the period before, in bytes per second.
    last: u64,
    /// Periods that showed a full line.
    sure: u32,
    settling: u32,
    /// The line was full at a rate of ours.
    known: bool,
    /// What connections have sent since measuring began.
    sent: BTreeMap<u64, u64>,
    /// How long it took of late until all who waited had a turn.
    round: Duration,
    quiet: u32,
}

#[derive(Debug)]
struct Period {
    since: Instant,
    /// What lines have taken, or acknowledged, of connections held back.
    bytes: u64,
    /// What all connections have sent while there was no rate, near ones too.
    sent: u64,
    seen: BTreeSet<u64>,
    held: BTreeSet<u64>,
    /// The longest round trip of those.
    rtt: Duration,
    /// Who had to wait for a turn.
    waited: BTreeSet<u64>,
}

impl Period {
    fn new(since: Instant) -> Self {
        Self {
            since,
            bytes: 0,
            sent: 0,
            seen: BTreeSet::new(),
            held: BTreeSet::new(),
            rtt: Duration::ZERO,
            waited: BTreeSet::new(),
        }
    }

    /// In bytes per second.
    fn rate(&self, bytes: u64, now: Instant) -> u64 {
        let took = now.saturating_duration_since(self.since).as_nanos().max(1);
        (u128::from(bytes) * 1_000_000_000 / took) as u64
    }

    /// How long it is while there is no rate.
    fn measures(&self) -> Duration {
        self.rtt.clamp(MEASURES, LONGEST_RTT)
    }

    /// Many are held back, and so many percent or more of all.
    fn held(&self, percent: usize) -> bool {
        self.held.len() >= MANY && 100 * self.held.len() >= percent * self.seen.len()
    }
}

impl Uplink {
    /// The line of a connection has taken so many bytes of it; the shortest round trip, if the line holds the connection back.
    /// Whether the rate has changed.
    pub(super) fn took(&mut self, now: Instant, id: u64, bytes: u64, held: Option<Duration>) -> bool {
        let stale = |period: &Period| {
            self.rate.is_none() && now.saturating_duration_since(period.since) > 4 * period.measures()
        };
        if self.period.as_ref().is_some_and(stale) {
            *self = Self::default();
        }
        if self.period.is_none() {
            self.period = Some(Period::new(now));
            // These bytes were taken before.
            return false;
        }
        if let Some(period) = &mut self.period {
            period.bytes += bytes;
            period.seen.insert(id);
            if let Some(rtt) = held {
                period.held.insert(id);
                period.rtt = period.rtt.max(rtt);
            }
        }
        self.look(now)
    }

    /// Whether it is worth telling of what is [`sent`](Self::sent).
    pub(super) fn measures(&self) -> bool {
        self.rate.is_none() && self.period.is_some()
    }

    /// A connection has sent so many bytes while there was no rate.
    pub(super) fn sent(&mut self, id: u64, bytes: u64) {
        if self.rate.is_none()
            && let Some(period) = &mut self.period
        {
            period.sent += bytes;
            *self.sent.entry(id).or_default() += bytes;
        }
    }

    /// What connections had sent when the rate was found; once.
    pub(super) fn take_sent(&mut self) -> BTreeMap<u64, u64> {
        std::mem::take(&mut self.sent)
    }

    /// A connection has to wait for its turn.
    pub(super) fn waits(&mut self, id: u64) {
        if let Some(period) = &mut self.period {
            period.waited.insert(id);
        }
    }

    /// How long a connection waits for its turn.
    #[cfg(feature = "quic")]
    pub(super) fn round(&self) -> Duration {
        self.round
    }

    /// The rate, if there is one.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// When to [`look`](Self::look); `None` while there is no rate.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.rate.and(self.period.as_ref()).map(|period| period.since + PERIOD)
    }

    /// Whether the rate has changed by now.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let found = self.rate.is_some();
        let length = |period: &Period| if found { PERIOD } else { period.measures() };
        let over = |period: &mut Period| now.saturating_duration_since(period.since) >= length(period);
        let Some(period) = self.period.take_if(over) else { return false };
        let before = self.rate;
        match self.rate {
            None => self.measure(&period, now),
            Some(rate) => self.adapt(&period, rate, now),
        }
        // While lines hold nobody back, nothing is measured; the next that is held back begins it anew.
        if self.rate.is_some() || self.sure > 0 || period.bytes > 0 {
            self.period = Some(Period::new(now));
        }
        self.rate != before
    }

    fn measure(&mut self, period: &Period, now: Instant) {
        let rate = period.rate(period.bytes, now);
        // Where more is sent than that, whoever is held back is so by something else, such as a lack of processor time.
        if !period.held(75) || rate.max(period.rate(period.sent, now)) > MOST {
            (self.sure, self.full, self.last) = (0, 0, 0);
            if period.held.is_empty() {
                self.sent.clear();
            }
            return;
        }
        let last = std::mem::replace(&mut self.last, rate);
        let grows = rate > last + last * GROWS / 100;
        self.sure = if grows { 1 } else { self.sure + 1 };
        self.full = self.full.max(rate);
        if self.sure >= SURE {
            self.rate = Some(below(self.full, BEGINS_BELOW));
            (self.settling, self.quiet, self.known) = (SETTLES, 0, false);
        }
    }

    fn adapt(&mut self, period: &Period, rate: u64, now: Instant) {
        let taken = period.rate(period.bytes, now);
        let few_wait = period.waited.len() < MANY;
        // Where few wait for turns, it is the line that holds the others back.
        let held = period.held(90) || (few_wait && period.held(50));
        // A queue that others fill, or that still drains, does not get shorter by sending less.
        let is_full = held && taken < rate * ENOUGH / 100;
        self.round = TURN * period.waited.len() as u32 / (rate / 1_000).max(1) as u32;
        self.quiet = if few_wait && period.held.len() < MANY { self.quiet + 1 } else { 0 };
        if self.quiet >= QUIET {
            *self = Self::default();
        } else if self.settling > 0 {
            self.settling -= 1;
        } else if is_full {
            self.known = true;
            self.full = taken.max(rate / 2);
            self.rate = Some(below(self.full, FALLS_BELOW));
            self.settling = SETTLES;
        } else if !period.waited.is_empty() {
            let near = (self.full * 95 / 100..self.full * 110 / 100).contains(&rate);
            let growth = match self.known {
                false => FIRST_GROWTH,
                true if near => NEAR_GROWTH,
                true => FAR_GROWTH,
            };
            let rate = rate + (rate * growth).div_ceil(1_000);
            match rate > MOST {
                true => *self = Self::default(),
                false => self.rate = Some(rate),
            }
        }
    }
}

fn below(rate: u64, percent: u64) -> u64 {
    (rate - rate * percent / 100).max(LEAST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: Duration = Duration::from_millis(10);
    const RTT: Duration = Duration::from_millis(50);

    /// Connections that always have more to send, an uplink that they share, and a downlink for each. Queues hold a tenth of a
    /// second.
    struct World {
        uplink: Uplink,
        now: Instant,
        /// Bytes per second.
        line: f64,
        downlinks: Vec<f64>,
        queued: Vec<f64>,
        arriving: Vec<f64>,
        delivered: Vec<f64>,
    }

    impl World {
        fn new(line: f64, downlinks: Vec<f64>) -> Self {
            let none = vec![0.0; downlinks.len()];
            let (queued, arriving, delivered) = (none.clone(), none.clone(), none);
            let (uplink, now) = (Uplink::default(), crate::mux::start());
            Self { uplink, now, line, downlinks, queued, arriving, delivered }
        }

        fn step(&mut self) {
            let step = STEP.as_secs_f64();
            // Their own congestion control leaves each as much under way as its queue holds.
            let mut room: Vec<f64> = (0..self.downlinks.len())
                .map(|n| (self.downlinks[n] * 0.1 - self.arriving[n] - self.queued[n]).max(0.0))
                .collect();
            let free = (self.line * 0.1 - self.queued.iter().sum::<f64>()).max(0.0) + self.line * step;
            let mut left = self.uplink.rate().map_or(free, |rate| free.min(rate as f64 * step));
            let is_short = self.uplink.rate().is_some() && room.iter().sum::<f64>() > left && left < free;
            // Each the same, and what one leaves to the others.
            let mut order: Vec<usize> = (0..room.len()).collect();
            order.sort_by(|a, b| room[*a].total_cmp(&room[*b]));
            for (done, n) in order.iter().enumerate() {
                let sends = room[*n].min(left / (order.len() - done) as f64);
                self.queued[*n] += sends;
                room[*n] -= sends;
                left -= sends;
            }
            let all: f64 = self.queued.iter().sum();
            let passes = (self.line * step / all.max(1.0)).min(1.0);
            for (n, room) in room.into_iter().enumerate() {
                let passed = self.queued[n] * passes;
                self.queued[n] -= passed;
                let arrived = (self.arriving[n] + passed).min(self.downlinks[n] * step);
                self.arriving[n] += passed - arrived;
                self.delivered[n] += arrived;
                let held = all > self.line * 0.04 || self.arriving[n] > self.downlinks[n] * 0.04;
                self.uplink.took(self.now, n as u64, arrived as u64, held.then_some(RTT));
                if is_short && room > 1.0 {
                    self.uplink.waits(n as u64);
                }
            }
            self.now += STEP;
            self.uplink.look(self.now);
        }

        /// What all were given per second.
        fn run(&mut self, secs: u32) -> f64 {
            let before: f64 = self.delivered.iter().sum();
            (0..secs * 100).for_each(|_| self.step());
            (self.delivered.iter().sum::<f64>() - before) / f64::from(secs)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn the_rate_of_a_shared_line_is_found_soon_and_nearly_all_of_it_used(
            line in 100_000.0..10_000_000.0, count in MANY..100,
        ) {
            let mut world = World::new(line, vec![1e9; count]);
            world.run(1);
            let rate = world.uplink.rate().expect("found") as f64;
            prop_assert!((0.8 * line..1.1 * line).contains(&rate), "{rate} of {line}");
            prop_assert!(world.run(3) >= 0.88 * line);
            prop_assert!(world.run(20) >= 0.95 * line);
            // It becomes faster, and slower.
            world.line = 2.0 * line;
            world.run(10);
            prop_assert!(world.run(10) >= 0.9 * (2.0 * line).min(MOST as f64));
            world.line = line / 2.0;
            world.run(5);
            prop_assert!(world.uplink.rate().is_none_or(|rate| (rate as f64) < 0.6 * line));
        }

        #[test]
        fn peers_with_slow_downlinks_of_their_own_lose_little(
            downlinks in proptest::collection::vec(20_000.0..200_000.0, 10..60),
        ) {
            let all: f64 = downlinks.iter().sum();
            let mut world = World::new(1e9, downlinks);
            world.run(5);
            prop_assert!(world.run(20) >= 0.9 * all);
        }

        #[test]
        fn neither_few_nor_fast_connections_are_touched(line in 100_000.0..200_000_000.0, count in 1..60_usize) {
            prop_assume!(count < MANY || line > 1.2 * MOST as f64);
            let mut world = World::new(line, vec![1e9; count]);
            for _ in 0..300 {
                world.step();
                prop_assert_eq!(world.uplink.rate(), None);
            }
        }
    }

    #[test]
    fn some_fast_peers_among_slow_ones_are_not_slowed_to_their_rate() {
        let downlinks: Vec<f64> = (0..50).map(|n| if n < 40 { 20_000.0 } else { 400_000.0 }).collect();
        let mut world = World::new(1e9, downlinks);
        world.run(5);
        let before: f64 = world.delivered[40..].iter().sum();
        world.run(20);
        let fast = (world.delivered[40..].iter().sum::<f64>() - before) / 20.0;
        assert!(fast >= 0.85 * 4_000_000.0, "{fast}");
    }

    #[test]
    fn where_more_is_sent_than_an_uplink_takes_there_is_none() {
        for (sent, found) in [(1_000, true), (MOST / 80, false)] {
            let mut world = World::new(1_000_000.0, vec![1e9; 50]);
            // A connection to a near remote.
            (0..100).for_each(|_| {
                world.uplink.sent(99, sent);
                world.step();
            });
            assert_eq!(world.uplink.rate().is_some(), found, "{sent}");
        }
    }

    #[test]
    fn it_is_given_up_when_the_line_takes_more_than_an_uplink_does() {
        let mut world = World::new(10_000_000.0, vec![1e9; 50]);
        world.run(3);
        assert!(world.uplink.rate().is_some());
        world.line = 1e9;
        world.run(10);
        assert_eq!(world.uplink.rate(), None);
    }

    #[test]
    fn congestion_windows_that_open_are_no_full_line() {
        for rtt in [20, 100, 300, 900] {
            let mut uplink = Uplink::default();
            let start = crate::mux::start();
            // 20 connections of tcp, each with ten packets under way at first, and a socket that is full.
            for ms in (0..6 * rtt).step_by(10) {
                let bytes = 10.0 / rtt as f64 * 14_000.0 * (ms as f64 / rtt as f64).exp2();
                let now = start + Duration::from_millis(ms);
                let held = Some(Duration::from_millis(rtt));
                (0..20).for_each(|n| _ = uplink.took(now, n, bytes as u64, held));
                assert_eq!(uplink.rate(), None, "after {ms} ms with round trips of {rtt} ms");
            }
        }
    }

    #[test]
    fn it_is_given_up_when_few_wait() {
        let mut world = World::new(1_000_000.0, vec![1e9; 50]);
        world.run(3);
        assert!(world.uplink.rate().is_some());
        world.downlinks.truncate(3);
        world.run(4);
        assert_eq!((world.uplink.rate(), world.uplink.next_look()), (None, None));
    }

    #[test]
    fn what_was_sent_while_it_was_measured_is_known_once() {
        let now = crate::mux::start();
        let mut uplink = Uplink::default();
        uplink.sent(1, 1_000);
        assert!(uplink.take_sent().is_empty(), "nothing is measured");
        uplink.took(now, 1, 0, Some(RTT));
        uplink.sent(1, 1_000);
        uplink.sent(1, 500);
        assert_eq!(uplink.take_sent().into_iter().collect::<Vec<_>>(), [(1, 1_500)]);
        assert!(uplink.take_sent().is_empty());
    }
}
