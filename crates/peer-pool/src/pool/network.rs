//! The network under the pool has changed: what waits for it goes on.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use p2p_core::Runtime;
use tokio::sync::watch;

/// Tells whoever waits that the network has changed.
#[derive(Debug)]
pub(crate) struct Network(watch::Sender<u64>);

impl Network {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Nobody waits any longer.
    pub(super) fn has_changed(&self) {
        self.0.send_modify(|changes| *changes += 1);
    }

    /// All changes from now on.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }

    /// Waits for so long, or until the network has changed; whether it has. Cancel-safe.
    pub(crate) async fn sleep(&self, runtime: &dyn Runtime, duration: Duration) -> bool {
        let mut changes = self.changes();
        let changed = pin!(changes.next());
        matches!(select(changed, pin!(runtime.sleep(duration))).await, Either::Left(_))
    }
}

/// Changes of the network.
#[derive(Debug)]
pub(crate) struct Changes(watch::Receiver<u64>);

impl Changes {
    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The pool is gone, and with it whoever waits.
            std::future::pending::<()>().await;
        }
    }
}
