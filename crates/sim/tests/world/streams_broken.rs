use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// What a read, and then a write, says of a broken stream.
async fn errors(stream: &mut Box<dyn ByteStream>) -> [io::ErrorKind; 2] {
    let read = stream.read_u8().await.unwrap_err().kind();
    [read, stream.write_all(b"?").await.unwrap_err().kind()]
}

#[test]
fn bytes_that_nobody_read_reset_the_stream() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let (mut from, to) = connected(&alice, &bob).await;
        from.write_all(b"unread").await.unwrap();
        sim.sleep(SECOND).await;
        drop(to);
        assert_eq!(errors(&mut from).await, [io::ErrorKind::ConnectionReset; 2]);
    });
}

#[test]
fn what_arrives_after_a_close_is_answered_with_a_reset() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let (mut from, to) = connected(&alice, &bob).await;
        drop(to);
        assert_eq!(from.read(&mut [0]).await.unwrap(), 0, "the close itself is an end in order");
        from.write_all(b"still there?").await.unwrap();
        sim.sleep(SECOND).await;
        assert_eq!(from.write_all(b"?").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_is_never_acknowledged_times_out() {
    for one_way in [false, true] {
        let mut settings = Settings { link: steady(), ..Settings::default() };
        settings.streams.timeout = 30 * SECOND;
        let sim = Sim::with(1, settings);
        let (alice, bob) = (sim.host("alice"), sim.host("bob"));
        sim.block_on(async {
            let (mut from, mut to) = connected(&alice, &bob).await;
            if one_way {
                // The bytes arrive; what acknowledges them does not.
                sim.network().block(&bob, &alice);
            } else {
                sim.network().isolate(&bob);
            }
            let began = sim.now();
            from.write_all(b"?").await.unwrap();
            assert_eq!(errors(&mut from).await, [io::ErrorKind::TimedOut; 2]);
            assert_eq!(sim.now() - began, 30 * SECOND);
            let arrived = sim.runtime().timeout(SECOND, to.read_u8()).await;
            assert_eq!(arrived.is_ok(), one_way);
        });
    }
}

#[test]
fn a_crash_is_silent_until_the_host_is_back() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let (mut from, to) = connected(&alice, &bob).await;
        bob.crash();
        from.write_all(b"anybody?").await.unwrap();
        let silence = sim.runtime().timeout(60 * SECOND, from.read_u8()).await;
        assert!(silence.is_err(), "nobody tells the peer: {silence:?}");
        bob.restart();
        let told = sim.runtime().timeout(120 * SECOND, errors(&mut from)).await;
        assert_eq!(told.expect("by the next retransmission"), [io::ErrorKind::ConnectionReset; 2]);
        drop(to);
    });
}

#[test]
fn a_peer_that_says_nothing_never_learns_of_a_crash() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let (mut from, _to) = connected(&alice, &bob).await;
        bob.crash();
        bob.restart();
        assert!(sim.runtime().timeout(3600 * SECOND, from.read_u8()).await.is_err());
    });
}

#[test]
fn a_killed_process_leaves_its_streams_to_the_kernel() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let (mut read_all, mut to) = connected(&alice, &bob).await;
        let (mut unread, _unread_there) = connected(&alice, &bob).await;
        to.write_all(b"last words").await.unwrap();
        unread.write_all(b"unread").await.unwrap();
        sim.sleep(SECOND).await;
        bob.kill();
        let mut words = String::new();
        read_all.read_to_string(&mut words).await.unwrap();
        assert_eq!(words, "last words", "what was written arrives, and then the end");
        assert_eq!(errors(&mut unread).await, [io::ErrorKind::ConnectionReset; 2]);
        let refused = alice.runtime().tcp_connect((bob.ipv4(), 80).into()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "the kernel is there");
        assert!(to.write_all(b"zombie").await.is_err(), "what a test still holds does nothing");
    });
}

#[test]
fn a_listener_that_goes_takes_what_it_had_not_accepted() {
    let (sim, alice, bob) = world(steady());
    let to = (bob.ipv4(), 80).into();
    sim.block_on(async {
        let listener = bob.runtime().tcp_listen(to).unwrap();
        let mut waiting = alice.runtime().tcp_connect(to).await.unwrap();
        sim.sleep(SECOND).await;
        drop(listener);
        assert_eq!(errors(&mut waiting).await, [io::ErrorKind::ConnectionReset; 2]);
    });
}

#[test]
fn a_dial_that_is_dropped_leaves_nothing() {
    let (sim, alice, bob) = world(steady());
    let to = (bob.ipv4(), 80).into();
    let listener = bob.runtime().tcp_listen(to).unwrap();
    sim.block_on(async {
        for patience in [0, 5, 15, 25] {
            let dialed = sim.runtime().timeout(patience * MS, alice.runtime().tcp_connect(to)).await;
            assert_eq!(dialed.is_ok(), patience == 25);
        }
        sim.sleep(200 * SECOND).await;
        assert_eq!(alice.open_sockets(), 0);
        let accepted = accept(&*listener).await.unwrap();
        drop(accepted);
        assert!(sim.runtime().timeout(SECOND, accept(&*listener)).await.is_err(), "one of four had come through");
    });
    drop(listener);
    sim.run_for(200 * SECOND);
    assert_eq!(sim.network().sockets(), 0);
}
