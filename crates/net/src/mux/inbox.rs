//! What a stream has received and its reader has not taken.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes in order, in as few pieces as they came.
///
/// Small pieces are copied together: a reader that takes little then finds much, and a small piece never keeps the
/// large buffer alive that it arrived in.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Inbox {
    /// Appends a copy.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Appends a piece that has a buffer of its own.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if !self.tail.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.tail).freeze());
        }
        self.bytes += chunk.len();
        self.chunks.push_back(chunk);
    }

    /// Takes the oldest piece, or the first `most` bytes of it.
    pub(super) fn pop(&mut self, most: usize) -> Option<Bytes> {
        let mut chunk = match self.chunks.pop_front() {
            Some(chunk) => chunk,
            None if self.tail.is_empty() => return None,
            None => std::mem::take(&mut self.tail).freeze(),
        };
        if chunk.len() > most {
            let rest = chunk.split_off(most);
            self.chunks.push_front(rest);
        }
        self.bytes -= chunk.len();
        Some(chunk)
    }

    /// Drops everything and tells how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(self).bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
