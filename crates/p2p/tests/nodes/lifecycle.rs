//! Nodes and protocols from their beginning to their end.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use p2p::protocol::{Protocol, ProtocolKind};
use p2p::{DisconnectReason, Error, PeerConn};

use crate::common::{Run, eventually, everywhere, exchange, id, in_time, info, new_key, over_tcp, shutdown};

#[test]
fn constructors_have_run_when_connect_returns_and_before_added() {
    everywhere(|world| async move {
        let (mut a, mut b) = (world.host().await, world.host().await);
        let mut made = Vec::new();
        for host in [&a, &b] {
            let count = Arc::new(AtomicUsize::new(0));
            for name in ["/1", "/2", "/3"] {
                let count = count.clone();
                let constructor = move |conn| {
                    // Real time: a slow constructor must not be overtaken, on no machine.
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    count.fetch_add(1, Ordering::SeqCst);
                    Arc::new(Run(conn, |conn: PeerConn| async move {
                        conn.closed().await;
                        Ok(())
                    })) as Arc<dyn Protocol>
                };
                host.attach_dyn(info(name, ProtocolKind::Optional), constructor).unwrap();
            }
            made.push(count);
        }
        for round in 1..=5 {
            let made_now = |at: usize| made[at].load(Ordering::SeqCst);
            let (node, endpoint, peer) = (a.node.clone(), b.endpoint(), b.peer_id());
            let added = async {
                let protocols = a.added().await.protocols.len();
                (protocols, made_now(0))
            };
            let added_there = async {
                let protocols = b.added().await.protocols.len();
                (protocols, made_now(1))
            };
            let connected = async {
                node.connect(&endpoint).await.unwrap();
                made_now(0)
            };
            let (returned, here, there) = tokio::join!(connected, added, added_there);
            assert_eq!((returned, here, there), (3 * round, (3, 3 * round), (3, 3 * round)));
            node.disconnect(&peer, 0, "").await;
            a.removed().await;
            b.removed().await;
        }
        shutdown([a, b]).await;
    });
}

#[test]
fn a_protocol_that_ends_well_leaves_the_connection_alone() {
    everywhere(|world| async move {
        for kind in [ProtocolKind::Optional, ProtocolKind::Mandatory] {
            let (mut a, mut b) = (world.host().await, world.host().await);
            let (mut ends, mut goes_on) = (a.hold("/ends", kind), a.hold("/x", ProtocolKind::Optional));
            let mut there = b.hold("/x", ProtocolKind::Optional);
            b.speak("/ends", kind, |conn| async move {
                conn.send("last words").await?;
                Ok(())
            });
            a.connect(&b.endpoint()).await.unwrap();
            a.added().await;
            b.added().await;
            let conn = ends.recv().await.unwrap();
            assert_eq!(in_time("last words", conn.recv()).await.unwrap(), "last words");
            assert!(matches!(in_time("the end", conn.recv()).await, Err(Error::ProtocolEnded)));
            assert!(matches!(conn.send("late").await, Err(Error::ProtocolEnded)));
            exchange(&goes_on.recv().await.unwrap(), &there.recv().await.unwrap()).await;
            assert_eq!((a.peers(), b.peers()), (1, 1));
            assert!(a.events.try_recv().is_none() && b.events.try_recv().is_none());
            shutdown([a, b]).await;
        }
    });
}

#[test]
fn a_protocol_that_fails_disconnects_if_it_is_mandatory() {
    everywhere(|world| async move {
        for kind in [ProtocolKind::Optional, ProtocolKind::Mandatory] {
            let (mut a, mut b) = (world.host().await, world.host().await);
            let mut conns = a.hold("/fails", kind);
            b.speak("/fails", kind, |conn| async move {
                conn.recv().await?;
                Err(Error::app("out of order"))
            });
            a.connect(&b.endpoint()).await.unwrap();
            a.added().await;
            b.added().await;
            let conn = conns.recv().await.unwrap();
            conn.send("go").await.unwrap();
            if kind == ProtocolKind::Mandatory {
                let reason = b.removed().await;
                let expected =
                    DisconnectReason::ProtocolFailed { protocol: id("/fails"), error: "out of order".into() };
                assert_eq!(reason, expected);
                let code = expected.close_code();
                assert!(matches!(a.removed().await, DisconnectReason::Remote { code: c, .. } if c == code));
                assert_eq!((a.peers(), b.peers()), (0, 0));
            } else {
                assert!(matches!(in_time("the end", conn.recv()).await, Err(Error::ProtocolEnded)));
                assert_eq!((a.peers(), b.peers()), (1, 1));
            }
            shutdown([a, b]).await;
        }
    });
}

