//! [`Cork`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::sender::Shared;

/// Holds back what is sent on a connection: see [`MessageSender::cork`](super::MessageSender::cork).
#[must_use = "dropping it writes what was held back"]
pub struct Cork {
    shared: Arc<Shared>,
}

impl Cork {
    /// Of a connection that is corked for it.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Runs a future; each time that it has to wait, what has gathered is written before.
    pub fn wait<F: Future>(&self, future: F) -> Waiting<'_, F> {
        Waiting { cork: self, future }
    }
}

pin_project! {
    /// A future that has what a [`Cork`] holds back written whenever it has to wait; made by [`Cork::wait`].
    #[derive(Debug)]
    #[must_use = "nothing happens until it is awaited"]
    pub struct Waiting<'a, F> {
        cork: &'a Cork,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Waiting<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.future.poll(cx);
        if polled.is_pending() {
            this.cork.shared.flush_held();
        }
        polled
    }
}

impl Drop for Cork {
    fn drop(&mut self) {
        if self.shared.flusher.uncork() {
            self.shared.flush_connection();
        }
    }
}

impl fmt::Debug for Cork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cork").finish_non_exhaustive()
    }
}
