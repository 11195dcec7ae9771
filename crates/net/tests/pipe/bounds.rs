//! What a remote can make this side hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use p2p_core::ByteBudget;
use p2p_net::mux::Side;
use p2p_net::{CloseReason, NetConfig};
use tokio::io::AsyncWriteExt;

use crate::common::{DATA, OPEN, Pair, connection, frame, settle, tasks, within};

#[tokio::test]
async fn a_remote_that_sends_and_does_not_read_is_cut_off() {
    let (near, mut far) = tokio::io::duplex(32 << 10);
    let mut config = NetConfig::default();
    config.connection_window = 0;
    let tasks = tasks();
    let connection = connection(near, Side::Listener, &config, &tasks);
    let read = Arc::new(AtomicUsize::new(0));
    let reader = tokio::spawn({
        let (connection, read) = (connection.clone(), read.clone());
        async move {
            let (mut recv, _send) = connection.accept_stream().await.unwrap().into_split();
            while let Ok(Some(chunk)) = recv.read_chunk().await {
                read.fetch_add(chunk.len(), Ordering::Relaxed);
            }
        }
    });
    far.write_all(&frame(OPEN, 1, &[])).await.unwrap();
    // Each is half a window, is read, and gets credit back, which nobody reads.
    let data = frame(DATA, 1, &[0; 32 << 10]);
    let cut_off = within(async {
        for n in 1..20_000 {
            if far.write_all(&data).await.is_err() {
                return Some(n);
            }
            while read.load(Ordering::Relaxed) < n * (32 << 10) {
                if connection.close_reason().is_some() {
                    return Some(n);
                }
                tokio::task::yield_now().await;
            }
        }
        None
    })
    .await;
    assert!(cut_off.is_some_and(|n| n > 1_000), "20,000 grants wait: {cut_off:?}");
    let reason = CloseReason::Violation("it provokes more answers than it reads".into());
    assert_eq!(connection.close_reason(), Some(reason));
    within(reader).await.unwrap();
}

/// A connection whose listener has much unread on one stream, and a byte on another; the budget is the listener's.
async fn one_byte_and_many() -> (ByteBudget, Pair, [p2p_net::Stream; 4]) {
    let mut config = NetConfig::default();
    config.stream_window = 1 << 20;
    config.budget = ByteBudget::new(64 << 20);
    let budget = config.budget.clone();
    let pair = Pair::new(64 << 10, &config);
    let (mut near, far) = pair.stream().await;
    let (mut little, unread) = pair.stream().await;
    little.write_all(&[0]).await.unwrap();
    within(near.write_all(&[0; 1 << 20])).await.unwrap();
    settle().await;
    assert!(budget.used() >= 1 << 20);
    (budget, pair, [near, far, little, unread])
}

#[tokio::test]
async fn what_was_read_is_given_back_though_something_stays_unread() {
    let (budget, _pair, [_near, far, mut little, _unread]) = one_byte_and_many().await;
    let (mut recv, _send) = far.into_split();
    let mut got = 0;
    while got < 1 << 20 {
        got += within(recv.read_chunk()).await.unwrap().unwrap().len();
    }
    little.write_all(&[0]).await.unwrap();
    settle().await;
    assert!(budget.used() <= 256 << 10, "{} bytes for two", budget.used());
}

#[tokio::test]
async fn an_ended_connection_pays_for_no_more_than_is_there() {
    let (budget, pair, [near, far, little, unread]) = one_byte_and_many().await;
    pair.dialer.close(0, "");
    within(pair.listener.closed()).await;
    drop((near, far, little, unread));
    within(pair.dialer_tasks.wait()).await;
    within(pair.listener_tasks.wait()).await;
    assert_eq!(budget.used(), 0);
}
