//! [`MessageReceiver`].

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use p2p_core::{ByteBudget, Reservation};
use tokio::sync::Mutex;

use super::{Flusher, length};
use crate::{Error, RecvStream, Result};

/// What a message that spans several chunks starts with in memory; it grows with what has really arrived.
const ASSEMBLE_START: usize = 64 << 10;

/// Receives the messages of a stream. All methods take `&self`; of several callers each message goes to one.
///
/// Dropping it tells the remote to stop sending.
pub struct MessageReceiver {
    state: Mutex<State>,
}

struct State {
    stream: RecvStream,
    flusher: Arc<Flusher>,
    max_message: usize,
    budget: ByteBudget,
    /// Bytes that were read and not yet taken as messages.
    chunk: Bytes,
    /// A message, or a length, of which more is to come.
    partial: Option<Partial>,
    /// The stream had nothing when it was last asked.
    waited: bool,
    /// Set once nothing more can come.
    end: Option<Result<()>>,
}

enum Partial {
    Length { bytes: [u8; length::MAX_LEN], have: usize },
    Body { bytes: BytesMut, len: usize, paid: Option<Reservation>, paying: Option<Paying> },
}

/// Waits for the node's budget.
type Paying = Pin<Box<dyn Future<Output = Reservation> + Send>>;

impl MessageReceiver {
    /// Receives from `stream`. A message longer than `max_message` bytes ends it; one that must be assembled from
    /// several chunks is charged to `budget` meanwhile.
    pub fn new(stream: RecvStream, max_message: usize, budget: &ByteBudget) -> Self {
        let flusher = stream.flusher().clone();
        let state = State {
            stream,
            flusher,
            max_message,
            budget: budget.clone(),
            chunk: Bytes::new(),
            partial: None,
            waited: false,
            end: None,
        };
        Self { state: Mutex::new(state) }
    }

    /// The next message; `None` when the remote has finished the stream. Cancel-safe: a message is returned whole or
    /// stays.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`], [`Error::LengthEncoding`], [`Error::Truncated`], or why the stream has ended; the same
    /// again at later calls.
    pub async fn recv(&self) -> Result<Option<Bytes>> {
        let mut state = self.state.lock().await;
        poll_fn(|cx| state.poll_recv(cx)).await
    }

    /// The limit for messages whose length has not been read yet.
    pub fn set_max_message(&mut self, max_message: usize) {
        self.state.get_mut().max_message = max_message;
    }

    /// Reads no more; the remote's sends fail with `code`.
    pub fn stop(self, code: u32) {
        self.state.into_inner().stream.stop(code);
    }

    /// The rest of the stream as bytes, after the messages that were received. Bytes of a message that has only begun to
    /// arrive are lost.
    pub fn into_inner(self) -> RecvStream {
        let state = self.state.into_inner();
        let mut stream = state.stream;
        stream.put_back(state.chunk);
        stream
    }
}

impl fmt::Debug for MessageReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReceiver").finish_non_exhaustive()
    }
}

impl State {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            match self.take_message(cx) {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(message)) => return Poll::Ready(Ok(message)),
                Poll::Ready(Err(error)) => {
                    self.end = Some(Err(error.clone()));
                    self.chunk = Bytes::new();
                    self.partial = None;
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => return Poll::Pending,
            }
            if let Some(end) = &self.end {
                return Poll::Ready(end.clone().map(|()| None));
            }
            match self.stream.poll_read_chunk(cx) {
                Poll::Pending => {
                    self.waited = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(Some(chunk))) => {
                    if std::mem::take(&mut self.waited) {
                        self.flusher.set_idle();
                    }
                    self.chunk = chunk;
                }
                Poll::Ready(Ok(None)) if self.partial.is_some() => self.end = Some(Err(Error::Truncated)),
                Poll::Ready(Ok(None)) => self.end = Some(Ok(())),
                Poll::Ready(Err(error)) => self.end = Some(Err(error)),
            }
        }
    }

    /// Takes a message out of the chunk; `None` when the chunk is used up.
    #[inline]
    fn take_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.partial.is_none() {
            if self.chunk.is_empty() {
                return Poll::Ready(Ok(None));
            }
            match length::decode(&self.chunk)? {
                Some((len, prefix))
                    if (len as usize) <= self.chunk.len() - prefix && len <= self.max_message as u64 =>
                {
                    let mut message = self.chunk.split_to(prefix + len as usize);
                    bytes::Buf::advance(&mut message, prefix);
                    return Poll::Ready(Ok(Some(message)));
                }
                Some((len, prefix)) => {
                    bytes::Buf::advance(&mut self.chunk, prefix);
                    self.begin_body(len)?;
                }
                None => self.partial = Some(Partial::Length { bytes: [0; length::MAX_LEN], have: 0 }),
            }
        }
        self.assemble(cx)
    }

    fn begin_body(&mut self, len: u64) -> Result<()> {
        if len > self.max_message as u64 {
            return Err(Error::MessageTooLarge { len, max: self.max_message });
        }
        self.partial = Some(Partial::Body { bytes: BytesMut::new(), len: len as usize, paid: None, paying: None });
        Ok(())
    }

    fn assemble(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            match &mut self.partial {
                Some(Partial::Length { bytes, have }) => {
                    let Some(&byte) = self.chunk.first() else { return Poll::Ready(Ok(None)) };
                    bytes[*have] = byte;
                    *have += 1;
                    bytes::Buf::advance(&mut self.chunk, 1);
                    if let Some((len, _)) = length::decode(&bytes[..*have])? {
                        self.begin_body(len)?;
                    }
                }
                Some(Partial::Body { bytes, len, paid, paying }) => {
                    let part = self.chunk.len().min(*len - bytes.len());
                    if bytes.capacity() < bytes.len() + part {
                        // Memory is taken, and paid for, as bytes arrive: a claim alone takes the first piece at most.
                        let grown = (bytes.len() * 2).max(bytes.len() + part).max(ASSEMBLE_START).min(*len);
                        ready!(pay(paid, paying, grown, &self.budget, cx));
                        bytes.reserve(grown - bytes.len());
                    }
                    bytes.extend_from_slice(&self.chunk.split_to(part));
                    if bytes.len() < *len {
                        return Poll::Ready(Ok(None));
                    }
                    let message = std::mem::take(bytes).freeze();
                    self.partial = None;
                    return Poll::Ready(Ok(Some(message)));
                }
                None => return Poll::Ready(Ok(None)),
            }
        }
    }
}

/// Makes sure that `bytes` are paid for.
fn pay(
    paid: &mut Option<Reservation>,
    paying: &mut Option<Paying>,
    bytes: usize,
    budget: &ByteBudget,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        let missing = bytes.saturating_sub(paid.as_ref().map_or(0, Reservation::bytes));
        if missing == 0 {
            return Poll::Ready(());
        }
        let more = match paying {
            None => match budget.try_reserve(missing) {
                Some(more) => more,
                None => {
                    *paying = Some(Box::pin(budget.clone().reserve(missing)));
                    continue;
                }
            },
            Some(waiting) => ready!(waiting.as_mut().poll(cx)),
        };
        *paying = None;
        match paid {
            Some(paid) => paid.merge(more),
            None => *paid = Some(more),
        }
    }
}
