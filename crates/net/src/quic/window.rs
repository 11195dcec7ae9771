//! How much a remote may send on a connection before it is read.
//!
//! QUIC has two levels of credit, one per stream and one per connection, and a byte counts against both until it is
//! read. quinn fixes a stream's window when the connection begins, so that one is wide from the start ([`stream_window`]),
//! and what bounds the memory of a connection is its own window. It begins narrow and follows what is delivered in a
//! round trip: [`Window`] decides that, [`Credit`](super::credit::Credit) applies it.
//!
//! What exceeds the guaranteed part is lent from the node's byte budget. A connection that has become slow gives back: credit
//! that it has consumed is not renewed. Credit that was promised cannot be taken back before.
//!
//! Streams that nobody reads fill the connection's window and would stop the others. A remote says when it is blocked by the
//! connection's window (`DATA_BLOCKED`); while some streams hold data that nobody reads, the window then grows by one
//! stream's, so that the others go on.

use std::time::{Duration, Instant};

use p2p_core::{ByteBudget, Reservation};
use quinn::VarInt;

use crate::NetConfig;
use crate::mux::EARLY_BYTES;
use crate::shortest::Shortest;

/// Streams that may each hold their whole window unread without stopping the others. With the default limits a stream has
/// a window of 3.3 MiB: 137 Mbit/s at a round-trip time of 200 ms.
const STALLED_STREAMS: u32 = 7;

/// The guaranteed part of a connection's window, in guaranteed stream windows. It is not reserved: its sum is bounded by
/// the number of connections.
const GUARANTEED_STREAMS: u32 = 16;

/// Where the node has a download rate, a stream's window holds what that carries in this part of a second: what is sent
/// before anything is read does not wait for the rate, and streams that wait for it must leave room to others.
const SOON: u64 = 4;

/// A window is wide enough when it holds what is delivered in so many round trips: the sender never waits for credit then,
/// not even while its transport doubles what it sends from one round trip to the next.
const ROUND_TRIPS: u32 = 4;

/// A window is wider than needed when it holds what is delivered in so many round trips, and in [`SLOW`].
const SLOW_ROUND_TRIPS: u32 = 16;
const SLOW: Duration = Duration::from_secs(1);

/// One step of growth takes at most this part of what is left of quic's half of the byte budget.
const SHARE: usize = 8;

/// So many windows are read between two looks where no stream stops the others.
const OFTEN: u64 = 16;

/// The window of each stream.
pub(super) fn stream_window(config: &NetConfig) -> VarInt {
    let soon = config.download.map_or(u32::MAX, |rate| u32::try_from(rate / SOON).unwrap_or(u32::MAX));
    VarInt::from_u32((lent(config) / STALLED_STREAMS).min(soon).max(config.stream_window))
}

/// The window that a connection begins with.
pub(super) fn first_window(config: &NetConfig) -> VarInt {
    VarInt::from_u32(if config.early_streams.is_some() { EARLY_BYTES } else { guaranteed(config) })
}

fn guaranteed(config: &NetConfig) -> u32 {
    config.stream_window.saturating_mul(GUARANTEED_STREAMS)
}

/// The most that may be lent: what the streams of a connection may hold over tcp and tls too, less what is guaranteed here.
fn lent(config: &NetConfig) -> u32 {
    let streams = config.max_inbound_streams.saturating_sub(GUARANTEED_STREAMS);
    config.stream_window.saturating_mul(streams).saturating_add(config.connection_window)
}

/// The window of one connection, without I/O: what was read in, its new size out.
#[derive(Debug)]
pub(super) struct Window {
    guaranteed: u64,
    /// The most that may be lent beyond that.
    most: u64,
    pub(super) size: u64,
    /// Of what was given back, what the remote may still use.
    owed: u64,
    looked: Instant,
    rtt: Shortest,
    /// Bytes read in all, as far as was looked.
    delivered: u64,
    budget: ByteBudget,
    reserved: Option<Reservation>,
}

