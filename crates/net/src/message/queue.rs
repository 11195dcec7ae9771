//! The bytes of messages that wait to be taken by a stream.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::length;

/// Messages up to this long are copied together, so that many go out as one chunk; longer ones stay as they are.
const COPY_MAX: usize = 4 << 10;

/// What a batch of so few messages begins with: they may be all there are.
const FEW: usize = 4;
const FEW_MIN: usize = 512;

/// What a batch of small messages begins with, once messages come faster than they are taken, or did the last time; each further
/// one is twice as large, up to the second.
const BATCH_MIN: usize = 8 << 10;
const BATCH_MAX: usize = 32 << 10;

/// A batch that has more than this is left as it is when it is full; a shorter one is moved into a larger one.
const MOVE_MAX: usize = 512;

/// A shared message that is shorter than this is copied like others: to refer to it would be no less work.
const SHARE_MIN: usize = 256;

/// Bytes that may be [set aside](SendQueue::set_aside).
const ASIDE_MAX: usize = 32 << 10;

/// A message for many queues, which all refer to the same bytes until the transport has them.
#[derive(Debug, Clone)]
pub struct SharedMessage {
    message: Bytes,
    /// A copy with the length in front, unless it is so short that queues copy it, or so long that they do not. It keeps
    /// nothing in memory that the message is only a part of.
    encoded: Option<Bytes>,
}

impl SharedMessage {
    /// Takes what is to be sent.
    pub fn new(message: Bytes) -> Self {
        let encoded = (SHARE_MIN..=COPY_MAX).contains(&message.len()).then(|| {
            let mut encoded = BytesMut::with_capacity(encoded_size(&message));
            length::encode(message.len() as u64, &mut encoded);
            encoded.extend_from_slice(&message);
            encoded.freeze()
        });
        Self { message, encoded }
    }

    pub(super) fn len(&self) -> usize {
        self.message.len()
    }
}

/// Encoded messages in order. Holds no memory while empty.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    /// Encoded bytes of each message that is waiting and not taken whole.
    sizes: VecDeque<u32>,
    /// All bytes, those set aside included.
    bytes: usize,
    /// Bytes at the front that do not count as waiting.
    aside: usize,
    /// What waited when the transport last took something, [`BATCH_MIN`] at most: the next batch begins with as much.
    likely: usize,
}

impl SendQueue {
    /// Appends a message.
    #[inline]
    pub(super) fn push(&mut self, message: &Bytes) {
        let (len, size) = (message.len(), encoded_size(message));
        if self.tail.capacity() - self.tail.len() < size.min(COPY_MAX) {
            self.make_room(len, size);
        }
        length::encode(len as u64, &mut self.tail);
        if len > COPY_MAX {
            self.chunks.push_back(self.tail.split().freeze());
            self.chunks.push_back(message.clone());
        } else {
            self.tail.extend_from_slice(message);
        }
        self.count(size);
    }

    /// Appends a message that many queues hold.
    pub(super) fn push_shared(&mut self, shared: &SharedMessage) {
        let Some(encoded) = &shared.encoded else { return self.push(&shared.message) };
        if !self.tail.is_empty() {
            // What is left of its memory is for the next.
            self.chunks.push_back(self.tail.split().freeze());
        }
        self.chunks.push_back(encoded.clone());
        self.count(encoded.len());
    }

    #[inline]
    fn count(&mut self, size: usize) {
        // A message is at most 2^32 − 1 bytes by the sender's limit.
        self.sizes.push_back(size as u32);
        self.bytes += size;
    }

    /// Room in the tail for a message, or for its length alone if it stays as it is.
    #[cold]
    fn make_room(&mut self, len: usize, size: usize) {
        let least = if self.sizes.len() < FEW { FEW_MIN } else { BATCH_MIN };
        let batch = (2 * self.tail.capacity()).clamp(least.max(self.likely), BATCH_MAX);
        if self.tail.len() > MOVE_MAX {
            self.chunks.push_back(std::mem::take(&mut self.tail).freeze());
        }
        self.tail.reserve(match (len > COPY_MAX, self.sizes.is_empty()) {
            (true, _) => length::MAX_LEN,
            // One message alone gets what it needs; a second one, or many the last time, show that a batch is forming.
            (false, true) if self.likely < FEW_MIN => size,
            (false, _) => batch.max(size),
        });
    }

    /// Takes what waits out of the count, to go out as one large batch: each visit to the transport takes its lock.
    /// `false` when enough is set aside already.
    pub(super) fn set_aside(&mut self) -> bool {
        if self.bytes > ASIDE_MAX {
            return false;
        }
        self.aside = self.bytes;
        self.sizes.clear();
        true
    }

    /// Encoded bytes, those set aside included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Encoded bytes waiting.
    pub(super) fn waiting(&self) -> usize {
        self.bytes - self.aside
    }

    /// Messages waiting, one taken in part included.
    pub(super) fn messages(&self) -> usize {
        self.sizes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// What waits, in order.
    pub(super) fn chunks(&mut self) -> &mut [Bytes] {
        self.likely = self.bytes.min(BATCH_MIN);
        if !self.tail.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.tail).freeze());
        }
        self.chunks.make_contiguous()
    }

    /// Tells that the first `taken` bytes of [`chunks`](Self::chunks) were taken out of them.
    pub(super) fn taken(&mut self, taken: usize) {
        while self.chunks.front().is_some_and(|chunk| !chunk.has_remaining()) {
            self.chunks.pop_front();
        }
        self.bytes -= taken;
        let mut left = taken.saturating_sub(self.aside);
        self.aside -= taken - left;
        while let Some(size) = self.sizes.front_mut() {
            if (*size as usize) > left {
                *size -= left as u32;
                break;
            }
            left -= *size as usize;
            self.sizes.pop_front();
        }
        if self.is_empty() {
            *self = Self { likely: self.likely, ..Self::default() };
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn encoded_size(message: &Bytes) -> usize {
    length::encoded_len(message.len() as u64) + message.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `messages` messages of 64 bytes take, once the transport has taken those that waited.
    fn room_for(queue: &mut SendQueue, messages: usize) -> usize {
        (0..messages).for_each(|_| queue.push(&Bytes::from_static(&[7; 64])));
        let room = queue.tail.capacity();
        let bytes = queue.bytes();
        queue.chunks().iter_mut().for_each(|chunk| chunk.advance(chunk.len()));
        queue.taken(bytes);
        assert!(queue.is_empty() && queue.tail.capacity() == 0 && queue.sizes.capacity() == 0, "it holds no memory");
        room
    }

    #[test]
    fn a_batch_begins_with_what_the_one_before_took() {
        let mut queue = SendQueue::default();
        assert!(room_for(&mut queue, 1) < FEW_MIN);
        assert!((FEW_MIN..BATCH_MIN).contains(&room_for(&mut queue, 2)));
        assert!(room_for(&mut queue, 1000) >= BATCH_MIN);
        assert!((BATCH_MIN..BATCH_MAX).contains(&room_for(&mut queue, 1)));
        assert!(room_for(&mut queue, 1) < FEW_MIN, "it was one the last time");
    }
}
