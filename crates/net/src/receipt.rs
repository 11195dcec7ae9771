//! What became of streams that have ended here: the remote has read them to the end, or gave up.
//!
//! Both transports keep a list of [`Owed`] receipts. The multiplexer's receipts are frames; over quic they are entries on
//! a stream of their own, see `quic::receipts`.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::Notify;

use crate::{CloseReason, Error, Result};

/// Receipts that a connection awaits for streams whose handles are gone. More means that the remote does not say what it
/// reads; the oldest is then awaited no longer.
pub(crate) const MAX_ORPHANS: usize = 1024;

/// The receipt for one direction of one stream. The stream's handle waits for it, and the connection settles it, once.
#[derive(Default)]
pub(crate) struct Receipt(Mutex<State>);

#[derive(Default)]
struct State {
    outcome: Option<Result<()>>,
    waker: Option<Waker>,
}

impl Receipt {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when it is known what became of the stream.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.lock();
        match &state.outcome {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The first outcome counts. Gives who is to be woken.
    #[must_use]
    pub(crate) fn settle(&self, outcome: Result<()>) -> Option<Waker> {
        let mut state = self.lock();
        state.outcome.get_or_insert(outcome);
        state.waker.take()
    }

    /// What is known now.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn outcome(&self) -> Option<Result<()>> {
        self.lock().outcome.clone()
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.lock().outcome).finish()
    }
}

/// The receipts that one connection awaits.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    receipts: BTreeMap<u64, Arc<Receipt>>,
    /// For whoever waits until there are none.
    idle: Option<Arc<Idle>>,
}

/// Those who wait until a connection awaits no receipt. Who no longer waits is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Idle(Notify);

impl Wake for Idle {
    fn wake(self: Arc<Self>) {
        self.0.notify_waiters();
    }
}

/// Waits until `awaited`, the [`Owed::awaited`] of a connection, gives nothing. Cancel-safe.
pub(crate) async fn delivered(awaited: impl Fn() -> Option<Arc<Idle>>) {
    while let Some(idle) = awaited() {
        let mut none = pin!(idle.0.notified());
        none.as_mut().enable();
        // The last may have come just before.
        if awaited().is_some() {
            none.await;
        }
    }
}

impl Owed {
    /// The stream has ended here.
    pub(crate) fn expect(&mut self, stream: u64, receipt: Arc<Receipt>) {
        self.receipts.insert(stream, receipt);
        if self.receipts.len() > MAX_ORPHANS {
            let mut orphans = self.orphans();
            let oldest = orphans.next();
            if orphans.count() >= MAX_ORPHANS
                && let Some(oldest) = oldest
            {
                self.receipts.remove(&oldest);
            }
        }
    }

    /// The remote has said what became of the stream; `false` when nobody waits to hear that.
    pub(crate) fn settle(&mut self, stream: u64, outcome: Result<()>, wake: &mut Vec<Waker>) -> bool {
        let Some(receipt) = self.receipts.remove(&stream) else { return false };
        wake.extend(receipt.settle(outcome));
        self.wake_idle(wake);
        true
    }

    /// The connection has ended.
    pub(crate) fn close(&mut self, reason: &CloseReason, wake: &mut Vec<Waker>) {
        for receipt in std::mem::take(&mut self.receipts).into_values() {
            wake.extend(receipt.settle(Err(Error::Closed(reason.clone()))));
        }
        self.wake_idle(wake);
    }

    /// Where to wait for the last receipt; `None` when none is awaited.
    pub(crate) fn awaited(&mut self) -> Option<Arc<Idle>> {
        (!self.receipts.is_empty()).then(|| self.idle.get_or_insert_default().clone())
    }

    fn wake_idle(&mut self, wake: &mut Vec<Waker>) {
        if self.receipts.is_empty() {
            wake.extend(self.idle.clone().map(Waker::from));
        }
    }

    /// The streams for whose receipts no handle waits, in order of their ids. What a handle waits for is the application's own
    /// memory.
    pub(crate) fn orphans(&self) -> impl Iterator<Item = u64> {
        self.receipts.iter().filter(|(_, receipt)| Arc::strong_count(receipt) == 1).map(|(stream, _)| *stream)
    }

    /// The streams that have ended and of which nothing is known.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn streams(&self) -> impl Iterator<Item = u64> {
        self.receipts.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_that_nobody_gives_are_bounded_and_held_ones_stay() {
        let mut owed = Owed::default();
        let held = Arc::<Receipt>::default();
        owed.expect(1, held.clone());
        for stream in 2..3 * MAX_ORPHANS as u64 {
            owed.expect(stream, Arc::default());
        }
        assert_eq!(owed.orphans().count(), MAX_ORPHANS);
        let mut wake = Vec::new();
        assert!(!owed.settle(2, Ok(()), &mut wake), "the oldest is awaited no longer");
        assert!(owed.settle(1, Ok(()), &mut wake));
        assert!(matches!(held.outcome(), Some(Ok(()))));
    }

    #[test]
    fn the_end_of_the_connection_settles_all() {
        let (mut owed, receipt) = (Owed::default(), Arc::<Receipt>::default());
        owed.expect(1, receipt.clone());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(owed.awaited().is_some() && receipt.poll(cx).is_pending());
        let mut wake = Vec::new();
        owed.close(&CloseReason::TimedOut, &mut wake);
        assert_eq!(wake.len(), 2, "the handle and who waits for all");
        assert!(owed.awaited().is_none());
        assert!(matches!(receipt.poll(cx), Poll::Ready(Err(Error::Closed(CloseReason::TimedOut)))));
    }

    /// Counts who holds it.
    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn who_waits_no_longer_is_forgotten() {
        let owed = Mutex::new(Owed::default());
        owed.lock().unwrap().expect(1, Arc::default());
        let task = Arc::new(Task);
        for _ in 0..1000 {
            let mut waits = pin!(delivered(|| owed.lock().unwrap().awaited()));
            // Each time another waker, as other tasks have.
            let waker = Waker::from(task.clone());
            assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&task), 1);
    }

    #[test]
    fn all_who_wait_are_woken_by_the_last_receipt() {
        let owed = Mutex::new(Owed::default());
        [1, 5].into_iter().for_each(|stream| owed.lock().unwrap().expect(stream, Arc::default()));
        let mut wait = [0; 2].map(|_| Box::pin(delivered(|| owed.lock().unwrap().awaited())));
        let cx = &mut Context::from_waker(Waker::noop());
        for stream in [5, 1] {
            assert!(wait.iter_mut().all(|wait| wait.as_mut().poll(cx).is_pending()));
            let mut wake = Vec::new();
            assert!(owed.lock().unwrap().settle(stream, Ok(()), &mut wake));
            wake.into_iter().for_each(Waker::wake);
        }
        assert!(wait.iter_mut().all(|wait| wait.as_mut().poll(cx).is_ready()));
    }
}
