//! Peers that are slow, silent or gone, and ends under load.

#![cfg(any(feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "what a test runs beside the pools is tokio's")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{Node, Pair, config, everywhere, id, in_time};
use p2p_identity::access::AllowAll;
use p2p_identity::{DisconnectReason, Error, ProtocolKind};
use p2p_net::Transport;
use p2p_peer_pool::{PeerConn, PoolConfig, Protocol};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_names_who_is_stalled_and_reaches_all_others() {
    everywhere(|runtime, transport| async move {
        const PEERS: usize = 6;
        const STEP: u32 = 64;
        let hub = Node::new(&runtime, transport, 1).await;
        hub.pool
            .attach_dyn(common::info("/x", ProtocolKind::Optional), |conn| {
                Arc::new(common::Run(conn, |_| std::future::pending()))
            })
            .unwrap();
        let mut peers = Vec::new();
        for n in 0..PEERS {
            let peer = Node::new(&runtime, transport, 2 + n as u8).await;
            let mut conns = peer.hold("/x", ProtocolKind::Optional);
            peer.pool.connect(&hub.endpoint).await.unwrap();
            let conn = conns.recv().await.unwrap();
            hub.pool.wait_for(&peer.id()).await;
            peers.push((peer, conn));
        }
        let stalled = peers[0].0.id();
        let message = Bytes::from(vec![1; 4096]);
        let mut busy = 0;
        // The others keep up: they have read a step before the next one comes.
        for _ in 0..60 {
            for _ in 0..STEP {
                let result = hub.pool.broadcast(&id("/x"), message.clone()).unwrap();
                assert_eq!(result.sent + result.busy.len(), PEERS);
                assert!(result.busy.iter().all(|peer| *peer == stalled), "{result:?}");
                busy += result.busy.len();
            }
            for (_, conn) in &peers[1..] {
                for _ in 0..STEP {
                    assert_eq!(conn.recv().await.unwrap(), message);
                }
            }
        }
        assert!(busy > 0, "nobody reads there");
        assert_eq!(hub.pool.len(), PEERS, "a protocol that is not read is no reason to disconnect");
        let except = peers[1].1.broadcast_except(message, &[hub.id()]).unwrap();
        assert_eq!((except.sent, except.busy.len()), (0, 0));
        for (peer, _) in peers {
            peer.pool.shutdown().await;
        }
        hub.pool.shutdown().await;
    })
    .await;
}

