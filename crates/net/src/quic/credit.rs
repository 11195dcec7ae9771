//! Gives a remote the credit that a [`Window`] decides on, and finds out when the remote waits for more.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p_core::Runtime;
use quinn::VarInt;
use tokio::sync::Notify;

use super::window::{Window, stream_window};
use crate::NetConfig;

/// How long after a reader fell behind it is first looked whether the remote is blocked, and the longest time between
/// two looks.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Whether the remote waits for a wider window, from what it sends, without I/O.
///
/// A remote says once for each limit that it is blocked, and what it says may be heard while streams are still read. So
/// it counts as blocked until it sends again or the window has grown.
#[derive(Debug, Default)]
struct Blocked {
    /// How often it said so, and how much it sent, as far as was looked.
    said: u64,
    sent: u64,
    waits: bool,
}

impl Blocked {
    /// Both count from the connection's beginning. `is_read` says that what arrives is read soon; then a remote that has just
    /// said that it is blocked will send again without more room.
    fn look(&mut self, said: u64, sent: u64, is_read: bool) -> bool {
        let says = std::mem::replace(&mut self.said, said) != said;
        let sends = std::mem::replace(&mut self.sent, sent) != sent;
        self.waits = says || (self.waits && !sends);
        self.waits && !(sends && is_read)
    }

    /// If that is not enough, the remote says so again.
    fn has_room(&mut self) {
        self.waits = false;
    }
}

/// Applies a [`Window`] to a connection of quinn's.
#[derive(Debug)]
pub(super) struct Credit {
    window: Mutex<Window>,
    stream_window: u64,
    /// Bytes read since the window was last looked at, and how many are worth a look.
    read: AtomicU64,
    enough: AtomicU64,
    /// Streams whose reader has not found them empty.
    behind: AtomicUsize,
    /// Whoever watches wants to know of the next one that falls behind.
    watching: AtomicBool,
    fell_behind: Notify,
    /// The remote has what a connection begins with, and no more.
    early: AtomicBool,
}

impl Credit {
    /// For a connection with this round-trip time.
    pub(super) fn new(config: &NetConfig, now: Instant, rtt: Duration) -> Self {
        let mut window = Window::new(config, now);
        window.begins(now, rtt);
        Self {
            stream_window: stream_window(config).into_inner(),
            read: AtomicU64::new(0),
            enough: AtomicU64::new(window.size / 4),
            window: Mutex::new(window),
            behind: AtomicUsize::new(0),
            watching: AtomicBool::new(false),
            fell_behind: Notify::new(),
            early: AtomicBool::new(config.early_streams.is_some()),
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // The state is valid after each statement.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The remote is accepted: it may have more than what a connection begins with. Whether it had not been before.
    pub(super) fn accepted(&self, connection: &quinn::Connection) -> bool {
        let was_early = self.early.swap(false, Ordering::Relaxed);
        if was_early {
            self.apply(connection, self.window().size);
        }
        was_early
    }

    /// Whether the remote is still to be accepted.
    pub(super) fn is_early(&self) -> bool {
        self.early.load(Ordering::Relaxed)
    }

    /// `bytes` were read from a stream.
    #[inline]
    pub(super) fn on_read(&self, bytes: usize, connection: &quinn::Connection, runtime: &dyn Runtime) {
        let read = self.read.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if read >= self.enough.load(Ordering::Relaxed) {
            self.look(connection, runtime);
        }
    }

    #[cold]
    fn look(&self, connection: &quinn::Connection, runtime: &dyn Runtime) {
        let mut window = self.window();
        let read = self.read.swap(0, Ordering::Relaxed);
        let before = window.size;
        let size = window.on_read(runtime.now(), read, connection.rtt());
        drop(window);
        if size != before {
            self.apply(connection, size);
        }
    }

    fn apply(&self, connection: &quinn::Connection, size: u64) {
        self.enough.store(size / 4, Ordering::Relaxed);
        if !self.is_early() {
            connection.set_receive_window(VarInt::from_u64(size).unwrap_or(VarInt::MAX));
        }
    }

    /// Makes the remote acknowledge something, and changes nothing.
    pub(super) fn provoke(&self, connection: &quinn::Connection) {
        if !self.is_early() {
            let window = self.window();
            let [size, more] = [window.size, window.size + 1].map(|size| VarInt::from_u64(size).unwrap_or(VarInt::MAX));
            connection.set_receive_window(more);
            connection.set_receive_window(size);
        }
    }

    /// A stream holds data that its reader has not taken, as far as is known.
    pub(super) fn behind(&self) {
        self.behind.fetch_add(1, Ordering::Relaxed);
        // Not for each message of a stream that is read as it comes.
        if self.watching.load(Ordering::Relaxed) && self.watching.swap(false, Ordering::Relaxed) {
            self.fell_behind.notify_one();
        }
    }

    /// Its reader has found it empty, or it is over.
    pub(super) fn caught_up(&self) {
        self.behind.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sees to it, for as long as it is polled, that streams which nobody reads do not stop the others.
    pub(super) async fn watch(&self, connection: &quinn::Connection, runtime: &dyn Runtime) {
        let (mut blocked, mut delivered) = (Blocked::default(), 0);
        let mut wait = FIRST_LOOK;
        loop {
            if self.behind.load(Ordering::Relaxed) == 0 {
                self.watching.store(true, Ordering::Relaxed);
                // One may have fallen behind in between.
                if self.behind.load(Ordering::Relaxed) == 0 {
                    self.fell_behind.notified().await;
                }
                wait = FIRST_LOOK;
            }
            if wait > FIRST_LOOK {
                self.watching.store(true, Ordering::Relaxed);
                if runtime.timeout(wait, self.fell_behind.notified()).await.is_ok() {
                    wait = FIRST_LOOK;
                    continue;
                }
            } else {
                runtime.sleep(wait).await;
            }
            wait = (2 * wait).min(LAST_LOOK);
            let heard = connection.stats().frame_rx;
            let mut window = self.window();
            let is_read = window.is_read_since(&mut delivered);
            if blocked.look(heard.data_blocked, heard.stream, is_read) && !self.is_early() {
                let before = window.size;
                let size = window.on_blocked(self.stream_window);
                drop(window);
                if size > before {
                    blocked.has_room();
                    self.apply(connection, size);
                    wait = FIRST_LOOK;
                }
            }
        }
    }

    /// The connection has ended: what was promised is worth nothing any more.
    pub(super) fn end(&self) {
        self.window().end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_that_is_blocked_while_others_are_read_is_not_forgotten() {
        let mut blocked = Blocked::default();
        assert!(!blocked.look(0, 10, true));
        // It has sent until the end of the window, and the others' part of that is read.
        assert!(!blocked.look(1, 20, true));
        // Nothing came: the rest of the window is filled by who is not read.
        assert!(blocked.look(1, 20, true));
        // There was no budget.
        assert!(blocked.look(1, 20, false));
        blocked.has_room();
        assert!(!blocked.look(1, 20, false));
        assert!(!blocked.look(1, 30, false));
        assert!(blocked.look(2, 40, false));
    }

    #[test]
    fn a_remote_that_was_blocked_by_its_own_haste_gets_no_more_room() {
        let mut blocked = Blocked::default();
        for n in 1..10 {
            assert!(!blocked.look(n, 100 * n, true));
        }
        assert!(!blocked.look(9, 1000, false), "it sends again");
        assert!(!blocked.look(9, 1000, false), "and has nothing more to send");
    }
}
