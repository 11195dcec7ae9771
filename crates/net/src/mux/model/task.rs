//! A task that waits as one in a runtime does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls something, and after `Pending` only once it was woken.
#[derive(Debug, Default)]
pub(super) struct Task {
    asleep: bool,
    woken: Option<Arc<Woken>>,
}

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Task {
    /// Polls unless it sleeps.
    pub(super) fn poll<T>(&mut self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<Poll<T>> {
        if self.is_asleep() {
            return None;
        }
        let woken = self.woken.get_or_insert_default();
        woken.0.store(false, Ordering::Relaxed);
        let result = poll(&mut Context::from_waker(&Waker::from(woken.clone())));
        self.asleep = result.is_pending();
        Some(result)
    }

    /// Whether it waits and was not woken.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep && !self.woken.as_ref().is_some_and(|woken| woken.0.load(Ordering::Relaxed))
    }
}