/// Over tls and quic a dialer's protocols speak before the listener has accepted, and all streams share the little credit
/// that there is until then: the handshake has its part of it first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_that_says_much_at_once_does_not_delay_the_handshake() {
    everywhere(|runtime, transport| async move {
        let (a, b) = (Node::new(&runtime, transport, 1).await, Node::new(&runtime, transport, 2).await);
        let mut heard = b.hold("/x", ProtocolKind::Optional);
        let (made, said) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let counts = (made.clone(), said.clone());
        // More than the queue holds: what exceeds it goes to the transport at once.
        let constructor = move |conn: PeerConn| {
            counts.0.fetch_add(1, Ordering::SeqCst);
            while conn.try_send(vec![1; 1000]).is_ok() {
                counts.1.fetch_add(1, Ordering::SeqCst);
            }
            Arc::new(common::Run(conn, |_| std::future::pending())) as Arc<dyn Protocol>
        };
        a.pool.attach_dyn(common::info("/x", ProtocolKind::Optional), constructor).unwrap();
        a.pool.connect(&b.endpoint).await.unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 1, "the first try has succeeded");
        let conn = heard.recv().await.unwrap();
        for _ in 0..said.load(Ordering::SeqCst) {
            assert_eq!(conn.recv().await.unwrap().len(), 1000);
        }
        a.pool.shutdown().await;
        b.pool.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_that_nobody_reads_delays_no_other() {
    everywhere(|runtime, transport| async move {
        let mut a = Node::new(&runtime, transport, 1).await;
        let b = Node::new(&runtime, transport, 2).await;
        let (mut a_silent, mut a_live) =
            (a.hold("/silent", ProtocolKind::Optional), a.hold("/live", ProtocolKind::Optional));
        let (mut b_silent, mut b_live) =
            (b.hold("/silent", ProtocolKind::Optional), b.hold("/live", ProtocolKind::Optional));
        a.pool.connect(&b.endpoint).await.unwrap();
        a.added().await;
        let (silent, unread) = (a_silent.recv().await.unwrap(), b_silent.recv().await.unwrap());
        let (from, to) = (a_live.recv().await.unwrap(), b_live.recv().await.unwrap());
        let message = Bytes::from(vec![0; 8 << 10]);
        // Full is what stays full while the connection is idle: nobody takes anything out.
        let (mut full, mut accepted) = (0, 0);
        while full < 3 {
            match silent.try_send(message.clone()) {
                Ok(()) => (full, accepted) = (0, accepted + 1),
                Err(Error::Busy) => {
                    full += 1;
                    from.send(&b"flushes"[..]).await.unwrap();
                    assert_eq!(to.recv().await.unwrap(), &b"flushes"[..]);
                }
                Err(other) => panic!("{other}"),
            }
        }
        let sending = async {
            for n in 0..2000u32 {
                from.send_msg(&n).await.unwrap();
            }
        };
        let receiving = async {
            for n in 0..2000u32 {
                assert_eq!(to.recv_msg::<u32>().await.unwrap(), n);
            }
        };
        tokio::join!(sending, receiving);
        while from.rtt().is_none() {
            // Real time: it is only looked at again.
            runtime.sleep(Duration::from_millis(5)).await;
        }
        // Two pools that shut down wait until what was accepted is read.
        let reading = async {
            for _ in 0..accepted {
                assert_eq!(unread.recv().await.unwrap(), message);
            }
        };
        tokio::join!(a.pool.shutdown(), b.pool.shutdown(), reading);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_under_load_delivers_what_was_accepted() {
    everywhere(|runtime, transport| async move {
        let pair = Arc::new(Pair::new(&runtime, transport).await);
        let mut ends = Vec::new();
        for (from, to) in [(&pair.a_conn, &pair.b_conn), (&pair.b_conn, &pair.a_conn)] {
            let accepted = Arc::new(AtomicU32::new(0));
            let (from, to, counter) = (from.clone(), to.clone(), accepted.clone());
            let sender = tokio::spawn(async move {
                let padding = vec![0u8; 500];
                loop {
                    let n = counter.load(Ordering::SeqCst);
                    match from.send_msg(&(n, &padding[..])).await {
                        Ok(()) => counter.store(n + 1, Ordering::SeqCst),
                        Err(Error::PeerShutdown) => return,
                        Err(other) => panic!("{other}"),
                    }
                }
            });
            let receiver = tokio::spawn(async move {
                let mut expected = 0;
                loop {
                    match to.recv_msg::<(u32, Vec<u8>)>().await {
                        Ok((n, _)) => assert_eq!(n, expected),
                        Err(Error::PeerShutdown) => return expected,
                        Err(other) => panic!("after {expected}: {other}"),
                    }
                    expected += 1;
                }
            });
            ends.push((sender, receiver, accepted));
        }
        while ends.iter().any(|(.., accepted)| accepted.load(Ordering::SeqCst) < 2000) {
            tokio::task::yield_now().await;
        }
        pair.a.pool.shutdown().await;
        assert_eq!(pair.a.pool.tasks(), 0);
        for (sender, receiver, accepted) in ends {
            in_time("sender", sender).await.unwrap();
            let received = in_time("receiver", receiver).await.unwrap();
            assert_eq!(received, accepted.load(Ordering::SeqCst));
        }
        pair.b.pool.shutdown().await;
        assert_eq!(pair.b.pool.tasks(), 0);
        assert!(matches!(pair.a.pool.connect(&pair.b.endpoint).await, Err(Error::ShutDown)));
        // The port is free for the next node.
        let again = Node::new(&runtime, transport, 3).await;
        again.pool.listen(&pair.a.endpoint).await.unwrap();
        again.pool.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_pool_ends_everything_and_the_peer_notices() {
    everywhere(|runtime, transport| async move {
        let Pair { a, mut b, a_conn, b_conn } = Pair::new(&runtime, transport).await;
        let transports = a.pool.transports().clone();
        drop((a.events, a.pool));
        let reason = b.removed().await;
        assert!(!reason.is_orderly(), "{reason}");
        assert!(matches!(b_conn.recv().await, Err(Error::Disconnected(_))));
        assert!(matches!(a_conn.closed().await, DisconnectReason::Lost(_)));
        assert!(matches!(a_conn.recv().await, Err(Error::Disconnected(_))));
        assert!(matches!(a_conn.send(&b"x"[..]).await, Err(Error::Disconnected(_))));
        assert!(a_conn.open_stream().await.is_err());
        transports.shutdown().await;
        b.pool.shutdown().await;
        assert_eq!((transports.tasks().len(), b.pool.tasks()), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn futures_may_be_dropped_wherever_they_wait() {
    everywhere(|runtime, transport| async move {
        let two = PoolConfig { inbound_slots: 1, outbound_slots: 1, ..config() };
        let a = Node::with(&runtime, transport, 1, two.clone(), Arc::new(AllowAll)).await;
        let b = Node::with(&runtime, transport, 2, two, Arc::new(AllowAll)).await;
        let mut b_conns = b.hold("/x", ProtocolKind::Optional);
        let mut a_conns = a.hold("/x", ProtocolKind::Optional);
        for polls in 0..40 {
            let mut connecting = Box::pin(a.pool.connect(&b.endpoint));
            for _ in 0..polls {
                if common::poll_once(&mut connecting).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(connecting);
        }
        // Slots and peers left over from any of these would be in the way.
        loop {
            match a.pool.connect(&b.endpoint).await {
                Ok(_) => break,
                Err(Error::Handshake(_) | Error::Net(_)) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
        let (mut from, mut to) = (a_conns.recv().await.unwrap(), b_conns.recv().await.unwrap());
        // Those of dials that were given up have come to an end.
        let stays = a.pool.peer(&b.id()).unwrap().connection_id;
        while from.connection_id() != stays {
            in_time("end", from.closed()).await;
            from = in_time("protocol", a_conns.recv()).await.unwrap();
        }
        from.try_send(&b"first"[..]).unwrap();
        while in_time("message", to.recv()).await.is_err() {
            to = in_time("protocol", b_conns.recv()).await.unwrap();
        }
        for polls in 0..40u32 {
            let mut receiving = Box::pin(to.recv());
            for _ in 0..polls % 4 {
                assert!(common::poll_once(&mut receiving).is_pending());
            }
            drop(receiving);
            drop(from.flush());
            from.send_msg(&polls).await.unwrap();
            assert_eq!(to.recv_msg::<u32>().await.unwrap(), polls);
        }
        let mut leaving = Box::pin(a.pool.shutdown());
        let _ = common::poll_once(&mut leaving);
        drop(leaving);
        a.pool.shutdown().await;
        b.pool.shutdown().await;
        assert_eq!((a.pool.tasks(), b.pool.tasks()), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offences_add_up_to_a_ban() {
    let runtime = common::runtimes().remove(0);
    let mut pair = Pair::new(&runtime, Transport::Tcp).await;
    pair.a_conn.report(p2p_peer_pool::Offence::Abuse);
    assert!(!pair.a.pool.is_banned(&pair.b.id()));
    pair.a_conn.report(p2p_peer_pool::Offence::Abuse);
    assert_eq!(pair.a.removed().await, DisconnectReason::Banned);
    assert!(pair.a.pool.is_banned(&pair.b.id()));
    assert!(pair.b.pool.connect(&pair.a.endpoint).await.is_err());
    pair.shutdown().await;
}
