//! One UDP socket for listening and dialing.

use p2p_net::{NetConfig, Transport};

use crate::common::{connect, echo, fill, for_each, stream};

#[test]
fn dials_leave_from_the_listening_port() {
    for_each(&[Transport::Quic], async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let own = net.listen(&dialer).await;
        let listener = net.listen(&acceptor).await;
        let (a, b) = connect(&dialer, &listener).await;
        assert_eq!(b.remote_endpoint().port(), own.local_endpoint().port());
        assert_eq!(a.local_addr().port(), own.local_endpoint().port());
        // And the socket still accepts.
        connect(&acceptor, &own).await;
    });
}

#[test]
fn while_listeners_are_silent_dials_leave_from_another_port_and_who_comes_shows_that_others_can() {
    for_each(&[Transport::Quic], async |net| {
        let (one, other) = (net.node(), net.node());
        let (here, there) = (net.listen(&one).await, net.listen(&other).await);
        one.keep_listeners_silent(true);
        other.keep_listeners_silent(true);
        let (near, far) = connect(&one, &there).await;
        assert_ne!(far.remote_endpoint().port(), here.local_endpoint().port());
        assert!(far.is_unsolicited() && !near.is_unsolicited());
        // The dial back is none that the first has opened a door for.
        let (_, back) = connect(&other, &here).await;
        assert!(back.is_unsolicited());

        one.keep_listeners_silent(false);
        let (_, far) = connect(&one, &there).await;
        assert_eq!(far.remote_endpoint().port(), here.local_endpoint().port());
        let (_, back) = connect(&other, &here).await;
        assert!(!back.is_unsolicited(), "it may be taken for an answer");
        other.keep_listeners_silent(false);
        let (_, back) = connect(&other, &here).await;
        assert!(!back.is_unsolicited(), "so may this");
        one.moved();
        let (_, back) = connect(&other, &here).await;
        assert!(!back.is_unsolicited(), "it comes from the very port that was dialed");
        let endpoint = here.local_endpoint();
        let (dialed, accepted) =
            tokio::join!(other.dial_back(&endpoint, false), async { here.accept().await?.accept().await });
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        assert_ne!(dialed.local_addr().port(), there.local_endpoint().port(), "a dial back leaves from another port");
        assert!(accepted.is_unsolicited());
    });
}

#[test]
fn over_tcp_and_tls_everybody_shows_that_others_can_come() {
    for_each(&[Transport::Tcp, Transport::Tls], async |net| {
        let (one, other) = (net.node(), net.node());
        let (here, there) = (net.listen(&one).await, net.listen(&other).await);
        let (near, far) = connect(&one, &there).await;
        let (_, back) = connect(&other, &here).await;
        assert_eq!([near, far, back].map(|it| it.is_unsolicited()), [false, true, true]);
    });
}

#[test]
fn without_a_listener_one_socket_serves_all_dials() {
    for_each(&[Transport::Quic], async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = net.listen(&acceptor).await;
        let (first, _first) = connect(&dialer, &listener).await;
        let (second, _second) = connect(&dialer, &listener).await;
        assert_eq!(first.local_addr().port(), second.local_addr().port());
    });
}

#[test]
fn a_node_can_dial_itself() {
    for_each(&[Transport::Quic], async |net| {
        let node = net.node();
        let listener = net.listen(&node).await;
        let (a, b) = connect(&node, &listener).await;
        let (mut near, mut far) = stream(&a, &b).await;
        echo(&mut near, &mut far, b"me").await;
    });
}

#[test]
fn sixty_four_dials_at_once_all_succeed() {
    for_each(&[Transport::Quic], async |net| {
        dial_at_once(net, 64).await;
    });
}

/// Above the number from which dialers have to prove their addresses.
#[test]
fn dials_succeed_when_addresses_are_validated() {
    for_each(&[Transport::Quic], async |net| {
        dial_at_once(net, 300).await;
    });
}

async fn dial_at_once(net: crate::common::Net, count: usize) {
    let (dialer, acceptor) = (net.node(), net.node());
    let listener = net.listen(&acceptor).await;
    let endpoint = listener.local_endpoint();
    let (done, mut results) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..count {
        let (dialer, endpoint, done) = (dialer.clone(), endpoint.clone(), done.clone());
        net.spawn(async move {
            let _ = done.send(dialer.dial(&endpoint).await);
        });
    }
    let accepting = async {
        loop {
            let incoming = listener.accept().await.unwrap();
            let done = done.clone();
            net.spawn(async move {
                let _ = done.send(incoming.accept().await);
            });
        }
    };
    let collecting = async {
        let mut connections = Vec::new();
        while connections.len() < 2 * count {
            connections.push(results.recv().await.unwrap().unwrap());
        }
        connections
    };
    let connections = tokio::select! {
        connections = collecting => connections,
        () = accepting => unreachable!("accepting does not end"),
    };
    assert!(connections.iter().all(|connection| connection.close_reason().is_none()));
}

#[test]
fn the_byte_budget_gets_back_what_connections_had() {
    for_each(&[Transport::Quic], async |mut net| {
        net.config.budget = NetConfig::default().budget;
        let pair = net.pair().await;
        // Streams that nobody reads, until the connection's window has to be wider than what is guaranteed.
        let mut stalled = Vec::new();
        while net.config.budget.used() == 0 {
            let (near, far) = stream(&pair.a, &pair.b).await;
            let (recv, mut send) = near.into_split();
            fill(&mut send).await;
            stalled.push((recv, send, far));
        }
        drop(stalled);
        pair.a.close(0, "");
        pair.b.closed().await;
        pair.dialer.shutdown().await;
        pair.acceptor.shutdown().await;
        assert_eq!(net.config.budget.used(), 0);
    });
}
