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
mod uplink;

use std::collections::BTreeMap;
use std::fmt;
#[cfg(feature = "quic")]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use p2p_core::{Runtime, TaskGroup};
use tokio::sync::Notify;

pub(crate) use self::metered::Metered;
use self::shares::Shares;
use self::uplink::{MANY, Uplink};

/// The shapers of a node, where it has any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shapers {
    pub(crate) upload: Option<Arc<Shaper>>,
    pub(crate) download: Option<Arc<Shaper>>,
}

impl Shapers {
    /// For rates in bytes per second, each with a task in `tasks`. Without one for uploads, it is found when there is need.
    pub(crate) fn start(upload: Option<u64>, download: Option<u64>, tasks: &Arc<TaskGroup>) -> Self {
        let start = |rate: Option<u64>| rate.map(|rate| Shaper::start(rate, tasks));
        Self { upload: start(upload).or_else(|| Some(Shaper::find(tasks))), download: start(download) }
    }
}

/// A rate that the connections of a node share.
pub(crate) struct Shaper {
    runtime: Arc<dyn Runtime>,
    state: Mutex<State>,
    /// There is a turn to come that the task does not know of.
    waiting: Notify,
    /// In bytes.
    quantum: AtomicUsize,
    /// There is a rate.
    active: AtomicBool,
    /// The rate is found, by a task of this group once there is need.
    finds: Option<Weak<TaskGroup>>,
    /// It is being found.
    measures: AtomicBool,
    members: AtomicUsize,
    #[cfg(feature = "quic")]
    observers: AtomicU64,
}

struct State {
    shares: Shares,
    uplink: Uplink,
    /// Whom to wake when a connection has its turn.
    wakers: BTreeMap<u64, Vec<Waker>>,
    /// The task sleeps until the next turn.
    timed: bool,
    /// The task is gone: nobody has to wait any more.
    ended: bool,
}

impl Shaper {
    /// With a rate that stays.
    fn start(rate: u64, tasks: &TaskGroup) -> Arc<Self> {
        let shaper = Arc::new(Self::new(rate, tasks.runtime(), None));
        shaper.run(tasks);
        shaper
    }

    /// Without a rate, until it is found that the connections share a slow line.
    fn find(tasks: &Arc<TaskGroup>) -> Arc<Self> {
        Arc::new(Self::new(1, tasks.runtime(), Some(Arc::downgrade(tasks))))
    }

    fn new(rate: u64, runtime: &Arc<dyn Runtime>, finds: Option<Weak<TaskGroup>>) -> Self {
        let shares = Shares::new(rate, runtime.now());
        Self {
            quantum: AtomicUsize::new(shares.quantum() as usize),
            active: AtomicBool::new(finds.is_none()),
            state: Mutex::new(State {
                shares,
                uplink: Uplink::default(),
                wakers: BTreeMap::new(),
                timed: false,
                ended: false,
            }),
            runtime: runtime.clone(),
            waiting: Notify::new(),
            finds,
            measures: AtomicBool::new(false),
            members: AtomicUsize::new(0),
            #[cfg(feature = "quic")]
            observers: AtomicU64::new(0),
        }
    }

    fn run(self: &Arc<Self>, tasks: &TaskGroup) {
        let running = Running { shaper: self.clone(), done: false };
        tasks.spawn("shaper", async move {
            // All of it, or its copy would be changed.
            let mut running = running;
            let shaper = &running.shaper;
            loop {
                let (turn, look) = shaper.serve();
                if !shaper.is_active() {
                    break;
                }
                match turn.into_iter().chain(look).min() {
                    Some(next) if turn.is_some() => shaper.runtime.sleep_until(next).await,
                    Some(next) => {
                        let _ = shaper.runtime.timeout_at(next, shaper.waiting.notified()).await;
                    }
                    None => shaper.waiting.notified().await,
                }
            }
            running.done = true;
        });
    }

