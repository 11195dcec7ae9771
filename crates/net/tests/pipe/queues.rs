//! Whoever waits for a message queue is woken, whoever moved it.

use std::pin::pin;
use std::sync::Arc;

use p2p_core::ByteBudget;
use p2p_net::{Error, MessageSender, NetConfig, SendLimits, TrySendError};

use crate::common::{Pair, poll_once, settle, within};

/// Two messages may wait.
const TWO: SendLimits = SendLimits { max_message: 1 << 20, queue_messages: 2, queue_bytes: 1 << 20 };

/// Fills the queue with two messages of `len` bytes that the driver has not seen, waits for them, and meanwhile fails
/// to add a third of `third` bytes, for which the budget has no room.
async fn flush_while_another_finds_no_room(budget: usize, len: usize, third: usize) {
    let pair = Pair::new(256 << 10, &NetConfig::default());
    let (near, _far) = pair.stream().await;
    let sender = MessageSender::new(near.into_split().1, TWO, &ByteBudget::new(budget));
    // The first goes straight through.
    sender.try_send(vec![0; 10]).unwrap();
    settle().await;
    sender.try_send(vec![1; len]).unwrap();
    sender.try_send(vec![2; len]).unwrap();
    assert_eq!(sender.queued(), 2);
    let mut flushed = pin!(sender.flush());
    assert!(poll_once(flushed.as_mut()).is_pending());
    assert!(matches!(sender.try_send(vec![3; third]), Err(TrySendError::Busy)));
    within(flushed).await.unwrap();
}

#[tokio::test]
async fn flush_returns_when_what_was_set_aside_goes_out() {
    flush_while_another_finds_no_room(16 << 10, 100, 20_000).await;
}

#[tokio::test]
async fn flush_returns_when_another_sender_has_emptied_the_queue() {
    flush_while_another_finds_no_room(48 << 10, 20_000, 60_000).await;
}

#[tokio::test]
async fn idle_senders_leave_the_budget_to_others() {
    const SENDERS: usize = 100;
    let pair = Pair::new(256 << 10, &NetConfig::default());
    // A tenth of what they would keep.
    let budget = ByteBudget::new(SENDERS * (16 << 10) / 10);
    let mut senders = Vec::new();
    for n in 0..SENDERS {
        let (near, far) = pair.stream().await;
        let sender = MessageSender::new(near.into_split().1, SendLimits::default(), &budget);
        within(sender.send(vec![0; 10])).await.unwrap();
        within(sender.flush()).await.unwrap();
        assert!(
            budget.used() <= budget.limit() / 2 + (16 << 10),
            "{} bytes for nothing, with {n} others",
            budget.used()
        );
        senders.push((sender, far));
    }
    for (sender, _) in &senders {
        within(sender.send(vec![1; 10])).await.unwrap();
    }
}

/// A call that waits for the budget, of which nothing is left.
async fn send_without_budget(pair: &Pair) -> (Arc<MessageSender>, tokio::task::JoinHandle<Result<(), Error>>) {
    let budget = ByteBudget::new(1 << 10);
    let (near, far) = pair.stream().await;
    let sender = Arc::new(MessageSender::new(near.into_split().1, SendLimits::default(), &budget));
    let task = tokio::spawn({
        let sender = sender.clone();
        async move {
            let _far = far;
            sender.send(vec![0; 2 << 10]).await
        }
    });
    settle().await;
    assert!(!task.is_finished());
    (sender, task)
}

#[tokio::test]
async fn finish_ends_a_send_that_waits_for_the_budget() {
    let pair = Pair::new(64 << 10, &NetConfig::default());
    let (sender, waiting) = send_without_budget(&pair).await;
    sender.finish();
    assert!(matches!(within(waiting).await.unwrap(), Err(Error::Finished)));
}

#[tokio::test]
async fn the_end_of_the_connection_ends_a_send_that_waits_for_the_budget() {
    let pair = Pair::new(64 << 10, &NetConfig::default());
    let (sender, waiting) = send_without_budget(&pair).await;
    pair.dialer.close(7, "");
    assert!(matches!(within(waiting).await.unwrap(), Err(Error::Closed(_))));
    assert!(matches!(sender.try_send(vec![0; 2 << 10]), Err(TrySendError::Failed(Error::Closed(_)))));
}

#[tokio::test]
async fn a_message_that_finds_the_queue_full_at_the_end_is_not_accepted() {
    let pair = Pair::new(64 << 10, &NetConfig::default());
    let (near, _far) = pair.stream().await;
    let sender = MessageSender::new(near.into_split().1, TWO, &ByteBudget::new(1 << 20));
    sender.try_send(vec![0; 10]).unwrap();
    settle().await;
    sender.try_send(vec![1; 20_000]).unwrap();
    sender.try_send(vec![2; 20_000]).unwrap();
    pair.dialer.close(7, "");
    let error = sender.try_send(vec![3; 20_000]).unwrap_err();
    assert!(matches!(error, TrySendError::Failed(Error::Closed(_))), "{error}");
}
