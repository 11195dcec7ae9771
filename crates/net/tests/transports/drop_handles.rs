//! Handles keep a connection open, and nothing else does.

use p2p_net::CloseReason;

use crate::common::{echo, for_each_transport, stream};

#[test]
fn the_last_handle_closes_the_connection() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let other = pair.a.clone();
        drop(pair.a);
        assert_eq!(other.close_reason(), None);
        drop(other);
        assert_eq!(pair.b.closed().await, CloseReason::Remote { code: 0, reason: String::new() });
    });
}

#[test]
fn a_stream_is_a_handle_too() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (mut near, mut far) = stream(&pair.a, &pair.b).await;
        drop(pair.a);
        echo(&mut near, &mut far, b"still here").await;
        drop(near);
        pair.b.closed().await;
    });
}

#[test]
fn connections_outlive_the_handle_to_the_transports() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (a, b) = (pair.a, pair.b);
        drop((pair.dialer, pair.acceptor, pair.listener));
        let (mut near, mut far) = stream(&a, &b).await;
        echo(&mut near, &mut far, b"still here").await;
    });
}

#[test]
fn a_dropped_dial_leaves_no_task() {
    for_each_transport(async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = net.listen(&acceptor).await;
        {
            let endpoint = listener.local_endpoint();
            let mut dial = std::pin::pin!(dialer.dial(&endpoint));
            std::future::poll_fn(|cx| {
                let _ = dial.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
        }
        dialer.shutdown().await;
        assert!(dialer.tasks().is_empty());
    });
}
