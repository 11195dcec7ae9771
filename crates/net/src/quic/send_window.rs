//! How much of what is written quinn holds for a connection until it is acknowledged.
//!
//! Written data takes the remote's credit at once, sent or not. Were one stream to fill a wide window with data that the
//! line carries only seconds later, all others would wait for credit. So the window follows the congestion window: what
//! is under way and as much again, and the line never waits for us.
//!
//! A stream that has little to send must not wait either while another keeps the window full, which may take as long as a
//! lost packet takes to be sent again: each stream may exceed it by a little ([`Excess`]), and not again before it could
//! write within it. So what exceeds it is bounded, however long the window stays full. The stream that fills the window waits as
//! it should: where there is one stream only, nothing exceeds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use p2p_core::Runtime;

use crate::shaper::Shaper;
use crate::shortest::Shortest;

/// The window that a connection begins with, and the least.
pub(super) const LEAST: u64 = 512 << 10;

/// The most: 640 Mbit/s at a round-trip time of 50 ms.
const MOST: u64 = 8 << 20;

/// Where the node has an upload rate, the window holds what that carries in two round trips, or in so long: nothing is lost by
/// sending less than the line takes, so the congestion window grows without end.
const SOON: Duration = Duration::from_millis(125);

/// How often the congestion window is looked at, in parts of a round trip, and the least time between two looks.
const LOOKS: u32 = 4;
const LEAST_TIME: Duration = Duration::from_millis(1);

/// What a stream may write beyond the window, before it has to wait until it could write within it again.
const EXCESS: usize = 16 << 10;

/// Of how much that was written last it counts who has written it, at most.
const LATELY: u64 = 1 << 20;

/// What is left to a stream of [`EXCESS`], and its part in filling the window.
#[derive(Debug)]
pub(super) struct Excess {
    left: usize,
    /// Bytes that the stream has written lately, and where in those of all streams that began.
    written: u64,
    since: u64,
}

impl Excess {
    pub(super) fn new(window: &SendWindow) -> Self {
        Self { left: EXCESS, written: 0, since: window.written.load(Ordering::Relaxed) }
    }

    /// Whether the stream has written more lately than all others.
    fn fills(&mut self, all: u64) -> bool {
        let lately = all.saturating_sub(self.since);
        let fills = 2 * self.written > lately;
        if lately > LATELY {
            self.since = all - lately / 2;
            self.written /= 2;
        }
        fills
    }
}

/// The window of one connection.
#[derive(Debug)]
pub(super) struct SendWindow {
    state: Mutex<State>,
    /// Bytes that all streams have written.
    written: AtomicU64,
    /// The node's rate, if it has one.
    upload: Option<Arc<Shaper>>,
}

#[derive(Debug)]
struct State {
    size: u64,
    next: Option<Instant>,
    rtt: Shortest,
}

impl SendWindow {
    pub(super) fn new(upload: Option<Arc<Shaper>>) -> Self {
        Self {
            state: Mutex::new(State { size: LEAST, next: None, rtt: Shortest::default() }),
            written: AtomicU64::new(0),
            upload,
        }
    }

    /// A stream has written within the window.
    #[inline]
    pub(super) fn on_written(&self, excess: &mut Excess, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        excess.written += bytes as u64;
        excess.left = EXCESS;
    }

    /// A stream takes nothing more now, which may be because of this window.
    pub(super) fn on_full(&self, connection: &quinn::Connection, runtime: &dyn Runtime) {
        let now = runtime.now();
        // The state is valid after each statement.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next.is_some_and(|next| now < next) {
            return;
        }
        let path = connection.stats().path;
        state.next = Some(now + (path.rtt / LOOKS).max(LEAST_TIME));
        state.rtt.measured(now, path.rtt);
        let near = state.rtt.is_near();
        let rate = self.upload.as_ref().and_then(|upload| upload.rate(near));
        let size = wanted(path.cwnd, near, rate.map(|rate| in_time(rate, SOON.max(2 * path.rtt))));
        if size > state.size || size < state.size / 2 {
            state.size = size;
            drop(state);
            connection.set_send_window(size);
        }
    }

    /// Lets a stream that does not fill the window write, while it is full, what is left of its `excess`: `write` gets the
    /// most it may write, and gives what it has written.
    pub(super) fn exceed(
        &self,
        connection: &quinn::Connection,
        excess: &mut Excess,
        write: impl FnOnce(usize) -> usize,
    ) {
        let left = excess.left;
        if left > 0 && !excess.fills(self.written.load(Ordering::Relaxed)) {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            connection.set_send_window(2 * MOST);
            excess.left -= write(left).min(left);
            connection.set_send_window(state.size);
        }
    }
}

fn wanted(congestion_window: u64, near: bool, shaped: Option<u64>) -> u64 {
    // That is enough for 4 Gbit/s there. For each packet quinn goes through the pieces that are not acknowledged: with many
    // connections it spent a tenth of its time on those.
    if near {
        return LEAST;
    }
    let wanted = congestion_window.saturating_mul(2).saturating_add(LEAST / 4);
    wanted.min(shaped.unwrap_or(MOST)).clamp(LEAST, MOST)
}

fn in_time(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_is_under_way_and_as_much_again() {
        assert_eq!(wanted(12_000, false, None), LEAST);
        assert_eq!(wanted(1 << 20, false, None), (2 << 20) + LEAST / 4);
        assert_eq!(wanted(u64::MAX, false, None), MOST);
        assert_eq!(wanted(u64::MAX, true, None), LEAST);
        // And no more than what the node's rate carries.
        assert_eq!(wanted(u64::MAX, false, Some(1 << 20)), 1 << 20);
        assert_eq!(wanted(u64::MAX, false, Some(1)), LEAST);
        assert_eq!(in_time(1_000_000, SOON), 125_000);
    }

    #[test]
    fn who_writes_most_fills_the_window() {
        let window = SendWindow::new(None);
        let (mut bulk, mut little) = (Excess::new(&window), Excess::new(&window));
        let all = || window.written.load(Ordering::Relaxed);
        for _ in 0..1_000 {
            window.on_written(&mut bulk, 10_000);
            window.on_written(&mut little, 64);
            assert!(bulk.fills(all()) && !little.fills(all()));
        }
        // It stops, and is no longer in the way.
        for _ in 0..100_000 {
            window.on_written(&mut little, 64);
        }
        assert!(!bulk.fills(all()) || !bulk.fills(all()) || !bulk.fills(all()));
    }
}
