//! A protocol that is not read delays itself only.

use std::time::Duration;

use p2p::protocol::ProtocolKind;
use p2p::{Config, Error, PeerConn};

use crate::common::{Pair, World, everywhere, everywhere_alone, id, in_time, median, numbered, shutdown};

const ROUNDS: usize = 9;

/// The machine may be busy with something else for a while; a protocol in the way is in the way each time.
const TRIES: usize = 4;
const MESSAGES: u32 = 400;
const LEN: usize = 4096;

/// A pair that speaks `/slow` beside `/x`: its connection at the sender.
async fn pair(world: &World) -> (Pair, PeerConn, PeerConn) {
    let config = || Config {
        ping_interval: Duration::from_millis(200),
        ping_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_millis(1500),
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

/// Sends until nothing has been taken for a while.
async fn fill(conn: &PeerConn) -> u32 {
    let (mut sent, mut refused) = (0, 0);
    while refused < 20 {
        match conn.try_send(numbered(sent, 60_000)) {
            Ok(()) => (sent, refused) = (sent + 1, 0),
            Err(Error::Busy) => {
                refused += 1;
                conn.runtime().sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

/// How long a number of messages takes.
async fn burst(from: &PeerConn, to: &PeerConn) -> Duration {
    let started = from.runtime().now();
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
    from.runtime().now() - started
}

#[test]
fn a_protocol_that_is_not_read_leaves_the_others_their_rate() {
    everywhere_alone(|world| async move {
        let (free, _, _) = pair(&world).await;
        let (beside, slow, _unread) = pair(&world).await;
        let stuck = fill(&slow).await;
        let mut best: f64 = 0.0;
        for _ in 0..TRIES {
            let (mut alone, mut with) = (Vec::new(), Vec::new());
            // A first round of each warms up.
            for round in 0..=ROUNDS {
                let took = (burst(&free.a_conn, &free.b_conn).await, burst(&beside.a_conn, &beside.b_conn).await);
                if round > 0 {
                    alone.push(took.0);
                    with.push(took.1);
                }
            }
            let rate = median(alone).as_secs_f64() / median(with).as_secs_f64();
            println!("{}: {:.0} % of the rate beside {stuck} unread messages", world.transport, rate * 100.0);
            best = best.max(rate);
            if best >= 0.9 {
                break;
            }
        }
        assert!(best >= 0.7, "{best}");
        assert_eq!(beside.a.peer_protocols(&beside.b.peer_id()).unwrap().len(), 2);
        shutdown([free.a, free.b, beside.a, beside.b]).await;
    });
}

#[test]
fn a_protocol_that_is_not_read_keeps_its_messages_and_its_peer() {
    everywhere(|world| async move {
        let (mut pair, slow, unread) = pair(&world).await;
        let stuck = fill(&slow).await;
        // Far longer than a ping and its answer may take, and than a stalled connection may live.
        let until = world.runtime.now() + Duration::from_millis(2500);
        while world.runtime.now() < until {
            burst(&pair.a_conn, &pair.b_conn).await;
            burst(&pair.b_conn, &pair.a_conn).await;
            world.runtime.sleep(Duration::from_millis(100)).await;
        }
        assert!(matches!(slow.try_send(numbered(0, 60_000)), Err(Error::Busy)));
        assert!(pair.a_conn.rtt().is_some_and(|rtt| rtt < Duration::from_secs(1)), "{:?}", pair.a_conn.rtt());
        assert_eq!(pair.a.broadcast(&id("/slow"), vec![0; 60_000]).busy, [pair.b.peer_id()]);
        assert!(pair.a.events.try_recv().is_none() && pair.b.events.try_recv().is_none());
        for n in 0..stuck {
            assert_eq!(crate::common::number(&in_time("an old message", unread.recv()).await.unwrap()), n);
        }
        burst(&slow, &unread).await;
        pair.shutdown().await;
    });
}
