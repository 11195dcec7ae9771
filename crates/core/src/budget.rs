//! A byte budget that many owners share.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Caps the sum of what many connections hold in memory. Clones share one budget.
///
/// ```
/// use p2p_core::ByteBudget;
///
/// let budget = ByteBudget::new(100);
/// let held = budget.try_reserve(80).expect("80 of 100 are free");
/// assert!(budget.try_reserve(30).is_none());
/// drop(held);
/// assert!(budget.try_reserve(30).is_some());
/// ```
#[derive(Debug, Clone)]
pub struct ByteBudget(Arc<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    used: AtomicUsize,
    freed: Notify,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(State { limit, used: AtomicUsize::new(0), freed: Notify::new() }))
    }

    /// Takes `bytes` until the reservation is dropped; `None` when that would exceed the limit.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let mut reservation = Reservation { budget: self.clone(), bytes: 0 };
        reservation.try_grow(bytes).then_some(reservation)
    }

    /// Makes sure that `held` covers `bytes`, taking what is missing in multiples of `step`; `false`, and nothing is
    /// taken, when the budget has too little. What it covers beyond that stays.
    pub fn try_cover(&self, held: &mut Option<Reservation>, bytes: usize, step: usize) -> bool {
        let missing = bytes.saturating_sub(held.as_ref().map_or(0, Reservation::bytes)).next_multiple_of(step);
        match held {
            _ if missing == 0 => true,
            Some(held) => held.try_grow(missing),
            none => {
                *none = self.try_reserve(missing);
                none.is_some()
            }
        }
    }

    /// As [`try_reserve`](Self::try_reserve), waiting until others have given enough back. Asking for more than the
    /// limit waits forever. Cancel-safe.
    pub async fn reserve(self, bytes: usize) -> Reservation {
        loop {
            let mut freed = pin!(self.freed());
            freed.as_mut().enable();
            if let Some(reservation) = self.try_reserve(bytes) {
                return reservation;
            }
            freed.await;
        }
    }

    /// Ready when somebody has given bytes back after this future was enabled or first polled.
    pub fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }

    /// Bytes reserved now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The most that can be reserved.
    pub fn limit(&self) -> usize {
        self.0.limit
    }
}

/// A part of a [`ByteBudget`], given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: ByteBudget,
    bytes: usize,
}

impl Reservation {
    /// Adds `bytes`; `false`, and nothing is added, when the budget has too little.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let state = &self.budget.0;
        let grown = state.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|&sum| sum <= state.limit)
        });
        if grown.is_ok() {
            self.bytes += bytes;
        }
        grown.is_ok()
    }

    /// Takes over what `other`, of the same budget, holds.
    pub fn merge(&mut self, mut other: Reservation) {
        debug_assert!(Arc::ptr_eq(&self.budget.0, &other.budget.0), "reservations of one budget");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives up to `bytes` back.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        if bytes > 0 {
            self.budget.0.used.fetch_sub(bytes, Ordering::Relaxed);
            self.budget.0.freed.notify_waiters();
        }
    }

    /// Gives back all but `bytes`, which are kept for later; those too when more than half of the budget is taken, so that
    /// others do not wait for what nobody uses.
    pub fn keep(&mut self, bytes: usize) {
        let scarce = self.budget.used() > self.budget.limit() / 2;
        self.shrink(self.bytes.saturating_sub(if scarce { 0 } else { bytes }));
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}
