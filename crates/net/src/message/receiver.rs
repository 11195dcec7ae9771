//! [`MessageReceiver`].

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use p2p_core::ByteBudget;

use super::Flusher;
use super::assembler::Assembler;
use super::turn::Turn;
use crate::{Error, RecvStream, Result};

/// Receives the messages of a stream. All methods take `&self`; of several callers each message goes to one.
///
/// Dropping it tells the remote to stop sending.
pub struct MessageReceiver {
    state: Mutex<State>,
    callers: Arc<Callers>,
    /// Wakes the callers. What `state` waits for has room for one waker, and there may be several callers.
    waker: Waker,
}

/// The calls of `recv` that wait. Nothing else is locked while the list is.
#[derive(Default)]
struct Callers {
    waiting: Mutex<Vec<Waker>>,
    /// They were woken since somebody began to look.
    woken: AtomicBool,
}

struct State {
    stream: RecvStream,
    flusher: Arc<Flusher>,
    assembler: Assembler,
    /// Bytes that are taken out of the stream at a time.
    most: usize,
    turn: Turn,
    /// There may be more, but others go first.
    passes: bool,
    /// The stream had nothing when it was last asked.
    waited: bool,
    /// What is left is for [`MessageReceiver::recv_rest`].
    taken_over: bool,
    /// Set once nothing more can come.
    end: Option<Result<()>>,
}

impl MessageReceiver {
    /// Receives from `stream`. A message longer than `max_message` bytes ends it; one that must be assembled from
    /// several chunks is charged to `budget` meanwhile.
    pub fn new(mut stream: RecvStream, max_message: usize, budget: &ByteBudget) -> Self {
        let flusher = stream.flusher().clone();
        stream.set_in_use();
        let assembler = Assembler::new(max_message, budget.clone());
        let callers = Arc::<Callers>::default();
        let waker = callers.clone().into();
        Self {
            state: Mutex::new(State {
                stream,
                flusher,
                assembler,
                most: usize::MAX,
                turn: Turn::default(),
                passes: false,
                waited: false,
                taken_over: false,
                end: None,
            }),
            callers,
            waker,
        }
    }

    /// Takes about one message at a time out of the stream, instead of all that has arrived. What is behind the messages that
    /// are asked for is then not read, and the remote gets no credit for it.
    #[must_use]
    pub fn sparing(mut self) -> Self {
        let state = self.state_mut();
        state.most = state.assembler.max_message().saturating_add(super::MAX_LENGTH_BYTES);
        self
    }

    /// The remote is not told that the end was read: for streams on which both sides know that nobody waits for it with
    /// [`SendStream::finish`](crate::SendStream::finish), such as those that a [`MessageSender`](crate::MessageSender) ends.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.state_mut().stream.set_silent();
        self
    }

    /// From now on sets `mark` whenever bytes are taken out of the stream.
    pub fn mark_use(&mut self, mark: Arc<AtomicBool>) {
        self.state_mut().stream.mark_use(mark);
    }

    /// The next message; `None` when the remote has finished the stream. Cancel-safe: a message is returned whole or
    /// stays.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`], [`Error::LengthEncoding`], [`Error::Truncated`], or why the stream has ended; the same
    /// again at later calls. [`Error::Finished`] after [`take_over`](Self::take_over).
    #[inline]
    pub async fn recv(&self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv). Any number of tasks may call it: all that wait are woken when there is something.
    #[inline]
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.poll_recv_as(cx, false)
    }

    /// Keeps what is left for [`recv_rest`](Self::recv_rest): from now on no call of [`recv`](Self::recv) gets a message, not
    /// even one that waits. Idempotent.
    pub fn take_over(&self) {
        lock(&self.state).taken_over = true;
        self.callers.wake_by_ref();
    }

    /// Whether [`take_over`](Self::take_over) was called.
    pub fn is_taken_over(&self) -> bool {
        lock(&self.state).taken_over
    }

    /// As [`recv`](Self::recv), for whoever has [taken over](Self::take_over).
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv) but [`Error::Finished`].
    pub async fn recv_rest(&self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_recv_as(cx, true)).await
    }

    #[inline]
    fn poll_recv_as(&self, cx: &mut Context<'_>, rest: bool) -> Poll<Result<Option<Bytes>>> {
        let mut state = lock(&self.state);
        loop {
            if state.taken_over && !rest {
                return Poll::Ready(Err(Error::Finished));
            }
            self.callers.look();
            let message = state.poll_recv(&mut Context::from_waker(&self.waker));
            if message.is_ready() {
                return message;
            }
            if std::mem::take(&mut state.passes) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.callers.register(cx.waker()) {
                return Poll::Pending;
            }
        }
    }

    /// The limit for messages whose length has not been read yet.
    pub fn set_max_message(&mut self, max_message: usize) {
        self.state_mut().assembler.set_max_message(max_message);
    }

    fn state_mut(&mut self) -> &mut State {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads no more; the remote's sends fail with `code`.
    pub fn stop(self, code: u32) {
        self.into_state().stream.stop(code);
    }

    /// The rest of the stream as bytes, after the messages that were received. Bytes of a message that has only begun to
    /// arrive are lost.
    pub fn into_inner(self) -> RecvStream {
        let state = self.into_state();
        let mut stream = state.stream;
        stream.put_back(state.assembler.into_rest());
        stream
    }

    fn into_state(self) -> State {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MessageReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReceiver").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The state is valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Callers {
    /// Somebody begins to look. What the stream's own lock orders behind this look, a wake among it, comes after this.
    fn look(&self) {
        self.woken.store(false, Ordering::Relaxed);
    }

    /// Puts a caller that has found nothing on the list; `false` when something came meanwhile.
    fn register(&self, waker: &Waker) -> bool {
        let mut waiting = lock(&self.waiting);
        if self.woken.load(Ordering::Relaxed) {
            return false;
        }
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        true
    }
}

impl Wake for Callers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut waiting = lock(&self.waiting);
        self.woken.store(true, Ordering::Relaxed);
        // One caller waits as a rule, and will again: the list keeps its memory, and the others need none.
        let last = waiting.pop();
        let others: Vec<Waker> = waiting.drain(..).collect();
        drop(waiting);
        others.into_iter().chain(last).for_each(Waker::wake);
    }
}

impl State {
    #[inline]
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            match self.assembler.poll_message(cx) {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(message)) => return Poll::Ready(Ok(message)),
                Poll::Ready(Err(error)) => {
                    self.end = Some(Err(error.clone()));
                    self.assembler.clear();
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => return Poll::Pending,
            }
            if let Some(end) = &self.end {
                return Poll::Ready(end.clone().map(|()| None));
            }
            if self.passes {
                return Poll::Pending;
            }
            match self.stream.poll_read_at_most(cx, self.most) {
                Poll::Pending => {
                    self.waited = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(Some(chunk))) => {
                    if std::mem::take(&mut self.waited) {
                        self.flusher.set_idle();
                    }
                    self.passes = self.turn.is_over(chunk.len());
                    self.assembler.push(chunk);
                }
                Poll::Ready(Ok(None)) if self.assembler.is_partial() => self.end = Some(Err(Error::Truncated)),
                Poll::Ready(Ok(None)) => self.end = Some(Ok(())),
                Poll::Ready(Err(error)) => self.end = Some(Err(error)),
            }
        }
    }
}
