//! Reading a stream at the node's rate.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Share;
use crate::Result;

/// A stream whose chunks are no longer than this need not wait.
const SHORT: usize = 1 << 10;

/// One stream's reader.
#[derive(Debug)]
pub(crate) struct Metered {
    share: Arc<Share>,
    /// The mean length of its chunks of late: of pings and answers they are short. One short chunk says little, since long
    /// messages are cut where they happen to arrive.
    mean: usize,
}

impl Metered {
    pub(crate) fn new(share: Arc<Share>) -> Self {
        Self { share, mean: 0 }
    }

    /// Whether to read now; woken later if not.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.mean <= SHORT && self.share.goes_ahead() {
            return Poll::Ready(());
        }
        self.share.poll(cx).map(|_| ())
    }

    /// What came of it.
    pub(crate) fn on_read(&mut self, read: &Poll<Result<Option<Bytes>>>) {
        match read {
            Poll::Ready(Ok(Some(chunk))) => {
                self.mean = self.mean - self.mean / 4 + chunk.len() / 4;
                self.share.used(chunk.len());
            }
            _ => self.share.rest(),
        }
    }
}
