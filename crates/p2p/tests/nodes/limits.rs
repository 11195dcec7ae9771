//! Bounds that the application meets.

use std::collections::BTreeSet;

use p2p::layers::net::Error as NetError;
use p2p::protocol::ProtocolKind;
use p2p::{Broadcast, Config, Error, Limits, Node, RejectReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{eventually, everywhere, exchange, id, in_time, new_key, shutdown};

#[test]
fn a_message_over_the_limit_is_an_error_and_the_connection_lives() {
    everywhere(|world| async move {
        const MAX: usize = 100_000;
        let config = || Config { limits: Limits { message: MAX, ..Limits::default() }, ..world.config() };
        let pair = world.pair_with(config(), config()).await;
        let (peer, x) = (pair.b.peer_id(), id("/x"));
        let too_large = |result: Result<(), Error>| {
            assert!(
                matches!(result, Err(Error::MessageTooLarge { len, max }) if len == MAX + 1 && max == MAX),
                "{result:?}"
            );
        };
        for _ in 0..3 {
            too_large(pair.a_conn.send(vec![1; MAX + 1]).await);
            too_large(pair.a_conn.try_send(vec![1; MAX + 1]));
            too_large(pair.a.send_to(&peer, &x, vec![1; MAX + 1]).await);
            too_large(pair.a.broadcast(&x, vec![1; MAX + 1]).map(drop));
            too_large(pair.a_conn.broadcast(vec![1; MAX + 1]).map(drop));
            // Larger than the window, and at the limit.
            pair.a_conn.send(vec![7; MAX]).await.unwrap();
            assert_eq!(in_time("a large message", pair.b_conn.recv()).await.unwrap(), vec![7; MAX]);
            pair.a_conn.send(Vec::new()).await.unwrap();
            assert_eq!(in_time("an empty message", pair.b_conn.recv()).await.unwrap(), Vec::new());
        }
        exchange(&pair.a_conn, &pair.b_conn).await;
        assert_eq!((pair.a.peers(), pair.b.peers()), (1, 1));
        pair.shutdown().await;
    });
}

#[test]
fn a_broadcast_that_cannot_be_sent_is_an_error() {
    everywhere(|world| async move {
        let (x, y) = (id("/x"), id("/y"));
        let max = Limits::default().message;
        let too_large = |told: Result<Broadcast, Error>| {
            assert!(matches!(told, Err(Error::MessageTooLarge { len, .. }) if len == max + 1), "{told:?}");
        };
        let host = world.host().await;
        let node = Node::builder(&new_key()).config(world.config()).runtime(world.runtime.clone()).build().unwrap();
        assert!(matches!(node.broadcast(&x, "early"), Err(Error::NotRunning)));
        host.speak("/x", ProtocolKind::Optional, |conn| async move { Err(conn.recv().await.unwrap_err()) });
        // Nobody is there, which is no error.
        assert_eq!(host.broadcast(&x, "nobody").unwrap(), Broadcast::default());
        too_large(host.broadcast(&x, vec![1; max + 1]));
        let not_attached = |told: Result<Broadcast, Error>| {
            assert!(matches!(&told, Err(Error::ProtocolNotAttached(protocol)) if *protocol == y), "{told:?}");
        };
        not_attached(host.broadcast(&y, "what"));
        not_attached(host.broadcast_to(&y, "what", &BTreeSet::new()));
        not_attached(host.broadcast_msg(&y, &1u32));
        host.shutdown().await;
        assert!(matches!(host.broadcast(&x, "late"), Err(Error::ShutDown)));
    });
}

#[test]
fn the_send_queue_is_bounded_and_says_so() {
    everywhere(|world| async move {
        let limits = Limits { queue_messages: 10, connection_window: 1 << 20, ..Limits::default() };
        let config = Config { limits, ..world.config() };
        let pair = world.pair_with(config.clone(), config).await;
        let mut sent = 0u32;
        // What the queue, the windows and the kernel take, and no more. What waits may move on until all of them are full.
        loop {
            fill(&pair.a_conn, &mut sent).await;
            let broadcast = pair.a.broadcast(&id("/x"), crate::common::numbered(sent, 10_000)).unwrap();
            if broadcast.sent == 0 {
                assert_eq!(broadcast.busy, [pair.b.peer_id()]);
                break;
            }
            sent += 1;
        }
        for n in 0..sent {
            let message = in_time("what was accepted", pair.b_conn.recv()).await.unwrap();
            assert_eq!(crate::common::number(&message), n);
        }
        exchange(&pair.a_conn, &pair.b_conn).await;
        pair.shutdown().await;
    });
}

/// Sends until the queue is full.
async fn fill(conn: &p2p::PeerConn, sent: &mut u32) {
    loop {
        match conn.try_send(crate::common::numbered(*sent, 10_000)) {
            Ok(()) => *sent += 1,
            Err(Error::Busy) => return,
            Err(error) => panic!("{error}"),
        }
        assert!(*sent < 100_000, "no bound");
        // The driver has its turn.
        tokio::task::yield_now().await;
    }
}

#[test]
fn streams_beyond_the_limit_are_refused_and_slots_come_back() {
    everywhere(|world| async move {
        // Over quic the last freed eighth may be told only with the next: of seven that is none.
        let limits = Limits { inbound_streams: 7, waiting_streams: 7, ..Limits::default() };
        let pair = world.pair_with(world.config(), Config { limits, ..world.config() }).await;
        for _ in 0..5 {
            let mut open = Vec::new();
            // Control and `/x` have one each.
            for n in 0..5u8 {
                let mut stream = in_time("open", pair.a_conn.open_stream()).await.unwrap();
                stream.write_all(&[n]).await.unwrap();
                let mut there = in_time("accept", pair.b_conn.accept_stream()).await.unwrap();
                assert_eq!(there.read_u8().await.unwrap(), n);
                open.push((stream, there));
            }
            let beyond = async {
                let mut stream = pair.a_conn.open_stream().await?;
                stream.write_all(b"beyond").await?;
                stream.flush().await?;
                stream.read_u8().await?;
                Ok::<_, Error>(())
            };
            // Refused, or made to wait: never more than the limit.
            match world.runtime.timeout(std::time::Duration::from_millis(200), beyond).await {
                Ok(Err(Error::Net(NetError::Refused | NetError::Reset(_)))) | Err(_) => {}
                other => panic!("{other:?}"),
            }
            drop(open);
            exchange(&pair.a_conn, &pair.b_conn).await;
        }
        pair.shutdown().await;
    });
}

#[test]
fn full_slots_are_the_reason_on_both_sides() {
    everywhere(|world| async move {
        let (a, mut b, mut c) = (
            world.host().await,
            world.host_with(Config { inbound_slots: 1, ..world.config() }).await,
            world.host_with(Config { outbound_slots: 1, ..world.config() }).await,
        );
        a.connect(&b.endpoint()).await.unwrap();
        b.added().await;
        let full = |error: &Error| matches!(error, Error::Handshake(e) if e.reason() == Some(&RejectReason::SlotsFull));
        let error = c.connect(&b.endpoint()).await.unwrap_err();
        assert!(full(&error), "{error:?}");
        let (here, there) = (c.refused().await, b.refused().await);
        assert!(full(&here) && full(&there), "{here:?} {there:?}");
        // Its own slots are free again, and then full in turn.
        c.connect(&a.endpoint()).await.unwrap();
        let error = c.connect(&b.endpoint()).await.unwrap_err();
        assert!(matches!(error, Error::SlotsFull), "{error:?}");
        a.disconnect(&b.peer_id(), 0, "").await;
        c.disconnect(&a.peer_id(), 0, "").await;
        eventually("the slots are free", || b.peers() == 0).await;
        c.connect(&b.endpoint()).await.unwrap();
        shutdown([a, b, c]).await;
    });
}
