//! Telling that a policy has changed.

use tokio::sync::watch;

/// The side of a policy: tells all [`AccessChanges`] that something has changed.
#[derive(Debug)]
pub struct ChangeNotifier(watch::Sender<()>);

/// The side of whoever has to ask again. Changes that happen while nobody waits are remembered as one.
#[derive(Debug, Clone)]
pub struct AccessChanges(watch::Receiver<()>);

impl ChangeNotifier {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Tells everybody.
    pub fn notify(&self) {
        self.0.send_replace(());
    }

    /// Tells of what changes from now on.
    pub fn subscribe(&self) -> AccessChanges {
        AccessChanges(self.0.subscribe())
    }
}

impl Default for ChangeNotifier {
    fn default() -> Self {
        Self::new()
    }
}

impl AccessChanges {
    /// Waits until something has changed since the last call, or since it was made; for ever once the policy is gone.
    /// Cancel-safe.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
