//! A protocol that is not read delays itself only. That the others keep their rate, and that the peer stays for as long as that
//! lasts, is shown in virtual time: `tests/unread.rs`.

use std::time::Duration;

use p2p::protocol::ProtocolKind;
use p2p::{Config, Error, PeerConn};

use crate::common::{Pair, World, everywhere, exchange, id, in_time, numbered};

const MESSAGES: u32 = 400;
const ROUNDS: u32 = 10;
const LEN: usize = 4096;

/// A pair that speaks `/slow` beside `/x`: its connection at the sender.
async fn pair(world: &World) -> (Pair, PeerConn, PeerConn) {
    let config = || Config {
        ping_interval: Duration::from_millis(200),
        // What nobody reads holds a shutdown up for so long.
        drain_timeout: Duration::from_millis(300),
        ..world.config()
    };
    let (mut a, mut b) = (world.host_with(config()).await, world.host_with(config()).await);
    let (mut slow_a, mut slow_b) = (a.hold("/slow", ProtocolKind::Optional), b.hold("/slow", ProtocolKind::Optional));
    let (mut x_a, mut x_b) = (a.hold("/x", ProtocolKind::Optional), b.hold("/x", ProtocolKind::Optional));
    a.connect(&b.endpoint()).await.unwrap();
    a.added().await;
    b.added().await;
    let (a_conn, b_conn) = (x_a.recv().await.unwrap(), x_b.recv().await.unwrap());
    (Pair { a, b, a_conn, b_conn }, slow_a.recv().await.unwrap(), slow_b.recv().await.unwrap())
}

/// Sends until nothing more is taken, though what was taken before has arrived. Gives the number of the next message.
async fn fill(slow: &PeerConn, mut next: u32, x: (&PeerConn, &PeerConn)) -> u32 {
    let mut refused = 0;
    while refused < 3 {
        match slow.try_send(numbered(next, 60_000)) {
            Ok(()) => (next, refused) = (next + 1, 0),
            Err(Error::Busy) => {
                refused += 1;
                exchange(x.0, x.1).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    next
}

/// Sends a number of messages, and receives them.
async fn burst(from: &PeerConn, to: &PeerConn) {
    let send = async {
        for n in 0..MESSAGES {
            from.send(numbered(n, LEN)).await.unwrap();
        }
    };
    let recv = async {
        for n in 0..MESSAGES {
            assert_eq!(crate::common::number(&to.recv().await.unwrap()), n);
        }
    };
    in_time("a burst", async { tokio::join!(send, recv) }).await;
}

#[test]
fn a_protocol_that_is_not_read_keeps_its_messages_and_its_peer() {
    everywhere(|world| async move {
        let (mut pair, slow, unread) = pair(&world).await;
        let x = (&pair.a_conn, &pair.b_conn);
        let mut stuck = fill(&slow, 0, x).await;
        // Until pings have been answered beside it.
        let mut rounds = 0;
        while rounds < ROUNDS || pair.a_conn.rtt().is_none() {
            burst(&pair.a_conn, &pair.b_conn).await;
            burst(&pair.b_conn, &pair.a_conn).await;
            // Over quic the window grows by a few steps, so that the others have theirs.
            stuck = fill(&slow, stuck, x).await;
            rounds += 1;
        }
        loop {
            let broadcast = pair.a.broadcast(&id("/slow"), numbered(stuck, 60_000)).unwrap();
            if broadcast.sent == 0 {
                assert_eq!(broadcast.busy, [pair.b.peer_id()]);
                break;
            }
            stuck += 1;
        }
        assert!(pair.a.events.try_recv().is_none() && pair.b.events.try_recv().is_none());
        for n in 0..stuck {
            assert_eq!(crate::common::number(&in_time("an old message", unread.recv()).await.unwrap()), n);
        }
        burst(&slow, &unread).await;
        pair.shutdown().await;
    });
}
