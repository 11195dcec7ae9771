//! Listeners that nobody reads.

use p2p::protocol::ProtocolKind;
use p2p::{Config, ConnectionEvent, Limits, PeerEvent, PeerPoolEvent, RecvError};

use crate::common::{everywhere, exchange, shutdown};

#[test]
fn a_listener_that_nobody_reads_says_how_much_it_lost() {
    everywhere(|world| async move {
        const QUEUE: usize = 8;
        const ROUNDS: usize = 20;
        let limits = Limits { event_queue: QUEUE, ..Limits::default() };
        let mut a = world.host_with(Config { limits, ..world.config() }).await;
        let mut b = world.host().await;
        let (mut a_conns, mut b_conns) = (a.hold("/x", ProtocolKind::Optional), b.hold("/x", ProtocolKind::Optional));
        let mut peers = a.register_peer_events();
        let (mut connections, mut pool) =
            (a.monitor().register::<ConnectionEvent>(), a.monitor().register::<PeerPoolEvent>());
        for _ in 0..ROUNDS {
            a.connect(&b.endpoint()).await.unwrap();
            a.added().await;
            b.added().await;
            exchange(&a_conns.recv().await.unwrap(), &b_conns.recv().await.unwrap()).await;
            a.disconnect(&b.peer_id(), 0, "").await;
            a.removed().await;
            b.removed().await;
        }
        let (made, kept) = (2 * ROUNDS as u64, QUEUE as u64);
        assert_eq!(peers.lost(), made - kept);
        assert_eq!(peers.recv().await.unwrap_err(), RecvError::Lagged(made - kept));
        for n in 0..QUEUE {
            let event = peers.recv().await.unwrap();
            assert_eq!(matches!(event, PeerEvent::Added { .. }), n % 2 == 0, "{event:?}");
        }
        assert_eq!(peers.lost(), made - kept);
        assert_eq!(pool.lost(), made - kept);
        assert_eq!(pool.recv().await.unwrap_err(), RecvError::Lagged(made - kept));
        assert!(connections.lost() >= made - kept);
        assert!(matches!(connections.recv().await, Err(RecvError::Lagged(_))));
        a.connect(&b.endpoint()).await.unwrap();
        exchange(&a_conns.recv().await.unwrap(), &b_conns.recv().await.unwrap()).await;
        let node = a.node.clone();
        drop(a);
        node.shutdown().await;
        assert_eq!(node.tasks(), 0);
        drop(node);
        // The last events stay readable after the node is gone, and then the end is told.
        assert!(matches!(peers.recv().await, Ok(PeerEvent::Added { .. })));
        assert!(matches!(peers.recv().await, Ok(PeerEvent::Removed { .. })));
        assert_eq!(peers.recv().await.unwrap_err(), RecvError::Closed);
        shutdown([b]).await;
    });
}