impl Window {
    pub(super) fn new(config: &NetConfig, now: Instant) -> Self {
        Self {
            guaranteed: guaranteed(config).into(),
            most: lent(config).into(),
            size: guaranteed(config).into(),
            owed: 0,
            looked: now,
            rtt: Shortest::default(),
            delivered: 0,
            budget: config.budget.clone(),
            reserved: None,
        }
    }

    /// `bytes` were read since the last call, a quarter of the window or more; `rtt` is the round-trip time.
    pub(super) fn on_read(&mut self, now: Instant, bytes: u64, rtt: Duration) -> u64 {
        let took = now.saturating_duration_since(self.looked).max(Duration::from_nanos(1));
        self.looked = now;
        self.owed = self.owed.saturating_sub(bytes);
        self.delivered += bytes;
        self.rtt.measured(now, rtt);
        let in_time = |time: Duration| (u128::from(bytes) * time.as_nanos() / took.as_nanos()) as u64;
        if in_time(ROUND_TRIPS * rtt) > self.size {
            if !self.rtt.is_near() {
                self.grow(self.size);
            }
        } else if in_time((SLOW_ROUND_TRIPS * rtt).max(SLOW)) < self.size {
            let given_back = (self.size - self.guaranteed) / 2;
            self.size -= given_back;
            self.owed += given_back;
        }
        self.settle();
        self.size
    }

    /// The first measurement, of the handshake, for which nothing waited in a queue.
    pub(super) fn begins(&mut self, now: Instant, rtt: Duration) {
        self.rtt.measured(now, rtt);
    }

    /// Whether the window was read out again and again since so much was `delivered`, which is brought up to date: what
    /// blocks the remote is its own haste then, and no stream that nobody reads.
    pub(super) fn is_read_since(&self, delivered: &mut u64) -> bool {
        let read = self.delivered - std::mem::replace(delivered, self.delivered);
        read >= OFTEN * self.size
    }

    /// The remote is blocked while data lies here that nobody reads.
    pub(super) fn on_blocked(&mut self, stream_window: u64) -> u64 {
        self.grow(stream_window);
        self.size
    }

    fn grow(&mut self, by: u64) {
        let lent = self.size - self.guaranteed + self.owed;
        let left = (self.budget.limit() / 2).saturating_sub(self.budget.used()) / SHARE;
        let by = by.min(self.most.saturating_sub(lent)).min(left as u64);
        if self.budget.try_cover(&mut self.reserved, (lent + by) as usize, 1) {
            self.size += by;
        }
    }

    /// Gives the budget back what the remote can no longer use.
    fn settle(&mut self) {
        let lent = (self.size - self.guaranteed + self.owed) as usize;
        if let Some(reserved) = &mut self.reserved {
            reserved.shrink(reserved.bytes().saturating_sub(lent));
        }
    }

