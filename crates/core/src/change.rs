//! Telling any number of tasks that something has changed.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The side of what changes: wakes whoever waits, always in the order in which they began to wait.
///
/// That order is why this stands in place of `tokio::sync::watch`, which spreads those that wait over eight lists at random:
/// with two of them, no simulation would repeat itself.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use p2p_core::ChangeNotifier;
///
/// let notifier = ChangeNotifier::new();
/// let mut changes = notifier.subscribe();
/// notifier.notify();
/// changes.changed().await;
/// # });
/// ```
#[derive(Debug, Clone, Default)]
pub struct ChangeNotifier(Arc<Shared>);

/// The side of whoever looks again after a change. Changes that happen while nobody waits are remembered as one.
#[derive(Debug, Clone)]
pub struct Changes {
    shared: Arc<Shared>,
    /// The changes that this side knows of.
    seen: u64,
}

#[derive(Debug, Default)]
struct Shared {
    changes: AtomicU64,
    waiters: Notify,
}

impl ChangeNotifier {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everybody.
    pub fn notify(&self) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        self.0.waiters.notify_waiters();
    }

    /// Tells of what changes from now on.
    pub fn subscribe(&self) -> Changes {
        Changes { seen: self.0.count(), shared: self.0.clone() }
    }
}

impl Shared {
    fn count(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

impl Changes {
    /// Waits until something has changed since the last call, or since it was made; for ever once nothing can change any more.
    /// Cancel-safe.
    pub async fn changed(&mut self) {
        loop {
            let mut woken = pin!(self.shared.waiters.notified());
            woken.as_mut().enable();
            let count = self.shared.count();
            if count != self.seen {
                self.seen = count;
                return;
            }
            woken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::task::{Context, Wake, Waker};

    use futures_util::FutureExt;

    use super::*;

    /// Writes down that it was woken.
    struct Woken(usize, Arc<Mutex<Vec<usize>>>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn changes_before_are_not_told_and_several_are_one() {
        let notifier = ChangeNotifier::new();
        notifier.notify();
        let mut changes = notifier.subscribe();
        assert!(changes.changed().now_or_never().is_none());
        notifier.notify();
        notifier.notify();
        let mut copy = changes.clone();
        for changes in [&mut changes, &mut copy] {
            assert!(changes.changed().now_or_never().is_some());
            assert!(changes.changed().now_or_never().is_none());
        }
        drop(notifier);
        assert!(changes.changed().now_or_never().is_none());
    }

    #[test]
    fn who_waits_is_woken_in_the_order_of_waiting() {
        const WAITERS: usize = 20;
        let (notifier, order) = (ChangeNotifier::new(), Arc::default());
        let mut all: Vec<_> = (0..WAITERS).map(|_| notifier.subscribe()).collect();
        let mut waits: Vec<_> = all.iter_mut().map(|changes| Box::pin(changes.changed())).collect();
        for (n, wait) in waits.iter_mut().enumerate() {
            let waker = Waker::from(Arc::new(Woken(n, Arc::clone(&order))));
            assert!(wait.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        }
        notifier.notify();
        assert_eq!(*order.lock().unwrap(), Vec::from_iter(0..WAITERS));
        assert!(waits.into_iter().all(|wait| wait.now_or_never().is_some()));
    }
}
