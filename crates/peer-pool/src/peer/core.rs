//! What is known of a connected peer, and how others ask its task for something.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use p2p_core::{PeerId, Runtime};
use p2p_identity::{DisconnectReason, Error, ProtocolId};
use p2p_net::Endpoint;
use tokio::sync::Notify;

use crate::{ConnectionId, Direction};

/// Shared by the peer's task and every handle to the peer. Holds no connection and no task.
pub(crate) struct Core {
    pub(crate) id: PeerId,
    pub(crate) connection_id: ConnectionId,
    /// Drawn by the peer when it started.
    pub(crate) boot: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) direction: Direction,
    pub(crate) connected_at: SystemTime,
    pub(crate) since: Instant,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// In nanoseconds; 0 is unknown.
    rtt: AtomicU64,
    /// A sender found its queue full and nobody has looked yet whether the peer lives.
    blocked: AtomicBool,
    /// The remote, or the transport, ended the connection without a good-bye.
    dropped: AtomicBool,
    /// A message of an application, or a byte of a stream, has passed since somebody looked.
    used: Arc<AtomicBool>,
    /// When one last had when somebody looked, in nanoseconds from the beginning; 0 is never.
    last_used: AtomicU64,
    state: Mutex<State>,
    wake: Notify,
    changed: Notify,
}

#[derive(Default)]
struct State {
    requests: Requests,
    /// The remote has yet to accept the connection.
    early: bool,
    leaving: Option<DisconnectReason>,
    ended: Option<DisconnectReason>,
    /// The transport's connection is closed too.
    closed: bool,
}

/// What the peer's task is asked to do.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) leave: Option<Leave>,
    pub(crate) ended: Vec<(ProtocolId, Outcome)>,
    pub(crate) probe: bool,
}

/// How the connection is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leave {
    /// With a good-bye: everything accepted arrives.
    Orderly(DisconnectReason),
    /// At once.
    Now(DisconnectReason),
}

/// How `Protocol::start` came to its end.
#[derive(Debug)]
pub(crate) enum Outcome {
    Ended,
    Failed(Error),
    Panicked(String),
}

pub(crate) struct CoreParts {
    pub(crate) id: PeerId,
    pub(crate) connection_id: ConnectionId,
    pub(crate) boot: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) direction: Direction,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// The remote has yet to accept the connection.
    pub(crate) early: bool,
}

impl Core {
    pub(crate) fn new(parts: CoreParts) -> Self {
        let CoreParts { id, connection_id, boot, endpoint, direction, runtime, early } = parts;
        Self {
            id,
            connection_id,
            boot,
            endpoint,
            direction,
            connected_at: runtime.system_time(),
            since: runtime.now(),
            runtime,
            rtt: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            dropped: AtomicBool::new(false),
            used: Arc::default(),
            last_used: AtomicU64::new(0),
            state: Mutex::new(State { early, ..State::default() }),
            wake: Notify::new(),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the end. The first orderly request counts; one to end at once overrides it.
    pub(crate) fn leave(&self, leave: Leave) {
        let mut state = self.lock();
        match (&state.requests.leave, &leave) {
            (None, _) | (Some(Leave::Orderly(_)), Leave::Now(_)) => state.requests.leave = Some(leave),
            _ => {}
        }
        drop(state);
        self.wake.notify_one();
    }

    pub(crate) fn protocol_ended(&self, protocol: ProtocolId, outcome: Outcome) {
        self.lock().requests.ended.push((protocol, outcome));
        self.wake.notify_one();
    }

    /// Something looks wrong: see whether the peer still lives.
    pub(crate) fn probe(&self) {
        if !self.blocked.swap(true, Ordering::Relaxed) {
            self.lock().requests.probe = true;
            self.wake.notify_one();
        }
    }

    /// The peer has shown that it lives.
    pub(crate) fn probed(&self) {
        self.blocked.store(false, Ordering::Relaxed);
    }

    /// The connection has ended, and nobody said good-bye or ended it here.
    pub(crate) fn set_dropped(&self) {
        self.dropped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A message of an application is sent.
    #[inline]
    pub(crate) fn set_used(&self) {
        // Nearly always it is set: looking costs less than writing.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// To be set when bytes of a stream pass, or messages are received.
    pub(crate) fn used_mark(&self) -> Arc<AtomicBool> {
        self.used.clone()
    }

    /// When a message of an application, or a byte of a stream, last passed. What has passed since somebody looked last counts
    /// as now: the peer's task looks with every ping.
    pub(crate) fn last_used(&self, now: Instant) -> Option<Instant> {
        if self.used.swap(false, Ordering::Relaxed) {
            let passed = now.saturating_duration_since(self.since).as_nanos() as u64;
            self.last_used.store(passed.max(1), Ordering::Relaxed);
        }
        match self.last_used.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(self.since + Duration::from_nanos(nanos)),
        }
    }

    /// Waits for requests. Cancel-safe.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn take_requests(&self) -> Requests {
        std::mem::take(&mut self.lock().requests)
    }

    /// One of the sides has said good-bye: nothing more is sent.
    pub(crate) fn set_leaving(&self, reason: DisconnectReason) {
        self.lock().leaving.get_or_insert(reason);
        self.changed.notify_waiters();
    }

    /// The connection is about to be closed. The first reason counts.
    pub(crate) fn set_ended(&self, reason: DisconnectReason) -> DisconnectReason {
        self.lock().ended.get_or_insert(reason).clone()
    }

    /// The connection is closed: who waits for that learns why.
    pub(crate) fn set_closed(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }

    pub(crate) fn ended(&self) -> Option<DisconnectReason> {
        self.lock().ended.clone()
    }

    /// Whether a good-bye was said, or the connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.leaving.is_some() || state.ended.is_some()
    }

    /// What a protocol is told about the end of the connection, once it is near. Only one that misses nothing of what the
    /// remote sent is told that the end was orderly.
    pub(crate) fn end_error(&self, misses_nothing: bool) -> Option<Error> {
        let state = self.lock();
        let reason = state.ended.as_ref().or(state.leaving.as_ref())?;
        Some(if reason.is_orderly() && misses_nothing {
            Error::PeerShutdown
        } else {
            Error::Disconnected(reason.clone())
        })
    }

    /// The remote has accepted the connection.
    pub(crate) fn confirm(&self) {
        self.lock().early = false;
        self.changed.notify_waiters();
    }

    /// Waits until the remote has accepted the connection, or that is over. Cancel-safe.
    pub(crate) async fn confirmed(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let waits = {
                let state = self.lock();
                state.early && state.leaving.is_none() && state.ended.is_none()
            };
            match waits {
                true => changed.await,
                false => return,
            }
        }
    }

    /// Waits for the end. Cancel-safe.
    pub(crate) async fn closed(&self) -> DisconnectReason {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let end = {
                let state = self.lock();
                state.ended.clone().filter(|_| state.closed)
            };
            match end {
                Some(reason) => return reason,
                None => changed.await,
            }
        }
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        self.rtt.store((rtt.as_nanos() as u64).max(1), Ordering::Relaxed);
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        match self.rtt.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("connection", &self.connection_id)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
