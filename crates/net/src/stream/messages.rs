//! Messages on a stream that carries bytes too: one at a time, with nothing queued behind them.
//!
//! [`MessageSender`](crate::MessageSender) and [`MessageReceiver`](crate::MessageReceiver) take a stream over for good, and
//! coalesce and bound queues of messages. These here are for an exchange of a few messages, before or between bytes.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use p2p_core::ByteBudget;

use super::{RecvStream, SendStream, Stream};
use crate::message::{Assembler, MAX_LENGTH_BYTES, encode_length};
use crate::{Error, Result};

/// A message of which a part has been read.
#[derive(Debug)]
pub(super) struct Reading {
    assembler: Assembler,
    /// Why no message can follow: where the next one begins is not known.
    failed: Option<Error>,
}

impl Reading {
    /// All that was taken out of the stream and not given to anybody.
    pub(super) fn into_bytes(self) -> Bytes {
        self.assembler.into_bytes()
    }
}

impl SendStream {
    /// Writes a message: its length and its bytes. Waits for the remote's credit, and for nothing else: the bytes are on their
    /// way when it returns. A dropped call may have begun the message; the rest of it then goes ahead of whatever is written
    /// next, and of the end that [`finish`](Self::finish) and shutting down send. So a message arrives whole or, when the
    /// stream is given up, not at all.
    ///
    /// # Errors
    /// As [`poll_write_chunks`](Self::poll_write_chunks).
    pub async fn send_message(&mut self, message: impl Into<Bytes>) -> Result<()> {
        let message = message.into();
        poll_fn(|cx| self.poll_unsent(cx)).await?;
        let mut length = BytesMut::with_capacity(MAX_LENGTH_BYTES);
        encode_length(message.len() as u64, &mut length);
        self.unsent = [length.freeze(), message];
        poll_fn(|cx| self.poll_unsent(cx)).await
    }

    /// Writes what a dropped call of [`send_message`](Self::send_message) has left.
    pub(super) fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.has_unsent() {
            return Poll::Ready(Ok(()));
        }
        while self.has_unsent() {
            let mut unsent = std::mem::take(&mut self.unsent);
            let taken = self.poll_write_chunks_now(cx, &mut unsent);
            self.unsent = unsent;
            ready!(taken)?;
        }
        self.flush_now();
        Poll::Ready(Ok(()))
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.unsent.iter().any(Buf::has_remaining)
    }
}

impl RecvStream {
    /// The next message of at most `max_message` bytes, which [`SendStream::send_message`] or a
    /// [`MessageSender`](crate::MessageSender) has sent; `None` when the remote has finished the stream. One that arrives in
    /// several pieces is charged to `budget` until it is whole. What follows it in the stream, message or bytes, stays there.
    ///
    /// Cancel-safe: what has arrived stays, for the next call or for whoever reads bytes.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`], [`Error::LengthEncoding`], [`Error::Truncated`], after which no message can follow; those of
    /// [`read_chunk`](Self::read_chunk).
    pub async fn recv_message(&mut self, max_message: usize, budget: &ByteBudget) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_message(cx, max_message, budget)).await
    }

    fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        max_message: usize,
        budget: &ByteBudget,
    ) -> Poll<Result<Option<Bytes>>> {
        let mut reading = self.reading.take().unwrap_or_else(|| {
            let mut assembler = Assembler::new(max_message, budget.clone());
            assembler.push(std::mem::take(&mut self.rest));
            Box::new(Reading { assembler, failed: None })
        });
        let Reading { assembler, failed } = &mut *reading;
        assembler.set_max_message(max_message);
        let polled = loop {
            if let Some(error) = failed {
                break Poll::Ready(Err(error.clone()));
            }
            match assembler.poll_message(cx) {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => {
                    *failed = Some(error);
                    continue;
                }
                message => break message,
            }
            match self.poll_read_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => assembler.push(chunk),
                Poll::Ready(Ok(None)) if assembler.is_partial() => *failed = Some(Error::Truncated),
                end => break end,
            }
        };
        if assembler.is_partial() || failed.is_some() {
            self.reading = Some(reading);
        } else {
            self.rest = reading.into_bytes();
        }
        polled
    }
}

impl Stream {
    /// Writes a message: see [`SendStream::send_message`].
    ///
    /// # Errors
    /// As there.
    pub async fn send_message(&mut self, message: impl Into<Bytes>) -> Result<()> {
        self.send.send_message(message).await
    }

    /// The next message: see [`RecvStream::recv_message`]. Cancel-safe.
    ///
    /// # Errors
    /// As there.
    pub async fn recv_message(&mut self, max_message: usize, budget: &ByteBudget) -> Result<Option<Bytes>> {
        self.recv.recv_message(max_message, budget).await
    }
}
