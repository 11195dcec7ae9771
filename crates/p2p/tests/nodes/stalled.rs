//! A hub with many peers, one of which has stopped altogether.

use std::sync::mpsc;
use std::time::Duration;

use p2p::protocol::ProtocolKind;
use p2p::{Config, DisconnectReason, Limits, PeerConn, PeerEvent, PeerId};

use crate::common::{Host, World, everywhere_alone, id, in_time, median, numbered, shutdown};

const PEERS: usize = 50;
const STALL: Duration = Duration::from_secs(2);

/// Beside the ping interval, how long a silent peer is waited for.
const GIVE_UP: Duration = Duration::from_secs(3);

/// A node on a thread of its own, which can be stopped in the middle of everything.
struct Freezer {
    freeze: tokio::sync::oneshot::Sender<()>,
    thaw: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

/// Starts it and waits until it is connected.
async fn freezer(world: &World, hub: &mut Host) -> (Freezer, PeerId) {
    let (mut world, endpoint) = (world.clone(), hub.endpoint());
    let (freeze, frozen) = tokio::sync::oneshot::channel();
    let (thaw, thawed) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(async {
            world.runtime = std::sync::Arc::new(p2p::TokioRuntime::current().unwrap());
            let host = world.host().await;
            let _conns = host.hold("/x", ProtocolKind::Optional);
            host.connect(&endpoint).await.unwrap();
            frozen.await.unwrap();
            // Nothing of this runtime goes on meanwhile.
            thawed.recv().unwrap();
            shutdown([host]).await;
        });
    });
    let peer = hub.added().await.peer_id;
    (Freezer { freeze, thaw, thread }, peer)
}

/// One message to everybody, and back when all but the frozen one have it. Gives the time and whether it was skipped.
async fn round(hub: &Host, n: u32, readers: &[PeerConn], frozen: PeerId) -> (Duration, bool) {
    let started = hub.runtime().now();
    let broadcast = hub.broadcast(&id("/x"), numbered(n, 50_000)).unwrap();
    let at_once = hub.runtime().now() - started;
    assert!(at_once < Duration::from_secs(1), "broadcast waited: {at_once:?}");
    assert!(broadcast.busy.iter().all(|busy| *busy == frozen), "{:?}", broadcast.busy);
    assert!(broadcast.sent >= readers.len());
    for reader in readers {
        let message = in_time("a broadcast", reader.recv()).await.unwrap();
        assert_eq!(crate::common::number(&message), n);
    }
    (hub.runtime().now() - started, !broadcast.busy.is_empty())
}

#[test]
fn forty_nine_go_on_beside_one_that_has_stopped() {
    everywhere_alone(|world| async move {
        // Full before the time-out on a slow machine, too.
        let limits = Limits { queue_messages: 4, ..Limits::default() };
        let config = Config { limits, stall_timeout: STALL, ping_timeout: GIVE_UP, ..world.config() };
        let mut hub = world.host_with(config).await;
        let _at_hub = hub.hold("/x", ProtocolKind::Optional);
        let mut peers = Vec::new();
        let mut readers = Vec::new();
        for _ in 1..PEERS {
            let peer = world.host().await;
            let mut conns = peer.hold("/x", ProtocolKind::Optional);
            peer.connect(&hub.endpoint()).await.unwrap();
            hub.added().await;
            readers.push(conns.recv().await.unwrap());
            peers.push(peer);
        }
        let (freezer, frozen) = freezer(&world, &mut hub).await;
        assert_eq!(hub.peers(), PEERS);
        let (mut n, mut before, mut after) = (0, Vec::new(), Vec::new());
        while before.len() < 25 {
            before.push(round(&hub, n, &readers, frozen).await.0);
            n += 1;
        }
        freezer.freeze.send(()).unwrap();
        let stopped = world.runtime.now();
        let mut skipped = 0;
        let reason = loop {
            let (took, was_skipped) = round(&hub, n, &readers, frozen).await;
            n += 1;
            if was_skipped {
                skipped += 1;
                after.push(took);
            }
            match hub.events.try_recv() {
                Some(Ok(PeerEvent::Removed { peer, reason })) if peer.peer_id == frozen => break reason,
                None => {}
                other => panic!("{other:?}"),
            }
            assert!(world.runtime.now() - stopped < 10 * STALL, "it is still a peer");
        };
        let took = world.runtime.now() - stopped;
        // A process that stands still is silent, as after a cut, unless its socket is full and its system says so.
        assert!(matches!(reason, DisconnectReason::Stalled | DisconnectReason::PingTimeout), "{reason}");
        assert!(took >= STALL / 2, "{took:?}");
        assert!(skipped > 0, "nobody was named");
        let (before, after) = (median(before), median(after));
        let rate = before.as_secs_f64() / after.as_secs_f64();
        println!(
            "{}: {before:?} before, {after:?} beside it ({:.0} %), gone after {took:?}",
            world.transport,
            rate * 100.0
        );
        // The two were not measured at the same time, and the machine may have had something else to do.
        assert!(rate >= 0.4, "{rate}");
        assert_eq!(hub.peers(), PEERS - 1);
        freezer.thaw.send(()).unwrap();
        let joined = std::thread::spawn(move || freezer.thread.join().unwrap());
        crate::common::eventually("it is gone too", || joined.is_finished()).await;
        peers.push(hub);
        shutdown(peers).await;
    });
}