    /// The connection has ended.
    pub(super) fn end(&mut self) {
        self.reserved = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mux::start;
    use crate::shortest::NEAR;

    /// Reads at `rate` bytes per ms for so long, as far as the window and the round trip allow, a quarter of it at a time.
    fn run(window: &mut Window, now: &mut Instant, rate: u64, rtt: Duration, time: Duration) {
        let end = *now + time;
        while *now < end {
            let bytes = window.size / 4;
            let took = Duration::from_micros(1000 * bytes / rate).max(rtt / 4);
            *now += took;
            window.on_read(*now, bytes, rtt);
        }
    }

    #[test]
    fn a_window_follows_what_is_delivered_in_a_round_trip() {
        for (mbit, ms) in [(100, 100), (200, 200), (10, 50), (1000, 20)] {
            let config = NetConfig::default();
            let mut now = start();
            let mut window = Window::new(&config, now);
            let rate = mbit * 125;
            run(&mut window, &mut now, rate, Duration::from_millis(ms), Duration::from_secs(2));
            let needed = 2 * rate * ms;
            let most = window.guaranteed + window.most;
            assert!(window.size >= needed.min(most), "{mbit} Mbit/s at {ms} ms: {} of {needed}", window.size);
            assert!(window.size <= (8 * needed).max(window.guaranteed));
        }
    }

    #[test]
    fn a_window_to_a_near_remote_does_not_outgrow_the_caches() {
        let config = NetConfig::default();
        let mut now = start();
        let mut window = Window::new(&config, now);
        window.begins(now, NEAR / 4);
        let mut delivered = 0;
        // Full queues make the round trips longer.
        run(&mut window, &mut now, 500_000, 4 * NEAR, Duration::from_secs(5));
        assert_eq!(window.size, window.guaranteed);
        assert!(window.is_read_since(&mut delivered) && !window.is_read_since(&mut delivered));
        // The path has become longer for good.
        run(&mut window, &mut now, 500_000, 4 * NEAR, Duration::from_secs(20));
        assert!(window.size > window.guaranteed);
    }

    #[test]
    fn the_hundredth_connection_is_as_wide_as_the_first() {
        let config = NetConfig::default();
        let mut now = start();
        let idle: Vec<_> = (0..99).map(|_| Window::new(&config, now)).collect();
        let mut window = Window::new(&config, now);
        run(&mut window, &mut now, 12_500, Duration::from_millis(100), Duration::from_secs(2));
        assert!(window.size >= 2 * 1_250_000);
        drop(idle);
    }

    #[test]
    fn what_was_lent_comes_back_when_it_is_not_needed() {
        let config = NetConfig::default();
        let mut now = start();
        let mut window = Window::new(&config, now);
        let rtt = Duration::from_millis(100);
        run(&mut window, &mut now, 25_000, rtt, Duration::from_secs(3));
        let lent = config.budget.used();
        assert!(lent > 2 << 20);
        run(&mut window, &mut now, 100, rtt, Duration::from_secs(600));
        assert!(config.budget.used() < lent / 8, "{} of {lent}", config.budget.used());
        // And again.
        run(&mut window, &mut now, 25_000, rtt, Duration::from_secs(3));
        assert!(config.budget.used() >= lent / 2);
        window.end();
        assert_eq!(config.budget.used(), 0);
    }

    #[test]
    fn stalled_streams_leave_room_for_others_until_the_limit() {
        let config = NetConfig::default();
        let stream = stream_window(&config).into_inner();
        assert_eq!(stream, (23 << 20) / 7);
        let mut window = Window::new(&config, start());
        for stalled in 1..=u64::from(STALLED_STREAMS) {
            let size = window.on_blocked(stream);
            assert!(size > stalled * stream, "{size} with {stalled} streams unread");
        }
        for _ in 0..10 {
            assert!(window.on_blocked(stream) <= window.guaranteed + window.most);
        }
    }

    #[test]
    fn small_limits_are_kept() {
        let config = NetConfig { connection_window: 0, max_inbound_streams: 16, ..NetConfig::default() };
        let mut window = Window::new(&config, start());
        assert_eq!(window.on_blocked(1 << 20), 1 << 20);
        assert_eq!(stream_window(&config).into_inner(), 64 << 10);
    }

    proptest! {
        /// Whatever happens, what is promised beyond the guaranteed part is reserved, and quic leaves half of the budget.
        #[test]
        fn the_budget_bounds_the_sum(
            ops in prop::collection::vec((0usize..20, 0u64..20_000, 0u64..5_000, prop::bool::weighted(0.1)), 1..300),
        ) {
            let config = NetConfig { budget: ByteBudget::new(64 << 20), ..NetConfig::default() };
            let mut now = start();
            let mut all: Vec<_> = (0..20).map(|_| Window::new(&config, now)).collect();
            for (which, kib, ms, blocked) in ops {
                now += Duration::from_millis(ms);
                let window = &mut all[which];
                if blocked { window.on_blocked(4 << 20); } else { window.on_read(now, kib << 10, Duration::from_millis(50)); }
                let lent: u64 = all.iter().map(|window| window.size - window.guaranteed + window.owed).sum();
                prop_assert_eq!(config.budget.used() as u64, lent);
                prop_assert!(config.budget.used() <= config.budget.limit() / 2);
                prop_assert!(all.iter().all(|window| window.size >= window.guaranteed));
            }
            all.iter_mut().for_each(Window::end);
            prop_assert_eq!(config.budget.used(), 0);
        }
    }
}
