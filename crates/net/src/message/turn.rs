//! Who never has to wait lets others go first from time to time.
//!
//! A task that sends, or receives, in a loop may find room, or a message, each time. Its executor cannot interrupt it: as
//! many such tasks as there are threads would keep all others from running, among them those of the other direction.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

/// Messages of one turn.
const MESSAGES: u32 = 4096;

/// Counts messages.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU32);

impl Turn {
    /// One message more: whether it is time to [`pass`].
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        // Where several tasks count at once they may count wrong, which does no harm.
        let count = self.0.load(Ordering::Relaxed) + 1;
        let over = count >= MESSAGES;
        self.0.store(if over { 0 } else { count }, Ordering::Relaxed);
        over
    }
}

/// Lets the other tasks of the executor run once. Cancel-safe.
#[cold]
pub(super) async fn pass() {
    let mut passed = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut passed, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_after_so_many_messages() {
        let turn = Turn::default();
        let over: Vec<_> = (1..=3 * MESSAGES).filter(|_| turn.is_over()).collect();
        assert_eq!(over, [MESSAGES, 2 * MESSAGES, 3 * MESSAGES]);
    }
}
