//! Decides who writes: the task that sends, or the connection's driver.
//!
//! On an idle connection a send goes straight to the socket. On a busy one the message waits in its queue and the
//! driver flushes all that has gathered at once. A connection is *idle* when a receiver had to wait and then got
//! something (the other side has answered, or spoken first), or when the driver's last turn found one message only; it
//! stops being idle with the first send that goes straight through.
//!
//! While a connection is *corked*, nothing is written that somebody does not ask for: what several streams have to say
//! then goes out in one system call, and the other side is woken once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A queue that the driver can flush.
pub(crate) trait Flush: Send + Sync {
    /// Moves what it can to its stream; where something is left, `cx` is woken when it is worth another try.
    fn try_flush(&self, cx: &mut Context<'_>) -> Flushed;

    /// The driver will not come back soon: senders that wait learn of what room there is.
    fn settle(&self, cx: &mut Context<'_>);

    /// The connection has ended, which the stream knows and the queue must learn.
    fn end(&self);
}

/// What came of flushing a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Messages that have left it whole.
    pub(crate) messages: usize,
    /// The stream has taken something, a part of a message at least.
    pub(crate) progressed: bool,
    /// Some are left, because the stream takes no more now, or a sender is at work.
    pub(crate) blocked: bool,
}

/// The queues of one connection that wait for its driver.
pub(crate) struct Flusher {
    idle: AtomicBool,
    /// A sender has flushed its full queue itself: messages come fast, however few the driver finds.
    busy: AtomicBool,
    /// Whether the state has corks: for a look without its lock.
    corked: AtomicBool,
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<Arc<dyn Flush>>,
    driver: Option<Waker>,
    /// A queue was scheduled since the driver's last turn, and the driver woken for it.
    woken: bool,
    corks: usize,
    /// Somebody would have written, or woken the driver, but for the corks.
    held: bool,
    closed: bool,
}

impl State {
    /// Whether what is to be written waits for a cork to be drawn.
    fn hold(&mut self) -> bool {
        let holds = self.corks > 0;
        self.held |= holds;
        holds
    }
}

impl Flusher {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            idle: AtomicBool::new(true),
            busy: AtomicBool::new(false),
            corked: AtomicBool::new(false),
            state: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// Whether the caller may write to the socket itself; the next caller may not, until the link was idle again.
    #[inline]
    pub(crate) fn take_idle(&self) -> bool {
        let may_be = self.idle.load(Ordering::Relaxed) && !self.corked.load(Ordering::Relaxed);
        may_be && self.idle.swap(false, Ordering::Relaxed)
    }

    /// Holds back what is written until [`uncork`](Self::uncork) was called as often as this.
    pub(crate) fn cork(&self) {
        self.lock().corks += 1;
        self.corked.store(true, Ordering::Relaxed);
    }

    /// Whether something was held back that is now to be written.
    pub(crate) fn uncork(&self) -> bool {
        let mut state = self.lock();
        state.corks -= 1;
        if state.corks > 0 {
            return false;
        }
        self.corked.store(false, Ordering::Relaxed);
        std::mem::take(&mut state.held)
    }

    /// Whether something is held back; it counts as written after this.
    pub(crate) fn take_held(&self) -> bool {
        self.corked.load(Ordering::Relaxed) && std::mem::take(&mut self.lock().held)
    }

    /// Whether a write is to wait for a cork to be drawn. It is not forgotten then.
    pub(crate) fn hold(&self) -> bool {
        self.corked.load(Ordering::Relaxed) && self.lock().hold()
    }

    /// The other side has answered: the next send goes straight through.
    #[inline]
    pub(crate) fn set_idle(&self) {
        self.idle.store(true, Ordering::Relaxed);
    }

    /// Messages come faster than the driver.
    pub(crate) fn set_busy(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Leaves a queue to the driver; `false` when no driver will come any more.
    #[must_use]
    pub(crate) fn schedule(&self, queue: Arc<dyn Flush>) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        state.waiting.push(queue);
        if state.hold() {
            return true;
        }
        let driver = if std::mem::replace(&mut state.woken, true) { None } else { state.driver.clone() };
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        true
    }

    /// Wakes the driver.
    pub(crate) fn wake(&self) {
        let mut state = self.lock();
        let driver = if state.hold() { None } else { state.driver.clone() };
        drop(state);
        driver.into_iter().for_each(Waker::wake);
    }

