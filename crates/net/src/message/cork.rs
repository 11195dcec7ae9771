//! [`Cork`].

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

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
    pub async fn wait<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            if polled.is_pending() {
                self.shared.flush_held();
            }
            polled
        })
        .await
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
