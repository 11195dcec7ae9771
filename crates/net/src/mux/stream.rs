//! The two directions of one stream.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::frame::MAX_DATA;
use super::inbox::Inbox;
use super::out::Out;
use crate::shortest::NEAR;
use crate::{Error, Result};

/// A window in which both sides are always busy: while the reader works on half of it, the other half is on its way.
const FRAMES_UNDER_WAY: u32 = 8 * MAX_DATA as u32;

/// A window is wide enough when half of it takes longer than so many round trips to deliver: the sender never waits for
/// credit then, not even while its transport doubles what it sends from one round trip to the next.
const ROUND_TRIPS: u32 = 2;

/// A stream that takes longer than this, and than [`SLOW_ROUND_TRIPS`], to deliver half of its window gives back half of
/// what it has borrowed.
const SLOW: Duration = Duration::from_secs(1);
const SLOW_ROUND_TRIPS: u32 = 16;

/// The direction from this side to the remote.
#[derive(Debug)]
pub(super) struct Send {
    /// Bytes that the remote still accepts.
    pub(super) credit: u32,
    /// Is to go ahead of other streams.
    pub(super) urgent: bool,
    /// The round of `out` in which data was last queued behind that of other streams.
    behind: Option<u64>,
    /// Finished, reset or dropped on this side.
    pub(super) done: bool,
    /// Finished: the remote may read to the end.
    pub(super) finished: bool,
    /// The remote reads no more, and says why.
    pub(super) stopped: Option<u32>,
    /// The remote did not accept the stream.
    pub(super) refused: bool,
    pub(super) waker: Option<Waker>,
}

impl Send {
    pub(super) fn new(credit: u32) -> Self {
        Self {
            credit,
            urgent: false,
            behind: None,
            done: false,
            finished: false,
            stopped: None,
            refused: false,
            waker: None,
        }
    }

    /// Whether what is queued next goes ahead of other streams: not before what this one has waiting behind them.
    pub(super) fn goes_ahead(&mut self, out: &Out) -> bool {
        if self.urgent && self.behind != Some(out.round()) {
            return true;
        }
        self.behind = Some(out.round());
        false
    }

    /// Whether something may be written.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self { refused: true, .. } => Err(Error::Refused),
            Self { stopped: Some(code), .. } => Err(Error::Stopped(*code)),
            Self { done: true, .. } => Err(Error::Finished),
            _ => Ok(()),
        }
    }
}

/// The direction from the remote to this side.
#[derive(Debug)]
pub(super) struct Recv {
    pub(super) inbox: Inbox,
    /// What the remote may have outstanding: sent and unread, or not yet sent.
    window: u32,
    /// The part of `window` that comes from the connection's shared window.
    pub(super) borrowed: u32,
    /// Bytes that the remote may still send.
    pub(super) credit: u32,
    /// Bytes read since credit was last granted.
    read: u32,
    /// When that was.
    granted: Option<Instant>,
    /// The reader found nothing since then: it keeps up.
    pub(super) waited: bool,
    /// The remote's end of the stream: a code if it was reset.
    pub(super) end: Option<Option<u32>>,
    /// This side has seen the end, or dropped its handle.
    pub(super) done: bool,
    /// The remote does not wait to hear that the end was read, or what became of the rest.
    pub(super) silent: bool,
    pub(super) refused: bool,
    pub(super) waker: Option<Waker>,
}

impl Recv {
    pub(super) fn new(window: u32) -> Self {
        Self {
            inbox: Inbox::default(),
            window,
            borrowed: 0,
            credit: window,
            read: 0,
            granted: None,
            waited: false,
            end: None,
            done: false,
            silent: false,
            refused: false,
            waker: None,
        }
    }

    /// `len` bytes were read; whether enough were since the last grant that it is time for the next.
    pub(super) fn on_read(&mut self, len: usize) -> bool {
        // What is read was within the window, which is a u32.
        self.read += len as u32;
        self.read >= self.window / 2 && self.end.is_none()
    }

