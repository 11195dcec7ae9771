//! The rates of a whole node: [`NetConfig::upload`](crate::NetConfig::upload) and
//! [`NetConfig::download`](crate::NetConfig::download).
//!
//! [`Shares`] decides whose turn it is; a [`Shaper`] wakes those whose turn it is; a [`Share`] is what one connection has of it.
//!
//! Sending waits in front of the socket. Receiving waits where streams are read: the remote gets no more credit until
//! then, and stops sending, while what is not stream data (acknowledgements, credit, measurements) is read at once.

mod metered;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use p2p_core::{Runtime, TaskGroup};
use tokio::sync::Notify;

pub(crate) use self::metered::Metered;
use self::shares::Shares;

/// The shapers of a node, where it has any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shapers {
    pub(crate) upload: Option<Arc<Shaper>>,
    pub(crate) download: Option<Arc<Shaper>>,
}

impl Shapers {
    /// For rates in bytes per second, each with a task in `tasks`.
    pub(crate) fn start(upload: Option<u64>, download: Option<u64>, tasks: &TaskGroup) -> Self {
        let start = |rate: Option<u64>| rate.map(|rate| Shaper::start(rate, tasks));
        Self { upload: start(upload), download: start(download) }
    }
}

/// A rate that the connections of a node share.
pub(crate) struct Shaper {
    runtime: Arc<dyn Runtime>,
    state: Mutex<State>,
    /// There is a turn to come that the task does not know of.
    waiting: Notify,
    /// In bytes.
    quantum: usize,
}

struct State {
    shares: Shares,
    /// Whom to wake when a connection has its turn.
    wakers: BTreeMap<u64, Vec<Waker>>,
    /// The task sleeps until the next turn.
    timed: bool,
    /// The task is gone: nobody has to wait any more.
    ended: bool,
}

impl Shaper {
    fn start(rate: u64, tasks: &TaskGroup) -> Arc<Self> {
        let runtime = tasks.runtime().clone();
        let shares = Shares::new(rate, runtime.now());
        let quantum = shares.quantum() as usize;
        let state = Mutex::new(State { shares, wakers: BTreeMap::new(), timed: false, ended: false });
        let shaper = Arc::new(Self { runtime, state, waiting: Notify::new(), quantum });
        let running = Running(shaper.clone());
        tasks.spawn("shaper", async move {
            let Running(shaper) = &running;
            loop {
                match shaper.serve() {
                    Some(next) => shaper.runtime.sleep_until(next).await,
                    None => shaper.waiting.notified().await,
                }
            }
        });
        shaper
    }

    /// What one connection has of it, until that is dropped.
    pub(crate) fn join(self: &Arc<Self>) -> Share {
        Share { id: self.lock().shares.join(), shaper: self.clone(), at_once: AtomicBool::new(false) }
    }

    /// What one turn allows, in bytes.
    #[cfg(feature = "quic")]
    pub(crate) fn quantum(&self) -> usize {
        self.quantum
    }

    /// So many bytes were moved by no connection.
    #[cfg(feature = "quic")]
    pub(crate) fn used_by_nobody(&self, bytes: usize) {
        let now = self.runtime.now();
        self.lock().shares.used(u64::MAX, bytes as u64, now);
    }

    /// Wakes those whose turn it is; when the next turn is, if somebody waits.
    fn serve(&self) -> Option<Instant> {
        let mut state = self.lock();
        let woken = state.serve(self.runtime.now());
        let next = state.shares.next_turn();
        state.timed = next.is_some();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        next
    }

    /// Wakes the task if there is a turn to come that it does not know of.
    fn see_to_next_turn(&self, mut state: MutexGuard<'_, State>) {
        let unknown = !state.timed && state.shares.next_turn().is_some();
        state.timed |= unknown;
        drop(state);
        if unknown {
            self.waiting.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn serve(&mut self, now: Instant) -> Vec<Waker> {
        let served = self.shares.serve(now);
        served.into_iter().filter_map(|id| self.wakers.remove(&id)).flatten().collect()
    }
}

impl fmt::Debug for Shaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shaper").field("quantum", &self.quantum).finish_non_exhaustive()
    }
}

/// Lets everybody go on when the task is gone, however it went and even if it never ran.
struct Running(Arc<Shaper>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_values().flatten().for_each(Waker::wake);
    }
}

/// What one connection has of a node's rate.
#[derive(Debug)]
pub(crate) struct Share {
    shaper: Arc<Shaper>,
    id: u64,
    /// Its last turn came without waiting.
    at_once: AtomicBool,
}

impl Share {
    /// The bytes that may be moved now; pending, and woken later, until it is this connection's turn. Say
    /// [`used`](Self::used) for what was moved, and [`rest`](Self::rest) when there is nothing to be moved.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.shaper.lock();
        if state.ended {
            return Poll::Ready(usize::MAX);
        }
        let mut woken = Vec::new();
        let asked = state.shares.credit(self.id) == 0;
        if asked {
            state.shares.ask(self.id);
            woken = state.serve(self.shaper.runtime.now());
        }
        let credit = state.shares.credit(self.id);
        if credit == 0 {
            let wakers = state.wakers.entry(self.id).or_default();
            if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
        }
        self.shaper.see_to_next_turn(state);
        woken.into_iter().for_each(Waker::wake);
        // One turn after the other without waiting: others may have turns too, which their tasks have not come to use.
        if asked && self.at_once.swap(credit > 0, Ordering::Relaxed) && credit > 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if credit == 0 { Poll::Pending } else { Poll::Ready(usize::try_from(credit).unwrap_or(usize::MAX)) }
    }

    /// Whether it is this connection's turn.
    #[cfg(feature = "quic")]
    pub(crate) fn has_credit(&self) -> bool {
        let state = self.shaper.lock();
        state.ended || state.shares.credit(self.id) > 0
    }

    /// Whether what cannot wait may be moved although it is not this connection's turn. There is little of it until the
    /// next turn.
    pub(crate) fn goes_ahead(&self) -> bool {
        self.shaper.lock().shares.goes_ahead(self.id)
    }

    /// So many bytes were moved.
    pub(crate) fn used(&self, bytes: usize) {
        let now = self.shaper.runtime.now();
        let mut state = self.shaper.lock();
        state.shares.used(self.id, bytes as u64, now);
        self.shaper.see_to_next_turn(state);
    }

    /// There is nothing to be moved now: others get what is left.
    pub(crate) fn rest(&self) {
        let mut state = self.shaper.lock();
        if state.shares.credit(self.id) > 0 {
            state.shares.give_back(self.id);
            let woken = state.serve(self.shaper.runtime.now());
            drop(state);
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// What one turn allows, in bytes.
    pub(crate) fn quantum(&self) -> usize {
        self.shaper.quantum
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.shaper.lock();
        state.shares.leave(self.id);
        let forgotten = state.wakers.remove(&self.id);
        let woken = state.serve(self.shaper.runtime.now());
        drop(state);
        drop(forgotten);
        woken.into_iter().for_each(Waker::wake);
    }
}
