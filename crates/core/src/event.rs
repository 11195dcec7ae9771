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
pub struct EventBus<E>(Arc<Bus<E>>);

struct Bus<E> {
    queue_len: usize,
    /// `None` once the bus is closed.
    listeners: Mutex<Option<Listeners<E>>>,
}

type Listeners<E> = Vec<Weak<Mutex<Queue<E>>>>;

struct Queue<E> {
    /// Shared, so that an event is cloned by the listener that takes it and never while a lock is held.
    events: VecDeque<Arc<E>>,
    missed: u64,
    lost: u64,
    /// The bus is closed or gone: nothing comes any more.
    closed: bool,
    /// The listener is gone: nothing is wanted any more.
    unheard: bool,
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
    // Neither the code of an event nor of a waker runs under a lock, so nothing can panic or come back while one is
    // held; were it to, a queue is valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E> EventBus<E> {
    /// Each listener's queue holds up to `queue_len` events (at least one).
    pub fn new(queue_len: usize) -> Self {
        Self(Arc::new(Bus { queue_len: queue_len.max(1), listeners: Mutex::new(Some(Vec::new())) }))
    }

    /// A new listener, which sees all events from now on.
    pub fn register(&self) -> EventListener<E> {
        let queue = Arc::new(Mutex::new(Queue::default()));
        match &mut *lock(&self.0.listeners) {
            Some(listeners) => {
                listeners.retain(|listener| listener.strong_count() > 0);
                listeners.push(Arc::downgrade(&queue));
            }
            None => lock(&queue).closed = true,
        }
        EventListener { queue }
    }

    /// Gives `event` to every listener. Events from several tasks reach all listeners in the same order.
    pub fn emit(&self, event: E) {
        let event = Arc::new(event);
        // Dropped and woken after the lock is released: both run code that is not ours.
        let (mut dropped, mut wakers) = (Vec::new(), Vec::new());
        let mut guard = lock(&self.0.listeners);
        let Some(listeners) = &mut *guard else { return };
        listeners.retain(|listener| {
            let Some(queue) = listener.upgrade() else { return false };
            let mut queue = lock(&queue);
            if queue.unheard {
                return false;
            }
            if queue.events.len() >= self.0.queue_len {
                dropped.extend(queue.events.pop_front());
                queue.missed += 1;
                queue.lost += 1;
            }
            queue.events.push_back(event.clone());
            wakers.extend(queue.waker.take());
            true
        });
        drop(guard);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether anybody listens: what is costly to describe need not be described for nobody.
    pub fn has_listeners(&self) -> bool {
        lock(&self.0.listeners).iter().flatten().any(|listener| listener.strong_count() > 0)
    }

    /// No more events: listeners see the end after what they have not read yet, and later ones at once. The same happens
    /// when the last handle of the bus is gone.
    pub fn close(&self) {
        self.0.close();
    }
}

impl<E> Clone for EventBus<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> fmt::Debug for EventBus<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus").field("queue_len", &self.0.queue_len).finish_non_exhaustive()
    }
}

impl<E> Bus<E> {
    fn close(&self) {
        let listeners = lock(&self.listeners).take().unwrap_or_default();
        for queue in listeners.iter().filter_map(Weak::upgrade) {
            let waker = {
                let mut queue = lock(&queue);
                queue.closed = true;
                queue.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl<E> Drop for Bus<E> {
    fn drop(&mut self) {
        self.close();
    }
}

// Derived, it would ask for `E: Default`.
impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: VecDeque::new(), missed: 0, lost: 0, closed: false, unheard: false, waker: None }
    }
}

impl<E> Queue<E> {
    /// What a listener sees next; `None` when it must wait.
    fn next(&mut self) -> Option<Result<Arc<E>, RecvError>> {
        if self.missed > 0 {
            return Some(Err(RecvError::Lagged(std::mem::take(&mut self.missed))));
        }
        let end = if self.closed { Some(Err(RecvError::Closed)) } else { None };
        self.events.pop_front().map(Ok).or(end)
    }
}

impl<E: Clone> EventListener<E> {
    /// The next event. Cancel-safe: an event is taken or stays.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] once after events were lost, [`RecvError::Closed`] after the last event.
    pub async fn recv(&mut self) -> Result<E, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next event if there is one now. A task that waits in [`poll_recv`](Self::poll_recv) stays registered.
    pub fn try_recv(&mut self) -> Option<Result<E, RecvError>> {
        let next = lock(&self.queue).next();
        next.map(|event| event.map(Arc::unwrap_or_clone))
    }

    /// As [`recv`](Self::recv), for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<E, RecvError>> {
        let replaced;
        let next = {
            let mut queue = lock(&self.queue);
            let next = queue.next();
            let known = queue.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            replaced = if next.is_none() && !known { queue.waker.replace(cx.waker().clone()) } else { None };
            next
        };
        // A waker may own a whole task: it goes after the lock.
        drop(replaced);
        next.map_or(Poll::Pending, |event| Poll::Ready(event.map(Arc::unwrap_or_clone)))
    }
}

impl<E> EventListener<E> {
    /// Events this listener lost since it was registered.
    pub fn lost(&self) -> u64 {
        lock(&self.queue).lost
    }
}

impl<E> Drop for EventListener<E> {
    fn drop(&mut self) {
        let (events, waker) = {
            let mut queue = lock(&self.queue);
            queue.unheard = true;
            (std::mem::take(&mut queue.events), queue.waker.take())
        };
        drop((events, waker));
    }
}

/// Ends after the last event; a gap is an item, `Err(RecvError::Lagged)`.
impl<E: Clone> Stream for EventListener<E> {
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
