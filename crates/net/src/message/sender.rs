//! [`MessageSender`].

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use p2p_core::task::pass;
use p2p_core::{ByteBudget, Reservation};
use tokio::sync::Notify;

use super::limits::SendLimits;
use super::queue::{SendQueue, SharedMessage};
use super::turn::Turn;
use super::{Cork, Flush, Flushed, Flusher};
use crate::{CloseReason, Error, Result, SendStream};

/// The step in which queues reserve memory from the budget, and what an empty one keeps while there is plenty.
const RESERVE_STEP: usize = 16 << 10;

/// Sends messages on a stream through a bounded queue. All methods take `&self`; messages of one task stay in order.
///
/// Dropping it gives up what is queued and resets the stream, unless [`finish`](Self::finish) was called.
pub struct MessageSender {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    limits: SendLimits,
    budget: ByteBudget,
    pub(super) flusher: Arc<Flusher>,
    state: Mutex<State>,
    /// Notified when messages have left the queue, or never will.
    moved: Notify,
}

struct State {
    stream: Option<SendStream>,
    queue: SendQueue,
    reserved: Option<Reservation>,
    /// The driver knows of this queue.
    scheduled: bool,
    /// Messages have left the queue since those who wait were told.
    moved: bool,
    finishing: bool,
    error: Option<Error>,
    turn: Turn,
    /// There may be room, but others go first.
    passes: bool,
}

/// Why a message was not queued.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The queue, or the node's byte budget, is full.
    #[error("the send queue is full")]
    Busy,
    /// It will never be queued.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl MessageSender {
    /// Sends on `stream`; what waits is charged to `budget`.
    pub fn new(stream: SendStream, limits: SendLimits, budget: &ByteBudget) -> Self {
        let shared = Shared {
            limits: SendLimits { max_message: limits.max_message.min(1 << 31), ..limits },
            budget: budget.clone(),
            flusher: stream.flusher().clone(),
            state: Mutex::new(State {
                stream: Some(stream),
                queue: SendQueue::default(),
                reserved: None,
                scheduled: false,
                moved: false,
                finishing: false,
                error: None,
                turn: Turn::default(),
                passes: false,
            }),
            moved: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Queues a message, waiting for room. Cancel-safe: a dropped call has queued nothing.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] (the stream lives on), or why the stream has ended.
    #[inline]
    pub async fn send(&self, message: impl Into<Bytes>) -> Result<()> {
        let message = message.into();
        match self.shared.push(message.len(), true, |queue| queue.push(&message)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Failed(error)) => Err(error),
            // On the heap, so that the future of a call that need not wait, which is most, is a few words long.
            Err(TrySendError::Busy) => Box::pin(self.send_later(message)).await,
        }
    }

    /// Waits for room, or until others had their turn.
    #[cold]
    async fn send_later(&self, message: Bytes) -> Result<()> {
        let passes = std::mem::take(&mut self.shared.lock().passes);
        if passes {
            pass().await;
        }
        loop {
            self.shared.flush_held();
            let mut moved = pin!(self.shared.moved.notified());
            let mut freed = pin!(self.shared.budget.freed());
            let mut ended = pin!(self.shared.flusher.ended());
            moved.as_mut().enable();
            freed.as_mut().enable();
            ended.as_mut().enable();
            // Room may have come between the try and the registration.
            match self.shared.push_one(&message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Failed(error)) => return Err(error),
                Err(TrySendError::Busy) => {}
            }
            std::future::poll_fn(|cx| {
                for event in [moved.as_mut(), freed.as_mut(), ended.as_mut()] {
                    if event.poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                Poll::Pending
            })
            .await;
        }
    }

    /// Queues a message if there is room now.
    ///
    /// # Errors
    /// [`TrySendError::Busy`] when there is none; else as [`send`](Self::send).
    pub fn try_send(&self, message: impl Into<Bytes>) -> Result<(), TrySendError> {
        self.shared.push_one(&message.into())
    }

    /// As [`try_send`](Self::try_send), for a message that many senders get.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub fn try_send_shared(&self, message: &SharedMessage) -> Result<(), TrySendError> {
        self.shared.push(message.len(), false, |queue| queue.push_shared(message))
    }

    /// Waits until every queued message was handed to the transport. Cancel-safe.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub async fn flush(&self) -> Result<()> {
        self.shared.flush_held();
        loop {
            let mut moved = pin!(self.shared.moved.notified());
            moved.as_mut().enable();
            {
                let state = self.shared.lock();
                if let Some(error) = &state.error {
                    return Err(error.clone());
                }
                if state.queue.is_empty() {
                    return Ok(());
                }
            }
            moved.await;
        }
    }

    /// Waits until every queued message was handed to the transport, as [`flush`](Self::flush) does, but leaves what a cork
    /// holds back unwritten where the transport takes it all at once. What is sent on other streams from then on takes no
    /// credit of the connection that these messages need. Cancel-safe.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub async fn hand_over(&self) -> Result<()> {
        if self.shared.hand_over() { Ok(()) } else { self.flush().await }
    }

    /// Gathers what is sent on the *connection*, on any of its streams, until the cork is dropped: it then goes out together.
    /// Whoever waits for an answer to what was sent does so with [`Cork::wait`]. A full queue, and
    /// [`flush`](Self::flush), wait for no cork.
    ///
    /// It is a hint: what goes out together is in the same order, and something may go out earlier.
    pub fn cork(&self) -> Cork {
        self.shared.flusher.cork();
        Cork::new(self.shared.clone())
    }

    /// Ends the stream after the queued messages; later sends fail. Idempotent.
    pub fn finish(&self) {
        let mut state = self.shared.lock();
        state.finishing = true;
        if let Some(stream) = state.finish_if_empty() {
            stream.flush_now();
        }
        drop(state);
        // Calls that wait for room, or for the budget, wait for nothing now.
        self.shared.moved.notify_waiters();
    }

    /// Gives up what is queued and ends the stream at once; the remote sees `code`.
    pub fn reset(&self, code: u32) {
        let mut state = self.shared.lock();
        let stream = state.stream.take();
        state.fail(Error::Finished);
        drop(state);
        self.shared.moved.notify_waiters();
        if let Some(stream) = stream {
            stream.reset(code);
        }
    }

    /// Messages that were not handed to the transport yet.
    pub fn queued(&self) -> usize {
        self.shared.lock().queue.messages()
    }
}

