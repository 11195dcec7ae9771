//! Shutting down while everything is busy. How long that may take is shown in virtual time: `tests/leaving.rs`, `tests/floods.rs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p::protocol::ProtocolKind;
use p2p::{Config, Error, PeerConn};

use crate::common::{Host, World, eventually, everywhere, everywhere_alone, in_time, new_key, sockets};

const PEERS: usize = 4;

/// What each side of each link has sent and received.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    /// What each run of the protocol was told at its end: by `send`, and by `recv` behind the last message.
    ends: Mutex<Vec<(Error, Error)>>,
}

impl Counts {
    fn ends(&self) -> Vec<(Error, Error)> {
        self.ends.lock().unwrap().clone()
    }
}

/// Attaches a protocol that sends and receives as fast as it can.
fn flood(host: &Host) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let shared = counts.clone();
    host.speak("/flood", ProtocolKind::Optional, move |conn| speak(conn, shared.clone()));
    counts
}

async fn speak(conn: PeerConn, counts: Arc<Counts>) -> Result<(), Error> {
    let send = async {
        loop {
            if let Err(error) = conn.send(vec![0x5a; 1000]).await {
                return error;
            }
            counts.sent.fetch_add(1, Ordering::SeqCst);
        }
    };
    let recv = async {
        loop {
            if let Err(error) = conn.recv().await {
                return error;
            }
            counts.received.fetch_add(1, Ordering::SeqCst);
        }
    };
    let ends = tokio::join!(send, recv);
    counts.ends.lock().unwrap().push(ends);
    Ok(())
}

fn total(counts: &[Arc<Counts>], of: impl Fn(&Counts) -> &AtomicU64) -> u64 {
    counts.iter().map(|counts| of(counts).load(Ordering::SeqCst)).sum()
}

#[test]
fn under_full_load_all_that_was_accepted_arrives_and_nothing_is_left() {
    everywhere_alone(|world| async move {
        let before = sockets();
        let key = new_key();
        let hub = world.build(&key, world.config());
        hub.run().await.unwrap();
        let at_hub = [flood(&hub)];
        let mut peers = Vec::new();
        let mut at_peers = Vec::new();
        for _ in 0..PEERS {
            let peer = world.host().await;
            at_peers.push(flood(&peer));
            peer.connect(&hub.endpoint()).await.unwrap();
            peers.push(peer);
        }
        eventually("everybody is busy", || {
            at_hub.iter().chain(&at_peers).all(|counts| counts.received.load(Ordering::SeqCst) > 500)
        })
        .await;
        let endpoints = hub.listen_endpoints();
        hub.shutdown().await;
        assert_eq!((hub.tasks(), hub.peers()), (0, 0));
        eventually("everybody is alone", || peers.iter().all(|peer| peer.peers() == 0)).await;
        // Who is alone may have messages left to read.
        eventually("all protocols have ended", || at_peers.iter().all(|counts| !counts.ends().is_empty())).await;
        assert_eq!(at_hub[0].ends().len(), PEERS);
        for ends in at_hub.iter().chain(&at_peers).flat_map(|counts| counts.ends()) {
            assert!(matches!(ends, (Error::PeerShutdown, Error::PeerShutdown)), "not in good order: {ends:?}");
        }
        let out = (total(&at_hub, |c| &c.sent), total(&at_peers, |c| &c.received));
        let back = (total(&at_peers, |c| &c.sent), total(&at_hub, |c| &c.received));
        println!("{}: hub sent {} of which {} arrived; peers {} and {}", world.transport, out.0, out.1, back.0, back.1);
        assert_eq!((out.0, back.0), (out.1, back.1));
        crate::common::shutdown(peers).await;
        drop(hub);
        eventually("all sockets are closed", || sockets() <= before).await;
        again(&world, &key, endpoints).await;
        eventually("all sockets are closed again", || sockets() <= before).await;
    });
}

/// A new node on the same ports, at once.
async fn again(world: &World, key: &p2p::keypair::KeyPair, endpoints: Vec<p2p::endpoint::Endpoint>) {
    for _ in 0..2 {
        let config = Config { listen_endpoints: endpoints.clone(), ..world.config() };
        let hub = world.build(key, config);
        hub.run().await.unwrap();
        assert_eq!(hub.listen_endpoints(), endpoints);
        let peer = world.host().await;
        assert_eq!(peer.connect(&endpoints[0]).await.unwrap(), key.peer_id());
        crate::common::shutdown([hub, peer]).await;
    }
}

#[test]
fn a_peer_that_never_reads_cannot_hold_up_a_shutdown() {
    everywhere(|world| async move {
        let drain_timeout = Duration::from_millis(500);
        let mut pair = world.pair_with(Config { drain_timeout, ..world.config() }, world.config()).await;
        eventually("nothing goes any more", || matches!(pair.a_conn.try_send(vec![1; 60_000]), Err(Error::Busy))).await;
        in_time("shutdown", pair.a.shutdown()).await;
        assert_eq!(pair.a.tasks(), 0);
        pair.b.removed().await;
        pair.shutdown().await;
    });
}

#[test]
fn both_sides_at_once_and_twice() {
    everywhere(|world| async move {
        for _ in 0..4 {
            let pair = world.pair().await;
            for n in 0..50 {
                pair.a_conn.send_msg(&n).await.unwrap();
                pair.b_conn.send_msg(&n).await.unwrap();
            }
            tokio::join!(pair.a.shutdown(), pair.b.shutdown(), pair.a.shutdown());
            for conn in [&pair.a_conn, &pair.b_conn] {
                for n in 0..50 {
                    assert_eq!(conn.recv_msg::<i32>().await.unwrap(), n);
                }
                assert!(matches!(conn.recv().await, Err(Error::PeerShutdown)));
            }
            pair.shutdown().await;
        }
    });
}