    /// The credit to grant now, half of the window or more having been read.
    ///
    /// A window that limits the speed grows, by its own size, out of `shared`. It takes half of what is left at most, so
    /// that streams which then stall never use all of it up. `rtt` is the shortest round-trip time that was measured.
    pub(super) fn grant(&mut self, now: Instant, rtt: Option<Duration>, shared: &mut u32) -> u32 {
        let mut grant = std::mem::take(&mut self.read);
        let took = self.granted.replace(now).map(|before| now.saturating_duration_since(before));
        let keeps_up = std::mem::take(&mut self.waited);
        if keeps_up && self.limits_speed(took, rtt) {
            let growth = self.window.min(*shared / 2).min(u32::MAX - self.window);
            *shared -= growth;
            self.borrowed += growth;
            self.window += growth;
            grant += growth;
        } else if took.is_some_and(|took| took > SLOW && rtt.is_some_and(|rtt| took > SLOW_ROUND_TRIPS * rtt)) {
            let given_back = (self.borrowed / 2).min(grant);
            *shared += given_back;
            self.borrowed -= given_back;
            self.window -= given_back;
            grant -= given_back;
        }
        self.credit += grant;
        grant
    }

    fn limits_speed(&self, took: Option<Duration>, rtt: Option<Duration>) -> bool {
        // The remote had used most of it, or it is less than what keeps a few frames under way. Where the remote is near,
        // those are enough for 4 Gbit/s.
        self.credit < self.window / 4
            || self.window < FRAMES_UNDER_WAY
            || rtt.is_some_and(|rtt| rtt >= NEAR && took.is_none_or(|took| took < ROUND_TRIPS * rtt))
    }

    /// Panics if the remote could have more outstanding than the window.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check(&self, guaranteed: u32) {
        assert_eq!(self.window, guaranteed + self.borrowed, "a window and its parts");
        let outstanding = self.inbox.bytes() as u64 + u64::from(self.credit) + u64::from(self.read);
        assert!(outstanding <= u64::from(self.window), "{outstanding} bytes of a window of {}", self.window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u32 = 64 << 10;
    const SHARED: u32 = 16 << 20;
    const RTT: Duration = Duration::from_millis(100);

    /// A stream that receives so many bytes in each millisecond, whose reader waits for each.
    struct Fed {
        recv: Recv,
        shared: u32,
        now: Instant,
    }

    impl Fed {
        fn new() -> Self {
            Self { recv: Recv::new(WINDOW), shared: SHARED, now: crate::mux::clock::tests::start() }
        }

        fn run(&mut self, ms: u32, rate: usize) {
            for _ in 0..ms {
                self.now += Duration::from_millis(1);
                let len = rate.min(self.recv.credit as usize);
                self.recv.credit -= len as u32;
                self.recv.waited = true;
                if self.recv.on_read(len) {
                    self.recv.grant(self.now, Some(RTT), &mut self.shared);
                }
                self.recv.check(WINDOW);
                assert_eq!(self.recv.borrowed + self.shared, SHARED);
            }
        }
    }

    #[test]
    fn a_window_follows_what_is_delivered_in_a_round_trip() {
        // 10, 100 and 400 Mbit/s at 100 ms.
        for rate in [1_250, 12_500, 50_000] {
            let mut fed = Fed::new();
            fed.run(3_000, rate);
            let needed = rate as u32 * 100;
            let window = fed.recv.window;
            assert!(window >= 2 * needed.min(SHARED / 3), "{window} bytes for {needed} under way");
            assert!(window <= (16 * needed).max(2 * FRAMES_UNDER_WAY), "{window} bytes for {needed} under way");
        }
    }

    #[test]
    fn what_was_borrowed_is_given_back_by_a_stream_that_has_become_slow() {
        let mut fed = Fed::new();
        fed.run(3_000, 50_000);
        let fast = fed.recv.borrowed;
        // A fortieth of the speed.
        fed.run(60_000, 1_250);
        let slow = fed.recv.borrowed;
        assert!(slow <= fast / 4, "{slow} of {fast} bytes");
        // And faster again.
        fed.run(10_000, 50_000);
        assert!(fed.recv.borrowed >= fast / 2);
    }

    #[test]
    fn one_stream_leaves_half_of_what_is_left_to_others() {
        let mut fed = Fed::new();
        let mut shared = SHARED;
        for n in 1..6 {
            // As fast as its window lets it be.
            fed.recv = Recv::new(WINDOW);
            fed.shared = shared;
            let before = shared;
            for _ in 0..n {
                fed.recv.credit = 0;
                fed.recv.read = fed.recv.window;
                fed.recv.waited = true;
                fed.recv.grant(fed.now, Some(RTT), &mut fed.shared);
            }
            shared = fed.shared;
            assert!(shared > 0 && shared >= before / (1 << n), "{shared} of {before}");
        }
    }
}