impl Drop for MessageSender {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if !state.finishing {
            let stream = state.stream.take();
            state.fail(Error::Finished);
            drop(state);
            drop(stream);
        }
    }
}

impl fmt::Debug for MessageSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSender").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

impl Shared {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, mut state: MutexGuard<'_, State>, cx: &mut Context<'_>) -> Flushed {
        let flushed = state.flush(cx);
        state.scheduled = flushed.blocked;
        state.moved |= flushed.messages > 0;
        // A sender that waits is woken for many messages at a time, not for each.
        let (queue, limits) = (&state.queue, &self.limits);
        if queue.messages() <= limits.queue_messages / 2 && queue.waiting() <= limits.queue_bytes / 2 {
            self.announce(state);
        }
        flushed
    }

    /// Wakes whoever waits for messages to leave the queue.
    fn announce(&self, mut state: MutexGuard<'_, State>) {
        state.moved = false;
        drop(state);
        self.moved.notify_waiters();
    }

    /// Writes what a cork holds back.
    pub(super) fn flush_held(&self) {
        if self.flusher.take_held() {
            self.flush_connection();
        }
    }

    /// Does what the driver would do next, in its place.
    pub(super) fn flush_connection(&self) {
        // Without a driver there will be one, which begins with this; or there was one, and nothing can be written.
        let Some(waker) = self.flusher.driver_waker() else { return };
        self.flusher.turn_for_driver(&waker);
        match &self.lock().stream {
            Some(stream) => stream.write_now(),
            None => waker.wake(),
        }
    }

    /// Gives the transport what it takes now; whether that is everything.
    fn hand_over(&self) -> bool {
        let driver = self.flusher.driver_waker();
        let mut state = self.lock();
        // A driver that has yet to begin finds the queue among those that wait for it.
        let waker = driver.as_ref().unwrap_or(Waker::noop());
        let flushed = state.flush(&mut Context::from_waker(waker));
        let all = !flushed.blocked && state.error.is_none();
        drop(state);
        if flushed.messages > 0 {
            self.moved.notify_waiters();
        }
        all
    }

    /// The queue is full and the driver has not come yet: gathers a larger batch, or gives the transport what it takes.
    #[cold]
    fn make_room(&self, state: &mut State) {
        self.flusher.set_busy();
        let before = state.queue.waiting();
        let many = state.queue.messages() >= self.limits.queue_messages;
        if !state.queue.set_aside()
            && many
            && let Some(waker) = self.flusher.driver_waker()
        {
            state.flush(&mut Context::from_waker(&waker));
        }
        if state.queue.waiting() < before {
            // The caller may not take the room after all, and the driver would find nothing moved.
            self.moved.notify_waiters();
        }
    }

    #[inline]
    fn push_one(self: &Arc<Self>, message: &Bytes) -> Result<(), TrySendError> {
        self.push(message.len(), false, |queue| queue.push(message))
    }

    /// Queues a message of `len` bytes, and writes it at once where the connection is idle. Who sends in turns is refused
    /// when a turn is over.
    #[inline]
    fn push(
        self: &Arc<Self>,
        len: usize,
        in_turns: bool,
        add: impl FnOnce(&mut SendQueue),
    ) -> Result<(), TrySendError> {
        let limits = &self.limits;
        if len > limits.max_message {
            return Err(Error::MessageTooLarge { len: len as u64, max: limits.max_message }.into());
        }
        let mut state = self.lock();
        if let Some(error) = &state.error {
            return Err(error.clone().into());
        }
        if state.finishing {
            return Err(Error::Finished.into());
        }
        if !state.has_room(len, limits) {
            if in_turns && state.is_over() {
                return Err(TrySendError::Busy);
            }
            self.make_room(&mut state);
            if let Some(error) = &state.error {
                return Err(error.clone().into());
            }
            if !state.has_room(len, limits) {
                return Err(TrySendError::Busy);
            }
        }
        let bytes = state.queue.bytes() + len;
        if !self.budget.try_cover(&mut state.reserved, bytes, RESERVE_STEP) {
            drop(state);
            // A queue in which nothing waits was not told of the end.
            return Err(if self.flusher.is_closed() { self.ended().into() } else { TrySendError::Busy });
        }
        add(&mut state.queue);
        if state.scheduled {
            return Ok(());
        }
        if self.flusher.take_idle()
            && let Some(waker) = self.flusher.driver_waker()
        {
            let Flushed { blocked, .. } = state.flush(&mut Context::from_waker(&waker));
            if let Some(stream) = &state.stream {
                stream.flush_now();
            }
            if !blocked {
                return state.error.clone().map_or(Ok(()), |error| Err(error.into()));
            }
        }
        state.scheduled = true;
        drop(state);
        if self.flusher.schedule(self.clone()) {
            return Ok(());
        }
        Err(self.ended().into())
    }

    /// The connection has ended: the stream knows how.
    #[cold]
    fn ended(&self) -> Error {
        self.end();
        self.lock().error.clone().unwrap_or(Error::Finished)
    }
}

