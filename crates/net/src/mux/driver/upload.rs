//! Writing at the node's rate.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::super::core::Core;
use super::{Io, Shared};
use crate::shaper::Share;
use crate::shortest::NEAR;

impl Io {
    pub(super) fn longest_frame(&self) -> usize {
        let upload = self.upload.as_ref().filter(|upload| upload.is_active());
        upload.map_or(usize::MAX, Share::quantum).min(self.pace.ahead() as usize)
    }
}

impl Shared {
    /// Tells the system and the core what may lie ahead of a frame.
    pub(super) fn set_ahead(&self, io: &Io) {
        io.unsent.set(io.pace.ahead());
        self.with_core(|core| core.out.set_limit(io.longest_frame()));
    }

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

    /// What a socket that is full has taken, on a line that is slow and far.
    pub(super) fn tell_of_line(&self, io: &mut Io) {
        let Some(upload) = io.upload.as_ref().filter(|upload| upload.watches()) else { return };
        if !io.pace.is_slow() && !upload.is_active() {
            return;
        }
        let rtt = self.with_core(|core| core.measure_rtt());
        let near = rtt.is_some_and(|rtt| rtt < NEAR);
        upload.set_near(near);
        if io.blocked.is_some() && io.pace.is_known_slow() && !near {
            upload.took(std::mem::take(&mut io.taken), rtt);
        }
    }
}

/// How many of the first pieces are at most `most` bytes together.
pub(super) fn within(pieces: &[IoSlice<'_>], most: usize) -> usize {
    let mut left = most;
    pieces.iter().take_while(|piece| left.checked_sub(piece.len()).map(|rest| left = rest).is_some()).count()
}

/// Takes what the core has to send; `false` when that is nothing.
pub(super) fn take_output(
    core: &mut Core,
    batch: &mut VecDeque<Bytes>,
    made_room: &mut bool,
    upload: Option<&Share>,
    urgent: &mut usize,
) -> bool {
    if core.out.is_empty() {
        return false;
    }
    if upload.is_some() && core.out.has_urgent() {
        *urgent = core.out.take_urgent(batch);
    } else {
        core.out.take(batch);
    }
    *made_room |= core.on_room();
    true
}
