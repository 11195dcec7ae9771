//! Which connections become peers, and which do not.

#![cfg(any(feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "what a test runs beside the pools is tokio's")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Node, PATIENCE, Pair, config, everywhere, in_time, in_virtual_time};
use p2p_core::Runtime;
use p2p_identity::access::AllowAll;
use p2p_identity::{
    AllowList, DenyList, DisconnectReason, Error, HandshakeError, ProtocolKind, RejectReason, close_code,
};
use p2p_net::Transport;
use p2p_peer_pool::{ConnectionEventKind, Direction, PeerEvent, PoolConfig};

async fn node(runtime: &Arc<dyn Runtime>, transport: Transport, n: u8, config: PoolConfig) -> Node {
    Node::with(runtime, transport, n, config, Arc::new(AllowAll)).await
}

async fn shutdown<const N: usize>(nodes: [Node; N]) {
    for node in nodes {
        node.pool.shutdown().await;
        assert_eq!(node.pool.tasks(), 0);
    }
}

/// The smaller id first.
fn sorted(a: Node, b: Node) -> (Node, Node) {
    if a.id() < b.id() { (a, b) } else { (b, a) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_dials_end_in_one_connection_that_both_agree_on() {
    everywhere(|runtime, transport| async move {
        let (mut a, mut b) = sorted(Node::new(&runtime, transport, 1).await, Node::new(&runtime, transport, 2).await);
        let mut a_conns = a.hold("/x", ProtocolKind::Optional);
        let mut b_conns = b.hold("/x", ProtocolKind::Optional);
        let rounds = if transport == Transport::Tcp { 1000 } else { 100 };
        for round in 0..rounds {
            let round: u32 = round;
            let (one, two) = tokio::join!(a.pool.connect(&b.endpoint), b.pool.connect(&a.endpoint));
            assert_eq!((one.unwrap(), two.unwrap()), (b.id(), a.id()), "round {round}");
            let (at_a, at_b) = (a.added().await, b.added().await);
            assert_eq!((a.pool.len(), b.pool.len()), (1, 1));
            assert_ne!(at_a.direction, at_b.direction, "both mean the same connection");
            // The first connection that each protocol got is the one that stays, and it carries messages at once.
            let (a_conn, b_conn) = (a_conns.recv().await.unwrap(), b_conns.recv().await.unwrap());
            a_conn.send_msg(&round).await.unwrap();
            b_conn.send_msg(&round).await.unwrap();
            assert_eq!(a_conn.recv_msg::<u32>().await.unwrap(), round);
            assert_eq!(b_conn.recv_msg::<u32>().await.unwrap(), round);
            let leaver = if round.is_multiple_of(2) { &a } else { &b };
            let left = if round.is_multiple_of(2) { b.id() } else { a.id() };
            leaver.pool.disconnect(&left, 0, "again").await;
            assert!(a.removed().await.is_orderly() && b.removed().await.is_orderly());
        }
        shutdown([a, b]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_again_is_fine_and_changes_nothing() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        let before = pair.a_conn.connection_id();
        for endpoint in [pair.b.endpoint.clone(), pair.b.endpoint.clone().with_peer_id(pair.b.id())] {
            assert_eq!(pair.a.pool.connect(&endpoint).await.unwrap(), pair.b.id());
        }
        assert_eq!(pair.b.pool.connect(&pair.a.endpoint).await.unwrap(), pair.a.id());
        assert_eq!(pair.a.pool.peer(&pair.b.id()).unwrap().connection_id, before);
        pair.a_conn.send(&b"x"[..]).await.unwrap();
        assert_eq!(pair.b_conn.recv().await.unwrap(), &b"x"[..]);
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_dials_of_the_same_peer_are_one_connection() {
    everywhere(|runtime, transport| async move {
        let (mut a, mut b) = (Node::new(&runtime, transport, 1).await, Node::new(&runtime, transport, 2).await);
        let dials = (0..20).map(|_| a.pool.connect(&b.endpoint));
        for dialed in futures_util::future::join_all(dials).await {
            assert_eq!(dialed.unwrap(), b.id());
        }
        a.added().await;
        b.added().await;
        assert!(a.events.try_recv().is_none() && b.events.try_recv().is_none());
        shutdown([a, b]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_slots_are_named_on_both_sides() {
    everywhere(|runtime, transport| async move {
        let small = PoolConfig { inbound_slots: 1, outbound_slots: 1, ..config() };
        let mut hub = node(&runtime, transport, 1, small).await;
        let (mut first, mut second) =
            (Node::new(&runtime, transport, 2).await, Node::new(&runtime, transport, 3).await);
        first.pool.connect(&hub.endpoint).await.unwrap();
        hub.added().await;
        first.added().await;
        let error = second.pool.connect(&hub.endpoint).await.unwrap_err();
        let full = |error: &Error| match error {
            Error::Handshake(error) => error.reason() == Some(&RejectReason::SlotsFull),
            _ => false,
        };
        assert!(full(&error) && full(&second.refused().await) && full(&hub.refused().await), "{error}");
        hub.pool.connect(&second.endpoint).await.unwrap();
        second.added().await;
        hub.added().await;
        let third = Node::new(&runtime, transport, 4).await;
        assert!(matches!(hub.pool.connect(&third.endpoint).await, Err(Error::SlotsFull)));
        first.pool.disconnect(&hub.id(), 0, "room").await;
        hub.removed().await;
        third.pool.connect(&hub.endpoint).await.unwrap();
        shutdown([hub, first, second, third]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_is_out_until_the_ban_is_lifted() {
    everywhere(|runtime, transport| async move {
        let mut pair = Pair::new(&runtime, transport).await;
        pair.a.pool.ban(&pair.b.id(), PATIENCE);
        assert_eq!(pair.a.removed().await, DisconnectReason::Banned);
        let there = pair.b.removed().await;
        assert!(matches!(there, DisconnectReason::Remote { code: close_code::BANNED, .. }), "{there}");
        let named = pair.b.endpoint.clone().with_peer_id(pair.b.id());
        assert!(matches!(pair.a.pool.connect(&named).await, Err(Error::Banned(id)) if id == pair.b.id()));
        // Who it is shows in the handshake only.
        let unnamed = pair.a.pool.connect(&pair.b.endpoint).await;
        assert!(matches!(unnamed, Err(Error::Banned(id)) if id == pair.b.id()), "{unnamed:?}");
        match pair.b.pool.connect(&pair.a.endpoint).await {
            Err(Error::Handshake(error)) => assert_eq!(error.reason(), Some(&RejectReason::Banned)),
            other => panic!("{other:?}"),
        }
        assert!(pair.a.pool.unban(&pair.b.id()) && !pair.a.pool.is_banned(&pair.b.id()));
        pair.b.pool.connect(&pair.a.endpoint).await.unwrap();
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_lists_hold_before_and_after_the_handshake_and_for_live_peers() {
    everywhere(|runtime, transport| async move {
        let (allow, deny) = (AllowList::new(), DenyList::new());
        let mut a = Node::with(&runtime, transport, 1, config(), Arc::new(allow.clone())).await;
        let mut b = Node::with(&runtime, transport, 2, config(), Arc::new(deny.clone())).await;
        let error = a.pool.connect(&b.endpoint).await.unwrap_err();
        assert!(matches!(error, Error::Denied(_)), "nobody is on the list: {error}");
        allow.insert(common::key(9).peer_id());
        let error = a.pool.connect(&b.endpoint).await.unwrap_err();
        assert!(matches!(&error, Error::Denied(_)), "{error}");
        for live in [true, false] {
            allow.insert(b.id());
            while let Some(Ok(PeerEvent::HandshakeFailed { .. })) = a.events.try_recv() {}
            a.pool.connect(&b.endpoint).await.unwrap();
            a.added().await;
            while !matches!(in_time("Added", b.events.recv()).await.unwrap(), PeerEvent::Added { .. }) {}
            if live {
                allow.remove(b.id())
            } else {
                deny.insert(a.id())
            };
            let (here, there) = if live { (&mut a, &mut b) } else { (&mut b, &mut a) };
            assert_eq!(here.removed().await, DisconnectReason::Denied);
            let told = there.removed().await;
            assert!(matches!(told, DisconnectReason::Remote { code: close_code::DENIED, .. }), "{told}");
        }
        shutdown([a, b]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_replaces_its_stale_connection() {
    everywhere(|runtime, transport| async move {
        let mut hub = Node::new(&runtime, transport, 1).await;
        let first = Node::new(&runtime, transport, 2).await;
        first.pool.connect(&hub.endpoint).await.unwrap();
        let before = hub.added().await;
        // The same key elsewhere: for the hub it is the same peer after a restart.
        let second = Node::new(&runtime, transport, 2).await;
        second.pool.connect(&hub.endpoint).await.unwrap();
        assert_eq!(hub.removed().await, DisconnectReason::Replaced);
        let after = hub.added().await;
        assert_eq!(after.peer_id, before.peer_id);
        assert_ne!(after.connection_id, before.connection_id);
        assert!(hub.events.try_recv().is_none());
        shutdown([hub, first, second]).await;
    })
    .await;
}

/// In virtual time: over quic nobody says that nobody is there, and each try has its part of the time.
#[test]
fn a_failed_dial_says_why_after_its_retries() {
    in_virtual_time(|runtime, transport| async move {
        let few = PoolConfig { max_connect_retries: 2, dial_timeout: Duration::from_secs(10), ..config() };
        let mut a = node(&runtime, transport, 1, few).await;
        assert!(matches!(a.pool.connect(&a.endpoint).await, Err(Error::SelfDial)));
        a.refused().await;
        let own = a.endpoint.clone().with_peer_id(a.id());
        assert!(matches!(a.pool.connect(&own).await, Err(Error::SelfDial)));
        let gone = Node::new(&runtime, transport, 2).await;
        let endpoint = gone.endpoint.clone();
        shutdown([gone]).await;
        let mut events = a.pool.connection_events().register();
        assert!(matches!(a.pool.connect(&endpoint).await, Err(Error::Net(_))));
        let mut kinds = Vec::new();
        while let Some(Ok(event)) = events.try_recv() {
            assert_eq!(event.endpoint.as_ref(), Some(&endpoint));
            kinds.push(event.kind);
        }
        assert!(
            matches!(
                kinds[..],
                [
                    ConnectionEventKind::ConnectRetried { attempt: 1, .. },
                    ConnectionEventKind::ConnectRetried { attempt: 2, .. },
                    ConnectionEventKind::ConnectFailed { .. }
                ]
            ),
            "{kinds:?}"
        );
        let wrong = a.endpoint.clone().with_peer_id(common::key(77).peer_id());
        let error = Node::new(&runtime, transport, 3).await.pool.connect(&wrong).await.unwrap_err();
        assert!(
            matches!(&error, Error::Handshake(HandshakeError::Refused(RejectReason::IdentityMismatch { .. }))),
            "{error}"
        );
        shutdown([a]).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_dial_peers_delay_nobody_and_live_ones_are_dialed_again() {
    everywhere(|runtime, transport| async move {
        let dead = Node::new(&runtime, transport, 9).await;
        let nowhere = dead.endpoint.clone();
        shutdown([dead]).await;
        let mut b = Node::new(&runtime, transport, 2).await;
        let mut c = Node::new(&runtime, transport, 3).await;
        // Over quic nobody says that nobody is there.
        let dial_timeout = Duration::from_secs(30);
        let mut kept = PoolConfig { dial_peers: vec![nowhere; 1000], dial_timeout, ..config() };
        kept.dial_peers.insert(0, c.endpoint.clone());
        let a = node(&runtime, transport, 1, kept).await;
        a.pool.start();
        assert_eq!(c.added().await.peer_id, a.id());
        a.pool.connect(&b.endpoint).await.unwrap();
        b.added().await;
        c.pool.disconnect(&a.id(), 0, "come back").await;
        c.removed().await;
        assert_eq!(c.added().await.direction, Direction::Inbound);
        shutdown([a, b, c]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_found_at_whichever_address_answers() {
    let runtime = common::runtimes().remove(0);
    let b = Node::new(&runtime, Transport::Tls, 2).await;
    let a = Node::new(&runtime, Transport::Tcp, 1).await;
    let stranger = Node::new(&runtime, Transport::Tls, 3).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent: p2p_net::Endpoint = format!("tls://{}", silent.local_addr().unwrap()).parse().unwrap();
    let addrs = [silent, stranger.endpoint.clone(), b.endpoint.clone()].map(p2p_net::PeerAddr::from);
    a.pool.connect_peer(&b.id(), &addrs).await.unwrap();
    assert_eq!(a.pool.peer_ids(), [b.id()]);
    assert!(matches!(a.pool.connect_peer(&stranger.id(), &[]).await, Err(Error::NoAddress(_))));
    shutdown([a, b, stranger]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_peers_leaves_no_gap() {
    let runtime = common::runtimes().remove(0);
    let pair = Pair::new(&runtime, Transport::Tcp).await;
    let (peers, mut events) = pair.a.pool.watch_peers();
    assert_eq!(peers.iter().map(|peer| peer.peer_id).collect::<Vec<_>>(), [pair.b.id()]);
    pair.b.pool.disconnect(&pair.a.id(), 0, "").await;
    assert!(matches!(in_time("Removed", events.recv()).await, Ok(PeerEvent::Removed { peer, .. }) if peer == peers[0]));
    pair.shutdown().await;
}