impl Flush for Shared {
    fn try_flush(&self, cx: &mut Context<'_>) -> Flushed {
        match self.state.try_lock() {
            Ok(state) => self.flush(state, cx),
            Err(TryLockError::Poisoned(state)) => self.flush(state.into_inner(), cx),
            Err(TryLockError::WouldBlock) => {
                // A sender in a tight loop holds it most of the time: coming back is cheaper than a thread that sleeps.
                cx.waker().wake_by_ref();
                Flushed { blocked: true, ..Flushed::default() }
            }
        }
    }

    fn settle(&self, cx: &mut Context<'_>) {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return cx.waker().wake_by_ref(),
        };
        if state.moved {
            self.announce(state);
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        let cx = &mut Context::from_waker(Waker::noop());
        if let Some(mut stream) = state.stream.take() {
            state.fail(match stream.poll_write_chunks(cx, &mut []) {
                Poll::Ready(Err(error)) => error,
                // Its driver was ended from outside, before the connection was.
                _ => Error::Closed(CloseReason::Local { code: 0, reason: "shut down".into() }),
            });
        }
        state.scheduled = false;
        drop(state);
        self.moved.notify_waiters();
    }
}

impl State {
    /// The queue is full: whether it was filled so often that it is time to let others go first.
    #[cold]
    #[inline(never)]
    fn is_over(&mut self) -> bool {
        self.passes = self.turn.is_over(self.queue.waiting());
        self.passes
    }

    /// Whether one more message may wait.
    #[inline]
    fn has_room(&self, len: usize, limits: &SendLimits) -> bool {
        let queue = &self.queue;
        queue.is_empty() || (queue.messages() < limits.queue_messages && queue.waiting() + len <= limits.queue_bytes)
    }

    /// Moves queued messages to the stream.
    fn flush(&mut self, cx: &mut Context<'_>) -> Flushed {
        let before = self.queue.messages();
        let mut progressed = false;
        while !self.queue.is_empty() {
            let Some(stream) = &mut self.stream else { break };
            match stream.poll_write_chunks(cx, self.queue.chunks()) {
                Poll::Ready(Ok(taken)) => {
                    progressed = true;
                    self.queue.taken(taken);
                }
                Poll::Ready(Err(error)) => {
                    self.stream = None;
                    self.fail(error);
                    return Flushed { messages: before, progressed, blocked: false };
                }
                Poll::Pending => {
                    return Flushed { messages: before - self.queue.messages(), progressed, blocked: true };
                }
            }
        }
        if let Some(reserved) = &mut self.reserved {
            reserved.keep(RESERVE_STEP);
        }
        // Whoever flushes writes.
        drop(self.finish_if_empty());
        Flushed { messages: before, progressed, blocked: false }
    }

    /// Ends the stream once nothing is left to send on it. Gives back the stream that has ended just now.
    fn finish_if_empty(&mut self) -> Option<SendStream> {
        if !self.finishing || !self.queue.is_empty() {
            return None;
        }
        let mut stream = self.stream.take()?;
        if let Err(error) = stream.end_silently() {
            self.fail(error);
        }
        Some(stream)
    }

    fn fail(&mut self, error: Error) {
        self.queue.clear();
        self.reserved = None;
        self.error.get_or_insert(error);
    }
}
