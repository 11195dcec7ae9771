//! Bytes that wait to be sent, copied once.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes kept in one piece. Growing a piece copies it, so it is bounded.
const PIECE: usize = 16 << 10;

#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    pieces: VecDeque<Bytes>,
    last: BytesMut,
    len: usize,
}

impl SendBuffer {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn put(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.last.len()));
            self.last.extend_from_slice(now);
            bytes = later;
            if self.last.len() == PIECE {
                self.pieces.push_back(self.last.split().freeze());
            }
        }
    }

    /// Takes the oldest bytes out: `most`, or fewer, but some if there are any.
    pub(crate) fn take(&mut self, most: usize) -> Bytes {
        let taken = match self.pieces.front_mut() {
            Some(piece) if piece.len() > most => piece.split_to(most),
            Some(_) => self.pieces.pop_front().unwrap_or_default(),
            None => self.last.split_to(most.min(self.last.len())).freeze(),
        };
        self.len -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let all: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let (mut buffer, mut out) = (SendBuffer::default(), Vec::new());
        for (n, chunk) in all.chunks(7_919).enumerate() {
            buffer.put(chunk);
            while n % 3 == 2 && !buffer.is_empty() {
                let taken = buffer.take(1_000 + n);
                assert!((1..=1_000 + n).contains(&taken.len()));
                out.extend_from_slice(&taken);
            }
        }
        while !buffer.is_empty() {
            out.extend_from_slice(&buffer.take(usize::MAX));
        }
        assert!(out == all);
        assert!(buffer.take(7).is_empty());
    }
}
