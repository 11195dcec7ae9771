//! The framing of messages without a stream, for fuzzing.

use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use p2p_core::ByteBudget;

use super::assembler::Assembler;
use super::length;
use super::queue::{SendQueue, SharedMessage};
use crate::Result;

/// Reads a length: the value and the bytes it took.
pub fn decode_length(bytes: &[u8]) -> Result<Option<(u64, usize)>> {
    length::decode(bytes)
}

/// Writes a length of at most 2^62 − 1.
pub fn encode_length(value: u64) -> Bytes {
    let mut bytes = BytesMut::new();
    length::encode(value, &mut bytes);
    bytes.freeze()
}

/// What a `MessageReceiver` does with chunks.
pub struct Receiving(Assembler);

impl Receiving {
    /// Takes messages of at most `max_message` bytes.
    pub fn new(max_message: usize, budget: ByteBudget) -> Self {
        Self(Assembler::new(max_message, budget))
    }

    /// The next chunk; [`poll`](Self::poll) must have said that the one before is used up.
    pub fn push(&mut self, chunk: Bytes) {
        self.0.push(chunk);
    }

    /// The next message, or `None` when the chunk is used up.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.0.poll_message(cx)
    }

    /// Whether a message has begun and is not whole.
    pub fn is_partial(&self) -> bool {
        self.0.is_partial()
    }
}

/// What a `MessageSender` does with messages.
#[derive(Default)]
pub struct Sending(SendQueue);

impl Sending {
    /// Appends a message.
    pub fn push(&mut self, message: &Bytes) {
        self.0.push(message);
    }

    /// Appends a message that many queues hold.
    pub fn push_shared(&mut self, message: &Bytes) {
        self.0.push_shared(&SharedMessage::new(message.clone()));
    }

    /// Takes what waits out of the count.
    pub fn set_aside(&mut self) -> bool {
        self.0.set_aside()
    }

    /// What a transport takes that has room for `len` bytes.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        for chunk in self.0.chunks() {
            let part = chunk.len().min(len - taken.len());
            taken.extend_from_slice(&chunk[..part]);
            chunk.advance(part);
        }
        self.0.taken(taken.len());
        taken
    }

    /// All bytes, those that count as waiting, and the messages that are waiting.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.0.bytes(), self.0.waiting(), self.0.messages())
    }
}
