//! Timers of programs.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use p2p_core::runtime::Timer;

use crate::shared::Shared;
use crate::timeline::{Key, Nanos};

pub(crate) struct SimTimer {
    shared: Arc<Shared>,
    deadline: Nanos,
    /// Where it waits in the timeline; nothing is there before it was polled and once it fired.
    scheduled: Option<Key>,
}

impl SimTimer {
    pub(crate) fn new(shared: Arc<Shared>, deadline: Instant) -> Self {
        Self { deadline: shared.nanos_of(deadline), shared, scheduled: None }
    }

    fn unschedule(&mut self) {
        if let Some(key) = self.scheduled.take() {
            let event = self.shared.with(|world| world.cancel(key));
            // Its waker is dropped out here, where the world is unlocked.
            drop(event);
        }
    }
}

impl Timer for SimTimer {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.shared.now() >= this.deadline {
            this.unschedule();
            return Poll::Ready(());
        }
        let key = this.shared.with(|world| world.wake_at(this.scheduled, this.deadline, cx.waker()));
        this.scheduled = Some(key);
        Poll::Pending
    }

    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.deadline = self.shared.nanos_of(deadline);
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.unschedule();
    }
}

impl fmt::Debug for SimTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimTimer").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
