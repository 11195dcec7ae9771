//! After a shutdown nothing is left.

use p2p_net::{CloseReason, Error, Transport};
use tokio::io::AsyncReadExt;

use crate::common::{connect, for_each_transport, stream};

#[test]
fn the_port_is_free_at_once_whoever_still_holds_a_handle() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, far) = stream(&pair.a, &pair.b).await;
        let endpoint = pair.listener.local_endpoint();
        pair.acceptor.shutdown().await;
        assert!(pair.acceptor.tasks().is_empty());

        let node = net.node();
        let listener = node.listen(&endpoint).await.unwrap();
        let dialer = net.node();
        connect(&dialer, &listener).await;
        drop((near, far, pair));
    });
}

#[test]
fn everything_that_waits_gets_an_error() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (_near, mut far) = stream(&pair.a, &pair.b).await;
        let mut buf = [0; 1];
        let (incoming, accepted, closed, read, ()) =
            tokio::join!(pair.listener.accept(), pair.b.accept_stream(), pair.b.closed(), far.read(&mut buf), async {
                tokio::task::yield_now().await;
                pair.acceptor.shutdown().await;
            });
        assert!(matches!(incoming, Err(Error::Closed(_))));
        assert!(matches!(accepted, Err(Error::Closed(_))));
        assert!(matches!(closed, CloseReason::Local { .. } | CloseReason::Lost(_)), "{closed:?}");
        assert!(read.is_err());
    });
}

#[test]
fn the_remote_notices() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let ((), reason) = tokio::join!(pair.acceptor.shutdown(), pair.a.closed());
        assert!(matches!(reason, CloseReason::Remote { .. } | CloseReason::Lost(_)), "{reason:?}");
    });
}

#[test]
fn the_remote_notices_though_the_last_handle_went_just_before() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        drop((pair.listener, pair.b));
        pair.acceptor.shutdown().await;
        let reason = pair.a.closed().await;
        // Over quic a remote that is not told finds out in the end, and says so.
        let told = match reason {
            CloseReason::Remote { .. } => true,
            CloseReason::Lost(_) => net.transport != Transport::Quic,
            _ => false,
        };
        assert!(told, "{}: {reason:?}", net.transport);
    });
}

#[test]
fn nothing_works_afterwards() {
    for_each_transport(async |net| {
        let node = net.node();
        let listener = net.listen(&node).await;
        let endpoint = listener.local_endpoint();
        node.shutdown().await;
        node.shutdown().await;
        assert!(matches!(node.dial(&endpoint).await, Err(Error::Closed(_))));
        assert!(matches!(node.listen(&endpoint).await, Err(Error::Closed(_))));
        assert!(matches!(listener.accept().await, Err(Error::Closed(_))));
    });
}
