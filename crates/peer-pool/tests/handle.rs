//! A handle to a peer, while the peer is there and after.

#![cfg(any(feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "this test uses a part of what is common")]

mod common;

use common::{Node, everywhere, in_time};
use p2p_identity::{DisconnectReason, ProtocolKind};
use p2p_peer_pool::Direction;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_outlives_its_peer_and_does_not_keep_it() {
    everywhere(|runtime, transport| async move {
        let (a, mut b) = (Node::new(&runtime, transport, 1).await, Node::new(&runtime, transport, 2).await);
        let (_a_conns, _b_conns) = (a.hold("/one", ProtocolKind::Optional), b.hold("/one", ProtocolKind::Optional));
        assert!(a.pool.handle(&b.id()).is_none());
        a.pool.connect(&b.endpoint).await.unwrap();
        b.added().await;
        let (ours, theirs) = (a.pool.handle(&b.id()).unwrap(), b.pool.handle(&a.id()).unwrap());
        assert_eq!((ours.peer_id(), ours.direction()), (b.id(), Direction::Outbound));
        assert_eq!((theirs.peer_id(), theirs.direction()), (a.id(), Direction::Inbound));
        assert_eq!(ours.info().unwrap().connection_id, ours.connection_id());
        assert!(ours.conn(&common::id("/one")).is_some() && ours.conn(&common::id("/two")).is_none());

        in_time("the end", ours.disconnect(7, "enough")).await;
        let end = in_time("the other side's end", theirs.closed()).await;
        assert_eq!(end, DisconnectReason::Remote { code: 7, reason: "enough".into() });
        b.removed().await;
        in_time("the peer is let go", async {
            while theirs.info().is_some() || ours.info().is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(theirs.conn(&common::id("/one")).is_none());
        for node in [a, b] {
            node.pool.shutdown().await;
        }
    })
    .await;
}
