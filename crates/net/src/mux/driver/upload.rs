//! Writing at the node's rate.

use std::io::IoSlice;
use std::task::{Context, Poll};

use super::Shared;
use crate::shaper::Share;

impl Shared {
    /// The most that may be written now; pending, and woken later, until it is the connection's turn. The first `urgent` bytes
    /// go ahead of that, and so does what is left of a frame that other urgent ones wait behind.
    pub(super) fn poll_turn_to_write(&self, upload: &Share, urgent: usize, cx: &mut Context<'_>) -> Poll<usize> {
        let turn = upload.poll(cx);
        if turn.is_ready() {
            return turn;
        }
        let (waits, ended) = self.with_core(|core| (core.out.has_urgent(), core.end().is_some()));
        match urgent {
            // What is left is a frame and the good-bye.
            _ if ended => Poll::Ready(usize::MAX),
            0 if waits && upload.goes_ahead() => Poll::Ready(usize::MAX),
            1.. if upload.goes_ahead() => Poll::Ready(urgent),
            _ => Poll::Pending,
        }
    }
}

/// How many of the first pieces are at most `most` bytes together.
pub(super) fn within(pieces: &[IoSlice<'_>], most: usize) -> usize {
    let mut left = most;
    pieces.iter().take_while(|piece| left.checked_sub(piece.len()).map(|rest| left = rest).is_some()).count()
}
