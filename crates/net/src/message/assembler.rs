//! Cuts what a stream delivers into messages. No I/O.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use p2p_core::{ByteBudget, Reservation};

use super::length;
use crate::{Error, Result};

/// What a message that spans several chunks starts with in memory; it grows with what has really arrived.
const ASSEMBLE_START: usize = 64 << 10;

/// Messages out of chunks. A message that lies in one chunk is taken without a copy; one that spans several is charged to
/// the budget while it is put together.
pub(crate) struct Assembler {
    max_message: usize,
    budget: ByteBudget,
    /// Bytes that were read and not yet taken as messages.
    chunk: Bytes,
    /// A message, or a length, of which more is to come.
    partial: Option<Partial>,
}

enum Partial {
    Length { bytes: [u8; length::MAX_LEN], have: usize },
    Body { bytes: BytesMut, len: usize, paid: Option<Reservation>, paying: Option<Paying> },
}

/// Waits for the node's budget.
type Paying = Pin<Box<dyn Future<Output = Reservation> + Send>>;

impl Assembler {
    pub(crate) fn new(max_message: usize, budget: ByteBudget) -> Self {
        Self { max_message, budget, chunk: Bytes::new(), partial: None }
    }

    pub(super) fn max_message(&self) -> usize {
        self.max_message
    }

    /// The limit for messages whose length has not been read yet.
    pub(crate) fn set_max_message(&mut self, max_message: usize) {
        self.max_message = max_message;
    }

    /// Takes the next chunk; the one before it is used up.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// Whether a message has begun and is not whole.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.chunk = Bytes::new();
        self.partial = None;
    }

    /// The bytes that were not taken as messages.
    pub(super) fn into_rest(self) -> Bytes {
        self.chunk
    }

    /// All bytes that were not taken as messages, those of a message that has begun among them.
    pub(crate) fn into_bytes(self) -> Bytes {
        let mut begun = BytesMut::new();
        match self.partial {
            None => return self.chunk,
            Some(Partial::Length { bytes, have }) => begun.extend_from_slice(&bytes[..have]),
            Some(Partial::Body { bytes, len, .. }) => {
                length::encode(len as u64, &mut begun);
                begun.extend_from_slice(&bytes);
            }
        }
        begun.extend_from_slice(&self.chunk);
        begun.freeze()
    }

    /// Takes a message out of the chunk; `None` when the chunk is used up.
    #[inline]
    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.partial.is_none() {
            if self.chunk.is_empty() {
                return Poll::Ready(Ok(None));
            }
            match length::decode(&self.chunk)? {
                Some((len, prefix))
                    if (len as usize) <= self.chunk.len() - prefix && len <= self.max_message as u64 =>
                {
                    let end = prefix + len as usize;
                    let message = self.chunk.slice(prefix..end);
                    bytes::Buf::advance(&mut self.chunk, end);
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

impl std::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembler").field("max_message", &self.max_message).finish_non_exhaustive()
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
