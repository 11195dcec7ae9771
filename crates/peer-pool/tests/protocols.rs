//! The life of a protocol with a peer.

#![cfg(any(feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "what a test runs beside the pools is tokio's")]

mod common;

use std::future::pending;
use std::sync::Arc;

use common::{Node, Pair, Run, everywhere, in_time, info};
use p2p_core::Runtime;
use p2p_identity::{DisconnectReason, Error, Party, ProtocolKind, RejectReason, close_code};
use p2p_net::Transport;
use p2p_peer_pool::{PeerConn, Protocol};

/// Attaches a protocol that is a function.
fn attach<F, T>(node: &Node, name: &str, kind: ProtocolKind, run: F)
where
    F: Fn(PeerConn) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = Result<(), Error>> + Send + 'static,
{
    let constructor = move |conn| Arc::new(Run(conn, run.clone())) as Arc<dyn Protocol>;
    node.pool.attach_dyn(info(name, kind), constructor).unwrap();
}

async fn two(runtime: &Arc<dyn Runtime>, transport: Transport) -> (Node, Node) {
    (Node::new(runtime, transport, 1).await, Node::new(runtime, transport, 2).await)
}

async fn shutdown(nodes: [Node; 2]) {
    for node in nodes {
        node.pool.shutdown().await;
        assert_eq!(node.pool.tasks(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_name_the_mandatory_protocol_that_is_missing() {
    everywhere(|runtime, transport| async move {
        for missing_at_dialer in [false, true] {
            let (mut a, mut b) = two(&runtime, transport).await;
            let has_it = if missing_at_dialer { &b } else { &a };
            attach(has_it, "/must", ProtocolKind::Mandatory, |_| pending());
            let error = a.pool.connect(&b.endpoint).await.unwrap_err();
            let missing = |error: &Error| match error {
                Error::Handshake(error) => match error.reason() {
                    Some(RejectReason::MissingProtocol { protocol, missing_at }) if *protocol == "/must" => *missing_at,
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            };
            let here = if missing_at_dialer { Party::Local } else { Party::Remote };
            let there = if missing_at_dialer { Party::Remote } else { Party::Local };
            assert_eq!(
                (missing(&error), missing(&a.refused().await), missing(&b.refused().await)),
                (here, here, there)
            );
            assert!(a.pool.is_empty() && b.pool.is_empty());
            shutdown([a, b]).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constructors_have_run_when_connect_returns() {
    everywhere(|runtime, transport| async move {
        let (mut a, mut b) = two(&runtime, transport).await;
        let mut counters = Vec::new();
        for node in [&a, &b] {
            let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            for name in ["/1", "/2", "/3"] {
                let count = count.clone();
                let constructor = move |conn| {
                    count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    Arc::new(Run(conn, |conn: PeerConn| async move {
                        conn.closed().await;
                        Ok(())
                    })) as Arc<dyn Protocol>
                };
                node.pool.attach_dyn(info(name, ProtocolKind::Optional), constructor).unwrap();
            }
            counters.push(count);
        }
        a.pool.connect(&b.endpoint).await.unwrap();
        assert_eq!(counters[0].load(std::sync::atomic::Ordering::SeqCst), 3);
        assert_eq!(a.added().await.protocols.len(), 3);
        b.added().await;
        assert_eq!(counters[1].load(std::sync::atomic::Ordering::SeqCst), 3);
        shutdown([a, b]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constructor_that_panics_ends_its_protocol_or_the_connection() {
    everywhere(|runtime, transport| async move {
        for kind in [ProtocolKind::Optional, ProtocolKind::Mandatory] {
            let (mut a, mut b) = two(&runtime, transport).await;
            let mut ours = a.hold("/x", kind);
            b.pool.attach_dyn(info("/x", kind), |_| panic!("no")).unwrap();
            let connected = a.pool.connect(&b.endpoint).await;
            let conn = ours.recv().await.unwrap();
            if kind == ProtocolKind::Optional {
                connected.unwrap();
                a.added().await;
                b.added().await;
                assert!(matches!(conn.recv().await, Err(Error::ProtocolEnded)));
                assert_eq!((a.pool.len(), b.pool.len()), (1, 1));
            } else {
                let failed = b.refused().await;
                assert!(
                    matches!(&failed, Error::Disconnected(DisconnectReason::ProtocolPanicked { message, .. }) if message == "no"),
                    "{failed:?}"
                );
                // The end may overtake the accept, where the streams were there already.
                let reason = match connected {
                    Ok(_) => {
                        a.added().await;
                        a.removed().await
                    }
                    Err(_) => in_time("end", conn.closed()).await,
                };
                assert!(matches!(reason, DisconnectReason::Remote { code: close_code::PROTOCOL_PANICKED, .. }), "{reason}");
            }
            shutdown([a, b]).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_that_ends_leaves_the_connection_alone() {
    everywhere(|runtime, transport| async move {
        let (mut a, mut b) = two(&runtime, transport).await;
        let (mut ours, mut others) = (a.hold("/x", ProtocolKind::Mandatory), a.hold("/y", ProtocolKind::Optional));
        let mut y = b.hold("/y", ProtocolKind::Optional);
        attach(&b, "/x", ProtocolKind::Mandatory, |conn| async move {
            for n in 0..100u32 {
                conn.send_msg(&n).await?;
            }
            Ok(())
        });
        a.pool.connect(&b.endpoint).await.unwrap();
        a.added().await;
        b.added().await;
        let conn = ours.recv().await.unwrap();
        for n in 0..100u32 {
            assert_eq!(conn.recv_msg::<u32>().await.unwrap(), n);
        }
        for _ in 0..2 {
            assert!(matches!(conn.recv().await, Err(Error::ProtocolEnded)));
        }
        assert!(matches!(conn.send(&b"x"[..]).await, Err(Error::ProtocolEnded)));
        assert!(matches!(conn.accept_stream().await, Err(Error::ProtocolEnded)));
        let (from, to) = (others.recv().await.unwrap(), y.recv().await.unwrap());
        from.send(&b"on"[..]).await.unwrap();
        assert_eq!(to.recv().await.unwrap(), &b"on"[..]);
        shutdown([a, b]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_or_a_panic_matters_if_the_protocol_is_mandatory() {
    everywhere(|runtime, transport| async move {
        for kind in [ProtocolKind::Optional, ProtocolKind::Mandatory] {
            for panics in [false, true] {
                let (mut a, mut b) = two(&runtime, transport).await;
                let mut ours = a.hold("/x", kind);
                attach(&b, "/x", kind, move |conn| async move {
                    conn.recv().await?;
                    if panics { panic!("over") } else { Err(Error::app("over")) }
                });
                a.pool.connect(&b.endpoint).await.unwrap();
                a.added().await;
                b.added().await;
                let conn = ours.recv().await.unwrap();
                conn.send(&b"go"[..]).await.unwrap();
                if kind == ProtocolKind::Optional {
                    assert!(matches!(conn.recv().await, Err(Error::ProtocolEnded)));
                    assert_eq!((a.pool.len(), b.pool.len()), (1, 1));
                } else {
                    let text = b.removed().await.to_string();
                    assert!(text.contains("/x") && text.contains("over"), "{text}");
                    let code = if panics { close_code::PROTOCOL_PANICKED } else { close_code::PROTOCOL_FAILED };
                    let there = a.removed().await;
                    assert!(matches!(&there, DisconnectReason::Remote { code: c, .. } if *c == code), "{there}");
                    assert!(!there.to_string().contains("over"), "what went wrong stays where it did");
                }
                shutdown([a, b]).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remaining_messages_come_before_the_end_on_both_sides() {
    everywhere(|runtime, transport| async move {
        let mut pair = Pair::new(&runtime, transport).await;
        for n in 0..500u32 {
            pair.a_conn.send_msg(&n).await.unwrap();
            pair.b_conn.send_msg(&n).await.unwrap();
            // What waits must fit into the windows: nobody reads yet.
        }
        pair.a_conn.disconnect(7, "done").await;
        for conn in [&pair.b_conn, &pair.a_conn] {
            // Who speaks too late hears all the same.
            assert!(matches!(conn.send(&b"x"[..]).await, Err(Error::PeerShutdown)));
            for n in 0..500u32 {
                assert_eq!(conn.recv_msg::<u32>().await.unwrap(), n);
            }
            assert!(matches!(conn.recv().await, Err(Error::PeerShutdown)));
            assert!(matches!(conn.send(&b"x"[..]).await, Err(Error::PeerShutdown)));
        }
        assert_eq!(pair.a.removed().await, DisconnectReason::Local { code: 7, reason: "done".into() });
        assert_eq!(pair.b.removed().await, DisconnectReason::Remote { code: 7, reason: "done".into() });
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_protocol_started_ends_with_the_peer() {
    everywhere(|runtime, transport| async move {
        let mut pair = Pair::new(&runtime, transport).await;
        let alive = Arc::new(());
        let held = alive.clone();
        pair.a_conn.spawn(async move {
            pending::<()>().await;
            drop(held);
        });
        assert_eq!(Arc::strong_count(&alive), 2);
        pair.b.pool.disconnect(&pair.a.id(), 1, "bye").await;
        pair.a.removed().await;
        let closed = pair.a_conn.closed().await;
        assert_eq!(closed, DisconnectReason::Remote { code: 1, reason: "bye".into() });
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
        let late = alive.clone();
        pair.a_conn.spawn(async move { drop(late) });
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attaching_and_detaching_concern_new_connections() {
    let runtime = common::runtimes().remove(0);
    let mut pair = Pair::new(&runtime, Transport::Tcp).await;
    let duplicate = pair.a.pool.attach_dyn(info("/x", ProtocolKind::Optional), |_| panic!("never made"));
    assert!(matches!(duplicate, Err(Error::DuplicateProtocol(id)) if id == "/x"));
    for node in [&pair.a, &pair.b] {
        drop(node.hold("/later", ProtocolKind::Optional));
        assert!(node.pool.detach(&common::id("/x")) && !node.pool.detach(&common::id("/x")));
    }
    pair.a_conn.send(&b"as before"[..]).await.unwrap();
    assert_eq!(pair.b_conn.recv().await.unwrap(), &b"as before"[..]);
    pair.a.pool.disconnect(&pair.b.id(), 0, "").await;
    pair.a.removed().await;
    pair.b.removed().await;
    pair.a.pool.connect(&pair.b.endpoint).await.unwrap();
    let protocols: Vec<_> = pair.a.added().await.protocols.into_iter().collect();
    assert_eq!(protocols, [common::id("/later")]);
    let (a, b) = (pair.a.id(), pair.b.id());
    assert!(matches!(pair.a.pool.conn(&b, &common::id("/x")), Err(Error::ProtocolNotNegotiated { .. })));
    assert!(matches!(pair.b.pool.conn(&b, &common::id("/x")), Err(Error::NotConnected(id)) if id == b && id != a));
    pair.shutdown().await;
}

#[tokio::test]
async fn constructors_may_return_a_protocol_or_a_shared_one() {
    struct Chat(#[expect(dead_code, reason = "held as a protocol would")] PeerConn);

    #[async_trait::async_trait]
    impl Protocol for Chat {
        async fn start(self: Arc<Self>) -> Result<(), Error> {
            Ok(())
        }
        fn id() -> p2p_identity::ProtocolId {
            common::id("/chat")
        }
        fn version() -> Result<p2p_identity::Version, Error> {
            "0.2.0".parse()
        }
    }

    let runtime = common::runtimes().remove(0);
    let node = Node::new(&runtime, Transport::Tcp, 1).await;
    node.pool.attach(Chat).unwrap();
    assert!(node.pool.detach(&common::id("/chat")));
    node.pool.attach(|conn| Arc::new(Chat(conn))).unwrap();
    assert_eq!(node.pool.protocols()[0].version, "0.2.0".parse().unwrap());
    node.pool.shutdown().await;
}
