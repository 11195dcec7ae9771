//! Reading a stream at the node's rate.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Share;
use crate::Result;

/// A chunk up to this long is short.
const SHORT: usize = 1 << 10;

/// One stream's reader.
#[derive(Debug)]
pub(crate) struct Metered {
    share: Arc<Share>,
    /// The reader has found the stream empty, or what came last was short. What comes next is rather a ping, or an answer, than
    /// one of many pieces, and need not wait.
    light: bool,
}

impl Metered {
    pub(crate) fn new(share: Arc<Share>) -> Self {
        Self { share, light: true }
    }

    /// Whether to read now; woken later if not.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.light && self.share.goes_ahead() {
            return Poll::Ready(());
        }
        self.share.poll(cx).map(|_| ())
    }

    /// What came of it.
    pub(crate) fn on_read(&mut self, read: &Poll<Result<Option<Bytes>>>) {
        match read {
            Poll::Ready(Ok(Some(chunk))) => {
                self.light = chunk.len() <= SHORT;
                self.share.used(chunk.len());
            }
            _ => {
                self.light = true;
                self.share.rest();
            }
        }
    }
}
