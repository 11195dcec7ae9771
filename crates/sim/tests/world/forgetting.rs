//! What is over leaves nothing behind, so that a long run does not grow.

use futures_util::future::{join, join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[test]
fn timers_are_gone_when_they_are_dropped_moved_or_done() {
    let (sim, alice, _) = world(steady());
    sim.block_on(async {
        let runtime = alice.runtime();
        for _ in 0..1_000 {
            let dropped = runtime.timeout(MS, runtime.sleep(3600 * SECOND)).await;
            assert!(dropped.is_err());
            assert!(sim.scheduled() <= 1);
        }
        let mut moved = runtime.sleep(SECOND);
        for n in 1..1_000 {
            moved.reset(runtime.now() + n * SECOND);
            let pending = poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut moved).poll(cx).is_pending()));
            assert!(pending.await);
            assert_eq!(sim.scheduled(), 1);
        }
    });
}

#[test]
fn streams_are_gone_when_both_sides_have_closed() {
    let (sim, alice, bob) = world(Link::WAN.loss(0.1));
    sim.block_on(async {
        for _ in 0..20 {
            let listener = bob.runtime().tcp_listen((bob.ipv4(), 80).into()).unwrap();
            let dials = (0..10).map(|_| async {
                let mut stream = alice.runtime().tcp_connect((bob.ipv4(), 80).into()).await.unwrap();
                stream.write_all(b"?").await.unwrap();
                stream.read_u8().await.unwrap();
            });
            let accepts = async {
                for _ in 0..10 {
                    let mut stream = accept(&*listener).await.unwrap();
                    bob.spawn(async move {
                        stream.read_u8().await.unwrap();
                        stream.write_all(b"!").await.unwrap();
                        // A read to the end: the dialer has closed.
                        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
                    });
                }
            };
            join(join_all(dials), accepts).await;
        }
        assert!(sim.eventually(120 * SECOND, || sim.network().sockets() == 0).await);
    });
    assert_eq!((alice.open_sockets(), bob.open_sockets(), bob.live_tasks()), (0, 0, 0));
    sim.run_for(600 * SECOND);
    assert_eq!(sim.scheduled(), 0);
}

#[test]
fn a_stream_whose_peer_never_closes_is_gone_after_a_while() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let (dialed, accepted) = connected(&alice, &bob).await;
        drop(dialed);
        sim.sleep(61 * SECOND).await;
        assert_eq!(sim.network().sockets(), 1);
        drop(accepted);
        sim.sleep(2000 * SECOND).await;
        assert_eq!(sim.network().sockets(), 0);
    });
}

#[test]
fn a_world_that_is_dropped_drops_its_tasks() {
    let (sim, alice, bob) = world(steady());
    let held = Arc::new(());
    for host in [&alice, &bob] {
        let (held, runtime) = (held.clone(), host.runtime());
        host.spawn(async move {
            let _held = held;
            let _socket = runtime.udp_bind("0.0.0.0:1".parse().unwrap());
            std::future::pending::<()>().await;
        });
    }
    alice.on_start({
        let held = held.clone();
        move |host| {
            let (_held, runtime) = (held.clone(), host.runtime());
            async move { runtime.sleep(SECOND).await }
        }
    });
    sim.run_for(MS);
    drop(sim);
    assert_eq!(Arc::strong_count(&held), 1);
    alice.spawn(async move { drop(held) });
}
