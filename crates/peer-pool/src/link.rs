//! One protocol with one peer: its message stream, its raw streams, and how both end.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use p2p_core::task::pass;
use p2p_core::{ByteBudget, Reservation};
use p2p_identity::{DisconnectReason, Error, ProtocolId, Result, Version};
use p2p_net::{MessageReceiver, MessageSender, SharedMessage, Stream, TrySendError};
use tokio::sync::Notify;

use crate::broadcast::Group;
use crate::peer::{Core, Leave, Peer};

/// How long a reader at the end of the message stream waits to learn why it ended.
const VERDICT: Duration = Duration::from_secs(5);

/// Messages that are read in place of a protocol before others go first: a remote may send them faster than they are put aside.
const MESSAGES_PER_TURN: usize = 1024;

/// Bytes that a message takes which is put aside, beside its own: an empty one is not free.
const PER_MESSAGE: usize = size_of::<(Bytes, Option<Reservation>)>();

pub(crate) struct Link {
    pub(crate) core: Arc<Core>,
    pub(crate) peer: Weak<Peer>,
    pub(crate) group: Weak<Group>,
    pub(crate) protocol: ProtocolId,
    pub(crate) remote_version: Version,
    sender: MessageSender,
    receiver: MessageReceiver,
    /// The protocol has ended on this side, or on the other.
    ended_here: AtomicBool,
    ended_there: AtomicBool,
    rest: Mutex<Rest>,
    changed: Notify,
    max_waiting: usize,
    max_stash: usize,
    max_message: usize,
    budget: ByteBudget,
}

/// What was read in place of the protocol, and streams that wait for it.
#[derive(Default)]
struct Rest {
    stash: VecDeque<(Bytes, Option<Reservation>)>,
    /// Bytes that it takes, those for each message included.
    stashed: usize,
    /// Nothing more will be read.
    finished: bool,
    /// The remote has ended the message stream, and all of it was read.
    complete: bool,
    waiting: VecDeque<Stream>,
}

pub(crate) struct LinkParts {
    pub(crate) core: Arc<Core>,
    pub(crate) peer: Weak<Peer>,
    pub(crate) group: Weak<Group>,
    pub(crate) protocol: ProtocolId,
    pub(crate) remote_version: Version,
    pub(crate) sender: MessageSender,
    pub(crate) receiver: MessageReceiver,
    pub(crate) max_waiting: usize,
    pub(crate) max_stash: usize,
    pub(crate) max_message: usize,
    pub(crate) budget: ByteBudget,
}

