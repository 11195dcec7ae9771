//! Listening, and what a listener's end means.

use p2p_net::Error;

use crate::common::{connect, echo, for_each_transport, stream};

#[test]
fn a_port_chosen_by_the_system_is_shown() {
    for_each_transport(async |net| {
        let node = net.node();
        for host in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let listener = node.listen(&net.endpoint(host)).await.unwrap();
            let local = listener.local_endpoint();
            assert_ne!(local.port(), 0);
            assert_eq!(local.with_port(0), net.endpoint(host));
        }
    });
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    for_each_transport(async |net| {
        let node = net.node();
        let listener = net.listen(&node).await;
        let Err(Error::Listen { endpoint, source }) = node.listen(&listener.local_endpoint()).await else {
            panic!("the port is in use");
        };
        assert_eq!(endpoint, listener.local_endpoint());
        assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
    });
}

#[test]
fn closing_a_listener_ends_accepting_and_nothing_else() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (accepted, ()) = tokio::join!(pair.listener.accept(), async {
            tokio::task::yield_now().await;
            pair.listener.close();
        });
        assert!(matches!(accepted, Err(Error::Closed(_))));
        assert!(matches!(pair.listener.accept().await, Err(Error::Closed(_))));
        let (mut near, mut far) = stream(&pair.a, &pair.b).await;
        echo(&mut near, &mut far, b"still here").await;
    });
}

#[test]
fn several_callers_may_accept() {
    for_each_transport(async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = net.listen(&acceptor).await;
        let endpoint = listener.local_endpoint();
        let accept = async || listener.accept().await.unwrap().accept().await.unwrap();
        let (first, second, x, y) = tokio::join!(dialer.dial(&endpoint), dialer.dial(&endpoint), accept(), accept());
        assert!(first.is_ok() && second.is_ok());
        assert!(x.close_reason().is_none() && y.close_reason().is_none());
    });
}

#[test]
fn an_accept_that_was_dropped_loses_nobody() {
    for_each_transport(async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = net.listen(&acceptor).await;
        {
            let mut accept = std::pin::pin!(listener.accept());
            let pending = std::future::poll_fn(|cx| std::task::Poll::Ready(accept.as_mut().poll(cx).is_pending()));
            assert!(pending.await);
        }
        connect(&dialer, &listener).await;
    });
}
