//! A typed event bus: every listener gets every event, and a slow one loses its own oldest only.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

/// Sends events of type `E` to any number of listeners. [`emit`](Self::emit) never waits: each listener has a queue
/// of its own, and one that is full loses its oldest event and counts it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use p2p_core::{EventBus, RecvError};
///
/// let bus = EventBus::new(2);
/// let mut listener = bus.register();
/// for n in 0..3 {
///     bus.emit(n);
/// }
/// assert_eq!(listener.recv().await, Err(RecvError::Lagged(1)));
/// assert_eq!(listener.recv().await, Ok(1));
/// # });
/// ```
pub struct EventBus<E> {
    queue_len: usize,
    listeners: Arc<Mutex<Vec<Weak<Mutex<Queue<E>>>>>>,
    /// Listeners see the end once the last bus handle is gone.
    alive: Arc<Alive<E>>,
}

struct Alive<E>(Arc<Mutex<Vec<Weak<Mutex<Queue<E>>>>>>);

struct Queue<E> {
    events: VecDeque<E>,
    missed: u64,
    lost: u64,
    closed: bool,
    waker: Option<Waker>,
}

/// Receives every event sent after it was registered.
pub struct EventListener<E> {
    queue: Arc<Mutex<Queue<E>>>,
}

/// Why [`EventListener::recv`] has no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The listener was too slow: this many of its oldest events are lost. The next call goes on after the gap.
    #[error("{0} events were lost because the listener was too slow")]
    Lagged(u64),
    /// No event will come any more.
    #[error("the source of the events is gone")]
    Closed,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here panics while it holds the lock, and a queue is valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: Clone> EventBus<E> {
    /// Each listener's queue holds up to `queue_len` events (at least one).
    pub fn new(queue_len: usize) -> Self {
        let listeners = Arc::new(Mutex::new(Vec::new()));
        Self { queue_len: queue_len.max(1), alive: Arc::new(Alive(listeners.clone())), listeners }
    }

    /// A new listener, which sees all events from now on.
    pub fn register(&self) -> EventListener<E> {
        let queue =
            Arc::new(Mutex::new(Queue { events: VecDeque::new(), missed: 0, lost: 0, closed: false, waker: None }));
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&queue));
        EventListener { queue }
    }

    /// Gives `event` to every listener.
    pub fn emit(&self, event: E) {
        let mut wakers = Vec::new();
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| {
            let Some(queue) = listener.upgrade() else { return false };
            let mut queue = lock(&queue);
            if queue.events.len() >= self.queue_len {
                queue.events.pop_front();
                queue.missed += 1;
                queue.lost += 1;
            }
            queue.events.push_back(event.clone());
            wakers.extend(queue.waker.take());
            true
        });
        drop(listeners);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether anybody listens: what is costly to describe need not be described for nobody.
    pub fn has_listeners(&self) -> bool {
        lock(&self.listeners).iter().any(|listener| listener.strong_count() > 0)
    }
}

impl<E> Clone for EventBus<E> {
    fn clone(&self) -> Self {
        Self { queue_len: self.queue_len, listeners: self.listeners.clone(), alive: self.alive.clone() }
    }
}

impl<E> fmt::Debug for EventBus<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus").field("queue_len", &self.queue_len).finish_non_exhaustive()
    }
}

impl<E> Drop for Alive<E> {
    fn drop(&mut self) {
        for queue in lock(&self.0).drain(..).filter_map(|listener| listener.upgrade()) {
            let waker = {
                let mut queue = lock(&queue);
                queue.closed = true;
                queue.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl<E> EventListener<E> {
    /// The next event. Cancel-safe: an event is taken or stays.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] once after events were lost, [`RecvError::Closed`] after the last event.
    pub async fn recv(&mut self) -> Result<E, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next event if there is one now.
    pub fn try_recv(&mut self) -> Option<Result<E, RecvError>> {
        match self.poll_recv(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    /// As [`recv`](Self::recv), for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<E, RecvError>> {
        let mut queue = lock(&self.queue);
        if queue.missed > 0 {
            return Poll::Ready(Err(RecvError::Lagged(std::mem::take(&mut queue.missed))));
        }
        if let Some(event) = queue.events.pop_front() {
            return Poll::Ready(Ok(event));
        }
        if queue.closed {
            return Poll::Ready(Err(RecvError::Closed));
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Events this listener lost since it was registered.
    pub fn lost(&self) -> u64 {
        lock(&self.queue).lost
    }
}

/// Ends after the last event; a gap is an item, `Err(RecvError::Lagged)`.
impl<E> Stream for EventListener<E> {
    type Item = Result<E, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(|event| (!matches!(event, Err(RecvError::Closed))).then_some(event))
    }
}

impl<E> fmt::Debug for EventListener<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventListener").field("lost", &self.lost()).finish_non_exhaustive()
    }
}
