//! What a stream has received and its reader has not taken.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes in order, in as few pieces as they came.
///
/// Small pieces are copied together: a reader that takes little then finds much, and a small piece never keeps the
/// large buffer alive that it arrived in.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pieces: VecDeque<Piece>,
    tail: BytesMut,
    bytes: usize,
    /// What the buffers of `pieces` take.
    allocated: usize,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// What its buffer takes.
    allocated: usize,
}

/// What a piece takes beside its buffer.
const PER_PIECE: usize = size_of::<Piece>();

impl Inbox {
    /// Appends a copy.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Appends a piece that has a buffer of its own, of so many bytes.
    pub(super) fn push(&mut self, bytes: Bytes, buffer: usize) {
        if !self.tail.is_empty() {
            let (allocated, tail) = (self.tail.capacity(), std::mem::take(&mut self.tail));
            self.put(tail.freeze(), allocated);
        }
        self.bytes += bytes.len();
        self.put(bytes, buffer);
    }

    fn put(&mut self, bytes: Bytes, buffer: usize) {
        let allocated = buffer + PER_PIECE;
        self.allocated += allocated;
        self.pieces.push_back(Piece { bytes, allocated });
    }

    /// Takes the oldest piece, or the first `most` bytes of it.
    pub(super) fn pop(&mut self, most: usize) -> Option<Bytes> {
        let mut piece = match self.pieces.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => return None,
            None => {
                let allocated = self.tail.capacity();
                self.allocated += allocated;
                Piece { bytes: std::mem::take(&mut self.tail).freeze(), allocated }
            }
        };
        self.allocated -= piece.allocated;
        if piece.bytes.len() > most {
            // The rest keeps the buffer.
            let rest = piece.bytes.split_off(most);
            self.allocated += piece.allocated;
            self.pieces.push_front(Piece { bytes: rest, allocated: piece.allocated });
        }
        self.bytes -= piece.bytes.len();
        Some(piece.bytes)
    }

    /// Drops everything and tells how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(self).bytes
    }

    /// Bytes of memory that it takes: buffers grow ahead of what is in them.
    pub(super) fn held(&self) -> usize {
        self.allocated + self.tail.capacity()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_what_was_allocated() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.held(), 0);
        for n in 0..20_000 {
            inbox.copy(&[n as u8; 7]);
            assert!(inbox.held() >= inbox.bytes() && inbox.held() >= inbox.tail.capacity());
        }
        let before = inbox.held();
        inbox.push(Bytes::from(vec![1; 20_000]), 40_000);
        assert_eq!(inbox.held(), before + 40_000 + 2 * PER_PIECE);
        // Part of a buffer keeps all of it.
        while inbox.bytes() > 20_000 {
            let held = inbox.held();
            inbox.pop(30_000).unwrap();
            assert!(inbox.held() <= held && inbox.held() >= 40_000);
        }
        assert_eq!(inbox.pop(19_999).unwrap().len(), 19_999);
        assert_eq!(inbox.held(), 40_000 + PER_PIECE);
        assert_eq!(inbox.pop(19_999).unwrap().len(), 1);
        assert_eq!((inbox.held(), inbox.bytes(), inbox.pop(1)), (0, 0, None));
        inbox.copy(&[1; 100]);
        assert_eq!((inbox.clear(), inbox.held()), (100, 0));
    }
}
