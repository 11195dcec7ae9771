//! Two nodes that dial each other at the same moment.

use std::sync::atomic::{AtomicUsize, Ordering};

use p2p::access_control::Direction;
use p2p::protocol::ProtocolKind;
use p2p::{PeerEvent, PeerInfo};

use crate::common::{Host, World, everywhere_alone, exchange, in_time, shutdown};

/// Dials over each transport, shared out over the runtimes.
const ON_TOKIO: usize = 700;
const ON_SMOL: usize = 300;

/// Rounds of one pair of nodes: fresh ones change who has the smaller id.
const ROUNDS: usize = 25;

/// Pairs at the same time.
const PAIRS: usize = 4;

#[test]
fn a_thousand_mutual_dials_end_in_one_connection_each() {
    everywhere_alone(|world| async move {
        let dials = if world.is_tokio { ON_TOKIO } else { ON_SMOL };
        let left = AtomicUsize::new(dials / ROUNDS);
        let outbound = AtomicUsize::new(0);
        let worker = || async {
            while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                outbound.fetch_add(rounds(&world).await, Ordering::SeqCst);
            }
        };
        futures_util::future::join_all((0..PAIRS).map(|_| worker())).await;
        println!("{dials} mutual dials; the first dialer's connection stayed {outbound:?} times");
    });
}

/// Waits for the end of the only peer. A dial that was given up because the other one was quicker may be told of as a
/// failed handshake: over quic, a connection that closes so early cannot say why.
async fn gone(host: &mut Host) {
    loop {
        match in_time("Removed", host.events.recv()).await.unwrap() {
            PeerEvent::Removed { .. } => return,
            PeerEvent::HandshakeFailed { .. } => {}
            other => panic!("not removed: {other:?}"),
        }
    }
}

/// The only peer. See [`gone`].
async fn came(host: &mut Host) -> PeerInfo {
    loop {
        match in_time("Added", host.events.recv()).await.unwrap() {
            PeerEvent::Added { peer } => return peer,
            PeerEvent::HandshakeFailed { .. } => {}
            other => panic!("not added: {other:?}"),
        }
    }
}

/// How often the connection that `a` dialed was the one that stayed.
async fn rounds(world: &World) -> usize {
    let (mut a, mut b) = (world.host().await, world.host().await);
    let (mut a_conns, mut b_conns) = (a.hold("/x", ProtocolKind::Optional), b.hold("/x", ProtocolKind::Optional));
    let (a_id, b_id) = (a.peer_id(), b.peer_id());
    let mut outbound = 0;
    for round in 0..ROUNDS {
        // An endpoint that names the peer spares a dial that is not needed; one that does not, cannot.
        let named = round % 2 == 0;
        let (to_a, to_b) = match named {
            true => (a.endpoint().with_peer_id(a.peer_id()), b.endpoint().with_peer_id(b.peer_id())),
            false => (a.endpoint(), b.endpoint()),
        };
        let dials = async { tokio::join!(a.connect(&to_b), b.connect(&to_a)) };
        let (there, here) = in_time("mutual dial", dials).await;
        assert_eq!((there.unwrap(), here.unwrap()), (b.peer_id(), a.peer_id()));
        let (at_a, at_b) = (came(&mut a).await, came(&mut b).await);
        assert_eq!((a.peers(), b.peers()), (1, 1));
        assert_ne!(at_a.direction, at_b.direction, "both must keep the same connection");
        assert_eq!(a.peer(&b.peer_id()).unwrap().connection_id, at_a.connection_id);
        assert_eq!(b.peer(&a.peer_id()).unwrap().connection_id, at_b.connection_id);
        assert_eq!(a.outbound_peers().len() + b.outbound_peers().len(), 1);
        outbound += usize::from(at_a.direction == Direction::Outbound);
        let (to_b, to_a) = (a_conns.recv().await.unwrap(), b_conns.recv().await.unwrap());
        exchange(&to_b, &to_a).await;
        match round % 3 {
            0 => a.disconnect(&b_id, 1, "next").await,
            1 => b.disconnect(&a_id, 1, "next").await,
            _ => drop(tokio::join!(a.disconnect(&b_id, 1, "next"), b.disconnect(&a_id, 2, "next"))),
        }
        gone(&mut a).await;
        gone(&mut b).await;
    }
    assert!(a_conns.try_recv().is_err() && b_conns.try_recv().is_err(), "no protocol ran on a loser");
    for host in [&mut a, &mut b] {
        let left = std::iter::from_fn(|| host.events.try_recv());
        let mut others = left.filter(|event| !matches!(event, Ok(PeerEvent::HandshakeFailed { .. })));
        assert!(others.next().is_none(), "each came and went once");
    }
    shutdown([a, b]).await;
    outbound
}