#[test]
fn what_a_protocol_spawned_ends_with_the_peer() {
    everywhere(|world| async move {
        for leaver in 0..3 {
            let pair = world.pair().await;
            let alive = Arc::new(());
            for conn in [&pair.a_conn, &pair.b_conn] {
                let held = alive.clone();
                conn.spawn(async move {
                    pending::<()>().await;
                    drop(held);
                });
            }
            let (a_id, b_id) = (pair.a.peer_id(), pair.b.peer_id());
            match leaver {
                0 => pair.a.disconnect(&b_id, 1, "").await,
                1 => pair.b.ban(&a_id, std::time::Duration::from_secs(60)),
                _ => pair.a_conn.disconnect(1, "").await,
            }
            eventually("the tasks have ended", || Arc::strong_count(&alive) == 1).await;
            pair.shutdown().await;
        }
    });
}

#[test]
fn the_application_disconnects_with_its_own_code() {
    everywhere(|world| async move {
        let mut pair = world.pair().await;
        for n in 0..100 {
            pair.a_conn.send_msg(&n).await.unwrap();
        }
        pair.a.disconnect(&pair.b.peer_id(), 7, "done").await;
        for n in 0..100 {
            assert_eq!(pair.b_conn.recv_msg::<i32>().await.unwrap(), n);
        }
        assert!(matches!(pair.b_conn.recv().await, Err(Error::PeerShutdown)));
        let (code, reason) = (7, "done".to_owned());
        assert_eq!(pair.a.removed().await, DisconnectReason::Local { code, reason: reason.clone() });
        assert_eq!(pair.b.removed().await, DisconnectReason::Remote { code, reason: reason.clone() });
        assert_eq!(pair.b_conn.closed().await, DisconnectReason::Remote { code, reason });
        pair.shutdown().await;
    });
}

#[test]
fn attaching_and_detaching_concern_new_connections() {
    over_tcp(|world| async move {
        let mut pair = world.pair().await;
        let duplicate = pair.a.attach_dyn(info("/x", ProtocolKind::Optional), |_| panic!("never made"));
        assert!(matches!(duplicate, Err(Error::DuplicateProtocol(name)) if name == id("/x")));
        let mut later = Vec::new();
        for host in [&pair.a, &pair.b] {
            later.push(host.hold("/later", ProtocolKind::Optional));
            assert!(host.detach_protocol(&id("/x")));
            assert!(!host.detach_protocol(&id("/x")));
        }
        exchange(&pair.a_conn, &pair.b_conn).await;
        let (a_id, b_id) = (pair.a.peer_id(), pair.b.peer_id());
        assert_eq!(pair.a.peer_protocols(&b_id).unwrap().into_iter().collect::<Vec<_>>(), [id("/x")]);
        pair.a.disconnect(&b_id, 0, "").await;
        pair.a.removed().await;
        pair.b.removed().await;
        pair.a.connect(&pair.b.endpoint()).await.unwrap();
        pair.a.added().await;
        pair.b.added().await;
        for (host, peer) in [(&pair.a, b_id), (&pair.b, a_id)] {
            assert_eq!(host.peer_protocols(&peer).unwrap().into_iter().collect::<Vec<_>>(), [id("/later")]);
            assert!(host.conn(&peer, &id("/x")).is_none());
            let sent = host.send_to(&peer, &id("/x"), "nobody").await;
            assert!(matches!(sent, Err(Error::ProtocolNotNegotiated { .. })), "{sent:?}");
        }
        let (b_later, a_later) =
            (later.pop().unwrap().recv().await.unwrap(), later.pop().unwrap().recv().await.unwrap());
        exchange(&a_later, &b_later).await;
        pair.shutdown().await;
    });
}

#[test]
fn a_node_says_what_it_cannot_do_yet_or_any_more() {
    everywhere(|world| async move {
        let (a, b) = (world.build(&new_key(), world.config()), world.host().await);
        assert!(a.listen_endpoints().is_empty());
        assert!(matches!(a.connect(&b.endpoint()).await, Err(Error::NotRunning)));
        assert!(matches!(a.connect_peer(&b.peer_id()).await, Err(Error::NotRunning)));
        a.run().await.unwrap();
        assert!(matches!(a.run().await, Err(Error::AlreadyRunning)));
        let stranger = new_key().peer_id();
        assert!(matches!(a.connect_peer(&stranger).await, Err(Error::NoAddress(peer)) if peer == stranger));
        let sent = a.send_to(&stranger, &id("/x"), "nobody").await;
        assert!(matches!(sent, Err(Error::NotConnected(peer)) if peer == stranger));
        a.disconnect(&stranger, 0, "").await;
        assert!(!a.unban(&stranger));
        assert_ne!(a.endpoint().port(), 0);
        // A port that is taken is an error that names it, and the node is over.
        let mut taken = world.config();
        taken.listen_endpoints = vec![a.endpoint()];
        let c = world.build(&new_key(), taken);
        let error = c.run().await.unwrap_err();
        assert!(error.to_string().contains(&a.endpoint().port().to_string()), "{error}");
        assert!(matches!(c.run().await, Err(Error::ShutDown)));
        assert_eq!(c.tasks(), 0);
        a.shutdown().await;
        a.shutdown().await;
        assert!(matches!(a.run().await, Err(Error::ShutDown)));
        assert!(matches!(a.connect(&b.endpoint()).await, Err(Error::ShutDown)));
        shutdown([a, b]).await;
    });
}
