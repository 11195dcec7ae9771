//! How long a connection that was closed is kept: until its remote has heard of it.
//!
//! quinn keeps each for three probe time-outs (RFC 9000 §10.2), and tells a remote of the end whenever it still sends something.
//! A shutdown need not wait for so long. A remote that hears of the end says so, with a `CONNECTION_CLOSE` of its own (RFC 9000
//! §10.2.2 allows one, and quinn sends it): where one has come, or the remote was the one to close, there is nobody left to
//! tell. That takes a round trip.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p_core::{Runtime, TaskGroup};
use quinn::ConnectionError;
use tokio_util::sync::CancellationToken;

/// How long a remote is told of the end that does not say whether it has heard of it.
pub(super) const CLOSE_WAIT: Duration = Duration::from_millis(250);

/// The least pause between looks at whether a remote has heard, which quinn tells nobody. Pauses grow with the time that has
/// passed since the end, of which they are a quarter.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: u32 = 4;

/// The ends of all connections of one `Transports`.
#[derive(Debug)]
pub(super) struct Ends {
    /// One task for each connection, which lasts until its remote is told of the end.
    pub(super) connections: TaskGroup,
    shutting_down: CancellationToken,
    handshakes: Arc<Mutex<Handshakes>>,
    runtime: Arc<dyn Runtime>,
}

/// Connections that are not established: nothing of ours looks after them.
#[derive(Debug, Default)]
struct Handshakes {
    under_way: usize,
    /// When the last one was given up.
    given_up: Option<Instant>,
}

impl Ends {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self {
            connections: TaskGroup::new(runtime.clone()),
            shutting_down: CancellationToken::new(),
            handshakes: Arc::default(),
            runtime,
        }
    }

    /// Looks after the end of a connection.
    pub(super) fn of(&self, connection: &quinn::Connection) -> End {
        let (connection, shutting_down) = (connection.clone(), self.shutting_down.clone());
        End { connection, shutting_down, runtime: self.runtime.clone() }
    }

    /// A handshake begins.
    pub(super) fn handshake(&self) -> Unfinished {
        lock(&self.handshakes).under_way += 1;
        Unfinished { handshakes: self.handshakes.clone(), runtime: self.runtime.clone(), finished: false }
    }

    /// Whether there may be remotes in the middle of a handshake that have not heard of its end.
    pub(super) fn has_unfinished(&self, now: Instant) -> bool {
        let handshakes = lock(&self.handshakes);
        let lately = |at: Instant| now.saturating_duration_since(at) < CLOSE_WAIT;
        handshakes.under_way > 0 || handshakes.given_up.is_some_and(lately)
    }

    /// Waits until the remotes of all connections, which are closed, have heard of it, or until the deadline. Cancel-safe.
    pub(super) async fn all_told(&self, deadline: Instant) {
        self.shutting_down.cancel();
        let _ = self.runtime.timeout_at(deadline, self.connections.wait()).await;
        self.connections.shutdown().await;
    }
}

/// The end of one connection.
pub(super) struct End {
    connection: quinn::Connection,
    shutting_down: CancellationToken,
    runtime: Arc<dyn Runtime>,
}

impl End {
    /// Waits until the remote has heard of the end, or could have for [`CLOSE_WAIT`]. Looks closely during a shutdown only:
    /// before that nobody waits.
    pub(super) async fn told(self) {
        let began = self.runtime.now();
        let deadline = began + CLOSE_WAIT;
        if self.has_heard() {
            return;
        }
        self.shutting_down.run_until_cancelled(self.runtime.sleep_until(deadline)).await;
        loop {
            let now = self.runtime.now();
            if now >= deadline || self.has_heard() {
                return;
            }
            let pause = (now.saturating_duration_since(began) / LOOKS).max(LOOK);
            self.runtime.sleep_until((now + pause).min(deadline)).await;
        }
    }

    fn has_heard(&self) -> bool {
        let closed_here = matches!(self.connection.close_reason(), Some(ConnectionError::LocallyClosed));
        !closed_here || self.connection.stats().frame_rx.connection_close > 0
    }
}

/// A handshake that is under way, and given up if it is dropped before it has finished.
#[derive(Debug)]
pub(super) struct Unfinished {
    handshakes: Arc<Mutex<Handshakes>>,
    runtime: Arc<dyn Runtime>,
    finished: bool,
}

impl Unfinished {
    pub(super) fn finished(&mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut handshakes = lock(&self.handshakes);
        handshakes.under_way -= 1;
        if !self.finished {
            handshakes.given_up = Some(self.runtime.now());
        }
    }
}

fn lock(handshakes: &Mutex<Handshakes>) -> MutexGuard<'_, Handshakes> {
    // Both fields are valid by themselves.
    handshakes.lock().unwrap_or_else(PoisonError::into_inner)
}
