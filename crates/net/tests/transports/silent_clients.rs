//! Clients that connect and say nothing.

use std::time::Duration;

use p2p_net::{Error, Transport};

use crate::common::{connect, echo, for_each, for_each_transport, stream};

#[test]
fn silent_clients_delay_nobody() {
    for_each(&[Transport::Tcp, Transport::Tls], async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = net.listen(&acceptor).await;
        let addr = listener.local_endpoint().socket_addr().unwrap();
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(net.runtime.tcp_connect(addr).await.unwrap());
            let incoming = listener.accept().await.unwrap();
            net.spawn(async move {
                let _ = incoming.accept().await;
            });
        }
        let (a, b) = connect(&dialer, &listener).await;
        let (mut near, mut far) = stream(&a, &b).await;
        echo(&mut near, &mut far, b"unharmed").await;
    });
}

#[test]
fn dialers_that_are_not_looked_at_delay_nobody() {
    for_each_transport(async |net| {
        let acceptor = net.node();
        let listener = net.listen(&acceptor).await;
        let endpoint = listener.local_endpoint();
        let mut waiting = Vec::new();
        for _ in 0..20 {
            let (node, endpoint) = (net.node(), endpoint.clone());
            net.spawn(async move {
                let _ = node.dial(&endpoint).await;
            });
            waiting.push(listener.accept().await.unwrap());
        }
        let dialer = net.node();
        let (a, b) = connect(&dialer, &listener).await;
        let (mut near, mut far) = stream(&a, &b).await;
        echo(&mut near, &mut far, b"unharmed").await;
    });
}

#[test]
fn a_handshake_that_does_not_go_on_is_ended() {
    for_each(&[Transport::Tls], async |mut net| {
        net.config.accept_timeout = Duration::from_millis(50);
        let node = net.node();
        let listener = net.listen(&node).await;
        let addr = listener.local_endpoint().socket_addr().unwrap();
        let _silent = net.runtime.tcp_connect(addr).await.unwrap();
        let error = listener.accept().await.unwrap().accept().await.unwrap_err();
        assert!(matches!(error, Error::Accept(_)), "{error:?}");
    });
}

#[test]
fn garbage_fails_the_handshake() {
    for_each(&[Transport::Tls], async |net| {
        let node = net.node();
        let listener = net.listen(&node).await;
        let addr = listener.local_endpoint().socket_addr().unwrap();
        let mut garbage = net.runtime.tcp_connect(addr).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut garbage, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let error = listener.accept().await.unwrap().accept().await.unwrap_err();
        assert!(matches!(error, Error::Accept(_)), "{error:?}");
    });
}
