//! Lets readers pass until somebody wants to read in their place.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Readers enter and leave for two atomic operations; [`close`](Self::close) waits until none is inside and lets no
/// more in. So whoever closed it has the rest of what there is to read for itself, in order.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// [`CLOSED`], [`WANTED`], and [`READER`] for each reader inside.
    state: AtomicUsize,
    empty: Notify,
}

const CLOSED: usize = 1;
const WANTED: usize = 2;
const READER: usize = 4;

/// A reader inside.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Gate);

impl Gate {
    /// Goes in, unless the gate is closed.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        let inside = Inside(self);
        // The guard exists before the look at the flag: leaving again is the same as any leaving.
        if self.state.fetch_add(READER, Ordering::AcqRel) & CLOSED == 0 { Some(inside) } else { None }
    }

    /// Waits until nobody is inside and lets nobody in any more. Idempotent; cancel-safe.
    pub(crate) async fn close(&self) {
        self.state.fetch_or(WANTED, Ordering::AcqRel);
        loop {
            let mut empty = pin!(self.empty.notified());
            empty.as_mut().enable();
            let closed =
                self.state.compare_exchange(WANTED, WANTED | CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if closed || self.is_closed() {
                return;
            }
            empty.await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        let before = self.0.state.fetch_sub(READER, Ordering::AcqRel);
        if before & WANTED != 0 && before < 2 * READER {
            self.0.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(future: &mut (impl Future<Output = ()> + Unpin)) -> Poll<()> {
        std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn it_closes_when_the_last_reader_has_left() {
        let gate = Gate::default();
        let (one, two) = (gate.enter().unwrap(), gate.enter().unwrap());
        let mut closing = Box::pin(gate.close());
        assert!(poll(&mut closing).is_pending());
        drop(one);
        assert!(poll(&mut closing).is_pending() && !gate.is_closed());
        drop(two);
        assert!(poll(&mut closing).is_ready());
        assert!(gate.enter().is_none());
        assert!(poll(&mut Box::pin(gate.close())).is_ready(), "again");
    }

    #[test]
    fn readers_pass_while_it_waits_and_a_dropped_wait_changes_nothing() {
        let gate = Gate::default();
        let one = gate.enter().unwrap();
        let mut closing = Box::pin(gate.close());
        assert!(poll(&mut closing).is_pending());
        let two = gate.enter().expect("open as long as somebody is inside");
        drop((one, closing));
        drop(two);
        assert!(gate.enter().is_some());
    }
}