    /// Whether connections wait for turns.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether the connection to a remote that is `near` or not waits for turns: a near one is not behind an uplink whose rate is
    /// found.
    fn concerns(&self, near: bool) -> bool {
        self.is_active() && !(near && self.finds.is_some())
    }

    /// Whether it matters what lines do to connections.
    pub(crate) fn watches(&self) -> bool {
        self.finds.is_some() && self.members.load(Ordering::Relaxed) >= MANY
    }

    /// Whether it matters what connections send.
    #[cfg(feature = "quic")]
    pub(crate) fn counts(&self) -> bool {
        self.is_active() || self.measures.load(Ordering::Relaxed)
    }

    /// In bytes per second, if there is one that concerns a remote that is `near` or not.
    #[cfg(feature = "quic")]
    pub(crate) fn rate(&self, near: bool) -> Option<u64> {
        self.concerns(near).then(|| self.lock().shares.rate())
    }

    /// How long a connection waits for its turn now.
    #[cfg(feature = "quic")]
    fn round(&self) -> Duration {
        if self.is_active() { self.lock().uplink.round() } else { Duration::ZERO }
    }

    /// Tells of the line of one connection.
    #[cfg(feature = "quic")]
    pub(crate) fn observer(self: &Arc<Self>) -> Observer {
        // No connection's share has such a number.
        let id = self.observers.fetch_add(1, Ordering::Relaxed) | 1 << 63;
        Observer { shaper: self.clone(), id }
    }

    /// The line of a connection took so many bytes.
    fn took(self: &Arc<Self>, id: u64, bytes: usize, held: Option<Duration>) {
        if !self.watches() {
            return;
        }
        let now = self.runtime.now();
        let mut state = self.lock();
        let begins = state.uplink.took(now, id, bytes as u64, held) && self.apply(&mut state, now);
        self.measures.store(state.uplink.measures(), Ordering::Relaxed);
        drop(state);
        if begins && let Some(tasks) = self.finds.as_ref().and_then(Weak::upgrade) {
            self.run(&tasks);
        }
    }

    /// Another rate, or none. Whether there was none.
    fn apply(&self, state: &mut State, now: Instant) -> bool {
        let rate = state.uplink.rate();
        if let Some(rate) = rate {
            state.shares.set_rate(rate, now);
            let moved = state.uplink.take_sent();
            state.shares.even_out(&moved, now);
            self.quantum.store(state.shares.quantum() as usize, Ordering::Relaxed);
        }
        let was = self.active.swap(rate.is_some(), Ordering::Relaxed);
        tracing::debug!(?rate, "the rate of the uplink");
        !was
    }

    /// What one connection has of it, until that is dropped.
    pub(crate) fn join(self: &Arc<Self>) -> Share {
        self.members.fetch_add(1, Ordering::Relaxed);
        let id = self.lock().shares.join();
        Share { id, shaper: self.clone(), at_once: AtomicBool::new(false), near: AtomicBool::new(false) }
    }

    /// What one turn allows, in bytes.
    #[cfg(feature = "quic")]
    pub(crate) fn quantum(&self) -> usize {
        self.quantum.load(Ordering::Relaxed)
    }

    /// So many bytes were moved by no connection.
    #[cfg(feature = "quic")]
    pub(crate) fn used_by_nobody(&self, bytes: usize) {
        if !self.is_active() {
            return;
        }
        let now = self.runtime.now();
        self.lock().shares.used(u64::MAX, bytes as u64, now);
    }

    /// Wakes those whose turn it is; when the next turn is, if somebody waits, and when to look at the uplink.
    fn serve(&self) -> (Option<Instant>, Option<Instant>) {
        let now = self.runtime.now();
        let mut state = self.lock();
        if state.uplink.look(now) {
            self.apply(&mut state, now);
        }
        let mut woken = state.serve(now);
        if !self.is_active() {
            // Nobody has to wait until the next time.
            state.shares.forget();
            woken.extend(std::mem::take(&mut state.wakers).into_values().flatten());
        }
        let next = state.shares.next_turn();
        state.timed = next.is_some();
        let look = state.uplink.next_look();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        (next, look)
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
        f.debug_struct("Shaper").field("active", &self.active).finish_non_exhaustive()
    }
}

