//! What a remote can make this side hold.

use p2p_core::ByteBudget;
use p2p_net::mux::Side;
use p2p_net::{CloseReason, NetConfig};
use tokio::io::AsyncWriteExt;

use crate::common::{DATA, OPEN, Pair, connection, frame, settle, tasks, within};

#[tokio::test]
async fn a_remote_that_sends_and_does_not_read_is_cut_off() {
    let (near, mut far) = tokio::io::duplex(1 << 10);
    let mut config = NetConfig::default();
    (config.stream_window, config.connection_window) = (64, 0);
    let tasks = tasks();
    let connection = connection(near, Side::Listener, &config, &tasks);
    let reader = tokio::spawn({
        let connection = connection.clone();
        async move {
            let (mut recv, _send) = connection.accept_stream().await.unwrap().into_split();
            while recv.read_chunk().await.is_ok() {}
        }
    });
    far.write_all(&frame(OPEN, 1, &[])).await.unwrap();
    // Each gets credit back, which nobody reads.
    let cut_off = within(async {
        for n in 0..20_000 {
            if far.write_all(&frame(DATA, 1, &[0; 32])).await.is_err() || connection.close_reason().is_some() {
                return Some(n);
            }
            tokio::task::yield_now().await;
        }
        None
    })
    .await;
    assert!(cut_off.is_some(), "20,000 grants wait");
    assert!(matches!(connection.close_reason(), Some(CloseReason::Violation(_))));
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