impl Link {
    pub(crate) fn new(parts: LinkParts) -> Self {
        let LinkParts { core, peer, group, protocol, remote_version, sender, mut receiver, .. } = parts;
        let LinkParts { max_waiting, max_stash, max_message, budget, .. } = parts;
        receiver.mark_use(core.used_mark());
        Self {
            core,
            peer,
            group,
            protocol,
            remote_version,
            sender,
            receiver,
            ended_here: AtomicBool::new(false),
            ended_there: AtomicBool::new(false),
            rest: Mutex::default(),
            changed: Notify::new(),
            max_waiting,
            max_stash,
            max_message,
            budget,
        }
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        // The state is valid after each statement.
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message. A sender that has to wait makes the peer's task look whether the peer lives.
    #[inline]
    pub(crate) async fn send(&self, message: Bytes) -> Result<()> {
        let mut sending = pin!(self.sender.send(message));
        let mut waited = false;
        let sent = poll_fn(|cx| {
            let sent = sending.as_mut().poll(cx);
            if sent.is_pending() && !std::mem::replace(&mut waited, true) {
                self.core.probe();
            }
            sent
        });
        match sent.await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.send_error(error)),
        }
    }

    #[inline]
    pub(crate) fn try_send(&self, message: Bytes) -> Result<()> {
        self.tried(self.sender.try_send(message))
    }

    /// As `try_send`, of a message that others get too.
    pub(crate) fn try_send_shared(&self, message: &SharedMessage) -> Result<()> {
        self.tried(self.sender.try_send_shared(message))
    }

    #[inline]
    fn tried(&self, sent: Result<(), TrySendError>) -> Result<()> {
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Busy) => {
                self.core.probe();
                Err(Error::Busy)
            }
            Err(TrySendError::Failed(error)) => Err(self.send_error(error)),
            // What a later version of the transport may add is no reason to think the message was queued.
            Err(_) => Err(Error::Busy),
        }
    }

    pub(crate) async fn flush(&self) -> Result<()> {
        self.sender.flush().await.map_err(|error| self.send_error(error))
    }

    #[cold]
    fn send_error(&self, error: p2p_net::Error) -> Error {
        match error {
            p2p_net::Error::MessageTooLarge { len, max } => Error::MessageTooLarge { len: len as usize, max },
            p2p_net::Error::Closed(reason) => {
                self.core.end_error(true).unwrap_or_else(|| Error::Disconnected(crate::peer::disconnect_reason(reason)))
            }
            _ => self.core.end_error(true).unwrap_or(Error::ProtocolEnded),
        }
    }

    /// The next message. Cancel-safe.
    #[inline]
    pub(crate) async fn recv(&self) -> Result<Bytes> {
        match self.receiver.recv().await {
            Ok(Some(message)) => return Ok(message),
            // Somebody reads in the protocol's place.
            Err(p2p_net::Error::Finished) if self.receiver.is_taken_over() => {}
            end => self.receive_ended(end.err()),
        }
        Box::pin(self.recv_rest()).await
    }

    #[cold]
    fn receive_ended(&self, error: Option<p2p_net::Error>) {
        use p2p_net::Error as E;
        match &error {
            Some(error @ (E::MessageTooLarge { .. } | E::LengthEncoding | E::Truncated)) => {
                let what = error.to_string();
                self.core.leave(Leave::Now(DisconnectReason::ProtocolViolation(what)));
            }
            // Without a word on the control stream this is how a protocol gives up.
            Some(E::Reset(_)) => self.ended_there.store(true, Ordering::Release),
            _ => {}
        }
        let complete = error.is_none();
        let mut rest = self.rest();
        rest.finished = true;
        rest.complete = complete;
        drop(rest);
        self.changed.notify_waiters();
    }

    /// What was put aside, then why there is no more.
    async fn recv_rest(&self) -> Result<Bytes> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let (finished, complete) = {
                let mut rest = self.rest();
                if let Some((message, _)) = rest.stash.pop_front() {
                    rest.stashed -= message.len() + PER_MESSAGE;
                    drop(rest);
                    self.changed.notify_waiters();
                    return Ok(message);
                }
                (rest.finished, rest.complete)
            };
            if !finished {
                changed.await;
                continue;
            }
            if let Some(error) = self.core.end_error(complete) {
                return Err(error);
            }
            if self.has_ended() {
                return Err(Error::ProtocolEnded);
            }
            let closed = pin!(self.core.closed());
            let verdict = futures_util::future::select(changed, closed);
            if self.core.runtime.timeout(VERDICT, verdict).await.is_err() {
                self.ended_there.store(true, Ordering::Release);
            }
        }
    }

    /// Whether the protocol has ended on either side.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended_here.load(Ordering::Acquire) || self.ended_there.load(Ordering::Acquire)
    }

    pub(crate) fn has_ended_here(&self) -> bool {
        self.ended_here.load(Ordering::Acquire)
    }

    /// The protocol has ended on this side; `false` when it had before.
    pub(crate) fn end_here(&self) -> bool {
        let first = !self.ended_here.swap(true, Ordering::AcqRel);
        self.sender.finish();
        let waiting = std::mem::take(&mut self.rest().waiting);
        waiting.into_iter().for_each(|stream| stream.reset(crate::header::stream_code::UNKNOWN_PROTOCOL));
        self.changed.notify_waiters();
        first
    }

    /// The protocol has ended on the other side: nothing that is sent would be read. `false` when it had before.
    pub(crate) fn end_there(&self) -> bool {
        let first = !self.ended_there.swap(true, Ordering::AcqRel);
        self.sender.finish();
        self.changed.notify_waiters();
        first
    }

    /// Ends the message stream after what is queued.
    pub(crate) fn finish(&self) {
        self.sender.finish();
        self.changed.notify_waiters();
    }

    /// Somebody who waits should look again: the connection ends.
    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Reads to the end in the protocol's place, and puts aside what it has not read yet; drops it if the protocol has
    /// ended here. Waits while too much is put aside.
    pub(crate) async fn drain(&self) {
        self.receiver.take_over();
        let mut turn = 0usize;
        loop {
            turn += 1;
            if turn.is_multiple_of(MESSAGES_PER_TURN) {
                pass().await;
            }
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let (full, finished) = {
                let rest = self.rest();
                let unpaid = rest.stash.back().is_some_and(|(_, paid)| paid.is_none());
                (rest.stashed >= self.max_stash || unpaid, rest.finished)
            };
            if finished {
                return;
            }
            if full && !self.has_ended_here() {
                changed.await;
                continue;
            }
            match self.receiver.recv_rest().await {
                Ok(Some(message)) if !self.has_ended_here() => {
                    let size = message.len() + PER_MESSAGE;
                    let paid = self.budget.try_reserve(size);
                    let mut rest = self.rest();
                    rest.stashed += size;
                    rest.stash.push_back((message, paid));
                    drop(rest);
                    self.changed.notify_waiters();
                }
                Ok(Some(_)) => {}
                end => self.receive_ended(end.err()),
            }
        }
    }

    /// Whether the protocol has messages left to read.
    pub(crate) fn has_unread(&self) -> bool {
        let rest = self.rest();
        !rest.stash.is_empty() || !rest.finished
    }

    /// A raw stream that the remote opened; given back when too many wait.
    pub(crate) fn offer_stream(&self, stream: Stream) -> Option<Stream> {
        let mut rest = self.rest();
        if rest.waiting.len() >= self.max_waiting {
            return Some(stream);
        }
        rest.waiting.push_back(stream);
        drop(rest);
        self.changed.notify_waiters();
        None
    }

    /// A raw stream as protocols see it.
    pub(crate) fn stream(&self, stream: Stream) -> crate::Stream {
        crate::Stream::new(stream, self.max_message, self.budget.clone())
    }

    /// The next raw stream. Cancel-safe.
    pub(crate) async fn accept_stream(&self) -> Result<Stream> {
        let mut closed = pin!(self.core.closed());
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(stream) = self.rest().waiting.pop_front() {
                return Ok(stream);
            }
            // After a good-bye there may be streams on their way that were finished before it.
            if self.core.ended().is_some()
                && let Some(error) = self.core.end_error(true)
            {
                return Err(error);
            }
            if self.has_ended() {
                return Err(self.core.end_error(true).unwrap_or(Error::ProtocolEnded));
            }
            poll_fn(|cx| {
                let ready = changed.as_mut().poll(cx).is_ready() || closed.as_mut().poll(cx).is_ready();
                if ready { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", &self.core.id).field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