/// Lets everybody go on when the task is gone, however it went and even if it never ran.
struct Running {
    shaper: Arc<Shaper>,
    /// The task has ended because there is no rate any more: there may be one again.
    done: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.shaper.lock();
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
    /// Its remote is near.
    near: AtomicBool,
}

impl Share {
    /// The bytes that may be moved now; pending, and woken later, until it is this connection's turn. Say
    /// [`used`](Self::used) for what was moved, and [`rest`](Self::rest) when there is nothing to be moved.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<usize> {
        if !self.is_active() {
            return Poll::Ready(usize::MAX);
        }
        let mut state = self.shaper.lock();
        // It may have ended in between.
        if state.ended || !self.is_active() {
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
            state.uplink.waits(self.id);
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
        if !self.is_active() {
            return true;
        }
        let state = self.shaper.lock();
        state.ended || state.shares.credit(self.id) > 0
    }

    /// Whether what cannot wait may be moved although it is not this connection's turn. There is little of it until the
    /// next turn.
    pub(crate) fn goes_ahead(&self) -> bool {
        !self.is_active() || self.shaper.lock().shares.goes_ahead(self.id)
    }

    /// So many bytes were moved.
    pub(crate) fn used(&self, bytes: usize) {
        if !self.is_active() {
            if self.shaper.measures.load(Ordering::Relaxed) {
                self.shaper.lock().uplink.sent(self.id, bytes as u64);
            }
            return;
        }
        let now = self.shaper.runtime.now();
        let mut state = self.shaper.lock();
        state.shares.used(self.id, bytes as u64, now);
        self.shaper.see_to_next_turn(state);
    }

    /// There is nothing to be moved now: others get what is left.
    pub(crate) fn rest(&self) {
        if !self.is_active() {
            return;
        }
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
        self.shaper.quantum.load(Ordering::Relaxed)
    }

    /// Whether the connection waits for turns.
    pub(crate) fn is_active(&self) -> bool {
        self.shaper.concerns(self.near.load(Ordering::Relaxed))
    }

    /// Whether its remote is nearer than an uplink: a rate that was found does not concern it then.
    pub(crate) fn set_near(&self, near: bool) {
        self.near.store(near, Ordering::Relaxed);
    }

    /// Whether [`used`](Self::used) is of any use.
    pub(crate) fn counts(&self) -> bool {
        self.is_active() || self.shaper.measures.load(Ordering::Relaxed)
    }

    /// Whether [`took`](Self::took) is of any use.
    pub(crate) fn watches(&self) -> bool {
        self.shaper.watches()
    }

    /// The line has taken so many bytes of this connection; the shortest round trip, if it holds the connection back.
    pub(crate) fn took(&self, bytes: usize, held: Option<Duration>) {
        self.shaper.took(self.id, bytes, held);
    }
}

/// Tells of the line of one connection.
#[cfg(feature = "quic")]
#[derive(Debug, Clone)]
pub(crate) struct Observer {
    shaper: Arc<Shaper>,
    id: u64,
}

#[cfg(feature = "quic")]
impl Observer {
    /// See [`Share::watches`].
    pub(crate) fn watches(&self) -> bool {
        self.shaper.watches()
    }

    /// How long a connection waits for its turn now.
    pub(crate) fn round(&self) -> Duration {
        self.shaper.round()
    }

    /// See [`Share::took`].
    pub(crate) fn took(&self, bytes: usize, held: Option<Duration>) {
        self.shaper.took(self.id, bytes, held);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shaper.members.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.shaper.lock();
        state.shares.leave(self.id);
        let forgotten = state.wakers.remove(&self.id);
        let woken = state.serve(self.shaper.runtime.now());
        drop(state);
        drop(forgotten);
        woken.into_iter().for_each(Waker::wake);
    }
}
