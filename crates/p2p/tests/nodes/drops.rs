//! Handles and futures that are dropped wherever they happen to be.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use p2p::endpoint::Transport;
use p2p::protocol::ProtocolKind;
use p2p::{Config, Error, Limits, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{World, eventually, everywhere, exchange, in_time, new_key, number, numbered, shutdown};

/// Polls a future `polls` times, each time when it asks to be polled, and drops it, at the latest when it has not asked
/// for a moment. What it gave, if it was ready.
async fn polled<F: Future>(world: &World, future: F, polls: usize) -> Option<F::Output> {
    polled_within(Duration::from_millis(50), world, future, polls).await
}

/// As [`polled`], for a future that may be dropped after this time.
async fn polled_within<F: Future>(limit: Duration, world: &World, future: F, polls: usize) -> Option<F::Output> {
    let mut left = polls;
    let mut future = pin!(future);
    let some_polls = poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    world.runtime.timeout(limit, some_polls).await.ok().flatten()
}

/// Longer than any dial takes, on a busy machine too.
const DIAL: Duration = Duration::from_secs(30);

#[test]
fn a_dial_can_be_dropped_anywhere() {
    everywhere(|world| async move {
        let (target, a) = (world.host().await, world.host_with(Config { outbound_slots: 1, ..world.config() }).await);
        let _conns = (a.hold("/x", ProtocolKind::Optional), target.hold("/x", ProtocolKind::Optional));
        let (peer, endpoint) = (target.peer_id(), target.endpoint());
        let idle = (a.tasks(), target.tasks());
        let by_name = endpoint.clone().with_peer_id(peer);
        // One more poll in each round, until both forms of the call have been polled to their end.
        let mut connected = [0; 2];
        for round in 0.. {
            let endpoint = [&endpoint, &by_name][round % 2];
            match polled_within(DIAL, &world, a.connect(endpoint), round / 2).await {
                Some(Ok(id)) => {
                    assert_eq!(id, peer);
                    connected[round % 2] += 1;
                }
                // The remote may not yet have noticed that the last one is gone.
                Some(Err(Error::Handshake(_) | Error::Net(_))) | None => {}
                Some(Err(error)) => panic!("{error:?}"),
            }
            a.disconnect(&peer, 0, "").await;
            eventually("it is gone", || a.peers() == 0).await;
            if connected.iter().all(|times| *times >= 3) {
                break;
            }
        }
        eventually("no task is left", || a.tasks() <= idle.0).await;
        // quinn-proto 0.11.19 keeps a connection for ever whose very first packet closes it, as that of a dial that is
        // given up at once may.
        if world.transport != Transport::Quic {
            eventually("no task is left there", || target.tasks() <= idle.1).await;
        }
        // The only slot is free.
        in_time("connect", a.connect(&endpoint)).await.unwrap();
        shutdown([a, target]).await;
    });
}

#[test]
fn a_dropped_send_has_queued_nothing_and_a_dropped_receive_has_lost_nothing() {
    everywhere(|world| async move {
        let limits = Limits { queue_messages: 2, connection_window: 1 << 17, ..Limits::default() };
        let config = Config { limits, ..world.config() };
        let pair = world.pair_with(config.clone(), config).await;
        let done = Mutex::new(None);
        let sender = async {
            let mut accepted = 0;
            for round in 0..600 {
                match polled(&world, pair.a_conn.send(numbered(accepted, 20_000)), round % 4).await {
                    Some(result) => {
                        result.unwrap();
                        accepted += 1;
                    }
                    None if round % 50 == 0 => drop(polled(&world, pair.a_conn.flush(), 2).await),
                    None => {}
                }
            }
            *done.lock().unwrap() = Some(accepted);
            pair.a_conn.send("end").await.unwrap();
        };
        let receiver = async {
            let mut expected = 0;
            for round in 0.. {
                let Some(message) = polled(&world, pair.b_conn.recv(), round % 4).await else { continue };
                let message = message.unwrap();
                if message == "end" {
                    break;
                }
                assert_eq!(number(&message), expected);
                expected += 1;
            }
            assert_eq!(*done.lock().unwrap(), Some(expected));
        };
        in_time("all messages", async { tokio::join!(sender, receiver) }).await;
        exchange(&pair.a_conn, &pair.b_conn).await;
        pair.shutdown().await;
    });
}

#[test]
fn streams_can_be_dropped_anywhere() {
    everywhere(|world| async move {
        let limits = Limits { inbound_streams: 6, waiting_streams: 6, ..Limits::default() };
        let config = Config { limits, ..world.config() };
        let pair = world.pair_with(config.clone(), config).await;
        for polls in 0..40 {
            let open = polled(&world, pair.a_conn.open_stream(), polls % 5).await;
            let accept = polled(&world, pair.b_conn.accept_stream(), polls % 5).await;
            if let Some(Ok(mut stream)) = open {
                let _ = polled(&world, stream.write_all(&[1; 100_000]), polls % 5).await;
            }
            if let Some(Ok(mut stream)) = accept {
                let _ = polled(&world, stream.read_u8(), polls % 5).await;
            }
        }
        // All slots are free: each of more streams than there are slots arrives in the end.
        for n in 0..20u8 {
            let carried = async {
                loop {
                    let Ok(mut stream) = pair.a_conn.open_stream().await else {
                        // Real time: it is only tried again.
                        world.runtime.sleep(Duration::from_millis(5)).await;
                        continue;
                    };
                    let _ = stream.write_all(&[n]).await;
                    let _ = stream.shutdown().await;
                    let answered = async {
                        let mut rest = Vec::new();
                        stream.read_to_end(&mut rest).await.is_ok() && rest == [n]
                    };
                    if world.runtime.timeout(Duration::from_secs(2), answered).await == Ok(true) {
                        return;
                    }
                }
            };
            let answering = async {
                loop {
                    let mut stream = pair.b_conn.accept_stream().await.unwrap();
                    let mut bytes = Vec::new();
                    if stream.read_to_end(&mut bytes).await.is_ok() {
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.shutdown().await;
                    }
                }
            };
            tokio::select! {
                () = in_time("a stream", carried) => {}
                () = answering => {}
            }
        }
        exchange(&pair.a_conn, &pair.b_conn).await;
        pair.shutdown().await;
    });
}

#[test]
fn an_end_can_be_dropped_and_still_comes() {
    everywhere(|world| async move {
        for polls in 0..6 {
            let mut pair = world.pair().await;
            let peer = pair.b.peer_id();
            let _ = polled(&world, pair.a_conn.closed(), polls).await;
            match polls {
                // Never polled: it has not been asked for.
                0 => pair.a.disconnect(&peer, 1, "").await,
                _ if polls % 2 == 0 => drop(polled(&world, pair.a.disconnect(&peer, 1, ""), polls).await),
                _ => drop(polled(&world, pair.a_conn.disconnect(1, ""), polls).await),
            }
            pair.a.removed().await;
            pair.b.removed().await;
            let _ = polled(&world, pair.a.shutdown(), polls).await;
            pair.shutdown().await;
        }
        for polls in 0..12 {
            let pair = world.pair().await;
            let _ = polled(&world, pair.a.shutdown(), polls).await;
            let fresh = world.build(&new_key(), world.config());
            let _ = polled(&world, fresh.run(), polls).await;
            let _ = polled(&world, fresh.shutdown(), polls).await;
            shutdown([fresh]).await;
            pair.shutdown().await;
        }
    });
}

#[test]
fn dropping_the_node_ends_everything() {
    everywhere(|world| async move {
        let mut pair = world.pair().await;
        let (endpoint, alive) = (pair.a.endpoint(), Arc::new(()));
        let held = alive.clone();
        pair.a_conn.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        // A dial under way, which has no handle to the node.
        let weak = Arc::downgrade(&pair.a.node);
        let waiting = {
            let conn = pair.a_conn.clone();
            async move { conn.recv().await }
        };
        let mut waiting = Box::pin(waiting);
        assert!(polled(&world, &mut waiting, 1).await.is_none());
        drop(pair.a);
        assert!(weak.upgrade().is_none(), "something inside holds the node");
        let error = in_time("recv", waiting).await.unwrap_err();
        assert!(matches!(error, Error::Disconnected(_) | Error::PeerShutdown), "{error:?}");
        in_time("closed", pair.a_conn.closed()).await;
        assert!(pair.a_conn.open_stream().await.is_err());
        assert!(pair.a_conn.accept_stream().await.is_err());
        eventually("nothing more is taken", || pair.a_conn.try_send("too late").is_err()).await;
        pair.a_conn.spawn(async {});
        pair.a_conn.report(p2p::Offence::Fatal);
        assert!(pair.a_conn.broadcast("nobody").is_err());
        let reason = pair.b.removed().await;
        assert!(!reason.is_local(), "{reason:?}");
        eventually("its tasks have ended", || Arc::strong_count(&alive) == 1).await;
        // Its port is free.
        let again = async {
            loop {
                let config = Config { listen_endpoints: vec![endpoint.clone()], ..world.config() };
                let host = world.build(&new_key(), config);
                match host.run().await {
                    Ok(()) => return host,
                    // Real time: it is only tried again.
                    Err(_) => world.runtime.sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let again = in_time("listen again", again).await;
        again.connect(&pair.b.endpoint()).await.unwrap();
        shutdown([again, pair.b]).await;
    });
}

#[test]
fn the_last_handle_can_be_dropped_inside_a_protocol() {
    everywhere(|world| async move {
        let (a, mut b) = (world.host().await, world.host().await);
        let handle: Arc<Mutex<Option<Arc<Node>>>> = Arc::default();
        let last = handle.clone();
        a.speak("/x", ProtocolKind::Optional, move |conn| {
            let last = last.clone();
            async move {
                conn.recv().await?;
                drop(last.lock().unwrap().take());
                conn.recv().await?;
                Ok(())
            }
        });
        let mut conns = b.hold("/x", ProtocolKind::Optional);
        b.connect(&a.endpoint()).await.unwrap();
        b.added().await;
        let conn = conns.recv().await.unwrap();
        let weak = Arc::downgrade(&a.node);
        *handle.lock().unwrap() = Some(a.node);
        drop(a.events);
        conn.send("drop it").await.unwrap();
        b.removed().await;
        assert!(weak.upgrade().is_none());
        shutdown([b]).await;
    });
}

#[test]
fn handles_of_peers_and_listeners_keep_nothing_alive() {
    everywhere(|world| async move {
        let mut pair = world.pair().await;
        for _ in 0..10 {
            drop(pair.a_conn.clone());
            drop(pair.a.register_peer_events());
            drop(pair.a.watch_peers());
            drop(pair.a.monitor().register::<p2p::ConnectionEvent>());
            let mut listener = pair.a.register_peer_events();
            assert!(polled(&world, listener.recv(), 1).await.is_none());
        }
        exchange(&pair.a_conn, &pair.b_conn).await;
        let conn = pair.a_conn.clone();
        pair.b.disconnect(&pair.a.peer_id(), 0, "").await;
        pair.a.removed().await;
        // A handle of an earlier connection says so, and does not reach the next.
        pair.a.connect(&pair.b.endpoint()).await.unwrap();
        pair.a.added().await;
        assert!(matches!(conn.send("old").await, Err(Error::PeerShutdown)));
        assert!(matches!(conn.recv().await, Err(Error::PeerShutdown)));
        assert_eq!(pair.a.peers(), 1);
        let node = pair.a.node.clone();
        shutdown([pair.a, pair.b]).await;
        assert_eq!(Arc::strong_count(&node), 1);
    });
}

/// The runtime goes first: whatever is left must not panic.
#[test]
fn a_runtime_can_be_dropped_below_a_node() {
    for transport in ["tcp", "tls", "quic"] {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let nodes = tokio.block_on(async {
            let config = || Config {
                listen_endpoints: vec![format!("{transport}://127.0.0.1:0").parse().unwrap()],
                ..Config::loopback()
            };
            let (a, b) = (Node::new(&new_key(), config()).unwrap(), Node::new(&new_key(), config()).unwrap());
            a.run().await.unwrap();
            b.run().await.unwrap();
            a.connect(&b.listen_endpoints()[0]).await.unwrap();
            (a, b)
        });
        drop(tokio);
        drop(nodes);
    }
}