    /// The driver's waker: what a task that writes in the driver's place polls the transport with, so that the driver
    /// takes over where it could not finish. `None` before the driver's first turn, and when it has no more to come.
    pub(crate) fn driver_waker(&self) -> Option<Waker> {
        self.lock().driver.clone()
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ready when the connection ends after this future was enabled or first polled.
    pub(crate) fn ended(&self) -> Notified<'_> {
        self.ended.notified()
    }

    /// One turn of the driver: flushes every waiting queue.
    pub(crate) fn turn(&self, cx: &mut Context<'_>) {
        self.flush_all(cx);
    }

    /// A turn of somebody else.
    pub(crate) fn turn_for_driver(&self, driver: &Waker) {
        if self.flush_all(&mut Context::from_waker(driver)) {
            // What they wait for may have come while the driver could not see them.
            driver.wake_by_ref();
        }
    }

    /// Whether some still wait.
    fn flush_all(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.lock();
        if !state.closed && !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
        state.woken = false;
        if state.waiting.is_empty() {
            return false;
        }
        let mut waiting = std::mem::take(&mut state.waiting);
        drop(state);
        let mut messages = 0;
        let mut served = Vec::new();
        waiting.retain(|queue| {
            let flushed = queue.try_flush(cx);
            messages += flushed.messages;
            // Whoever got something lets the others go first next time.
            if flushed.blocked && flushed.progressed {
                served.push(queue.clone());
            }
            flushed.blocked && !flushed.progressed
        });
        waiting.append(&mut served);
        if !self.busy.swap(false, Ordering::Relaxed) && messages == 1 {
            self.set_idle();
        }
        let left = !waiting.is_empty();
        self.put_back(waiting);
        left
    }

    /// The driver goes to sleep.
    pub(crate) fn settle(&self, cx: &mut Context<'_>) {
        // Not under the lock, since it wakes tasks; and not taken out, since somebody else may have a turn meanwhile.
        let waiting = self.lock().waiting.clone();
        waiting.iter().for_each(|queue| queue.settle(cx));
    }

    /// Queues that were taken and still wait.
    fn put_back(&self, mut waiting: Vec<Arc<dyn Flush>>) {
        let mut state = self.lock();
        if state.closed {
            // The driver has ended meanwhile, and did not find them.
            drop(state);
            waiting.iter().for_each(|queue| queue.end());
        } else {
            // Queues that were scheduled meanwhile go behind those that waited longer.
            waiting.append(&mut state.waiting);
            state.waiting = waiting;
        }
    }

    /// The connection has ended: every queue is flushed once more, to learn of its end, and no driver will come.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut state = self.lock();
            state.closed = true;
            state.driver = None;
            std::mem::take(&mut state.waiting)
        };
        for queue in waiting {
            queue.end();
        }
        self.ended.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Flusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flusher").field("idle", &self.idle).finish_non_exhaustive()
    }
}

/// Closes a flusher when its driver is gone, however it went: even if it never ran.
#[cfg(feature = "quic")]
pub(crate) struct Driving(pub(crate) Arc<Flusher>);

#[cfg(feature = "quic")]
impl Drop for Driving {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The driver of a connection whose transport writes by itself: flushes queues until `closed`.
#[cfg(feature = "quic")]
pub(crate) async fn drive(flusher: Driving, mut closed: std::pin::Pin<&mut impl Future<Output = ()>>) {
    std::future::poll_fn(|cx| {
        flusher.0.turn(cx);
        flusher.0.settle(cx);
        closed.as_mut().poll(cx)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue whose connection ends while it is being flushed, by another thread as it were.
    struct Doomed {
        flusher: Arc<Flusher>,
        ended: AtomicBool,
    }

    impl Flush for Doomed {
        fn try_flush(&self, _: &mut Context<'_>) -> Flushed {
            self.flusher.close();
            Flushed { blocked: true, ..Flushed::default() }
        }

        fn settle(&self, _: &mut Context<'_>) {}

        fn end(&self) {
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_queue_that_is_away_when_the_connection_ends_learns_it() {
        let flusher = Flusher::new();
        let queue = Arc::new(Doomed { flusher: flusher.clone(), ended: AtomicBool::new(false) });
        assert!(flusher.schedule(queue.clone()));
        flusher.turn(&mut Context::from_waker(Waker::noop()));
        assert!(queue.ended.load(Ordering::Relaxed));
        assert!(flusher.driver_waker().is_none() && !flusher.schedule(queue));
    }
}
