use futures_util::future::join;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[test]
fn a_connect_takes_one_round_trip() {
    let (sim, alice, bob) = world(steady());
    let listener = bob.runtime().tcp_listen((bob.ipv6(), 80).into()).unwrap();
    sim.block_on(async {
        let dialed = alice.runtime().tcp_connect((bob.ipv6(), 80).into()).await.unwrap();
        assert_eq!(sim.now(), 20 * MS);
        let accepted = accept(&*listener).await.unwrap();
        assert_eq!(sim.now(), 30 * MS, "the confirmation takes half a round trip more");
        assert_eq!((accepted.peer_addr(), accepted.local_addr()), (dialed.local_addr(), dialed.peer_addr()));
        assert_eq!(dialed.local_addr().ip(), alice.ipv6());
    });
}

#[test]
fn a_megabit_per_second_is_a_megabit_per_second() {
    const LEN: usize = 1_250_000;
    let (sim, alice, bob) = world(steady().bandwidth(1_000_000));
    sim.block_on(async {
        let (mut from, mut to) = connected(&alice, &bob).await;
        let began = sim.now();
        let writing = async {
            from.write_all(&vec![1; LEN]).await.unwrap();
            from.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let ((), read) = join(writing, to.read_to_end(&mut received)).await;
        assert_eq!(read.unwrap(), LEN);
        // 10 s of bytes; headers are 40 of each 1,500.
        let took = sim.now() - began;
        assert!((10_250 * MS..10_350 * MS).contains(&took), "{took:?}");
    });
}

#[test]
fn two_streams_share_a_link() {
    const LEN: usize = 625_000;
    let (sim, alice, bob) = world(steady().bandwidth(1_000_000));
    sim.block_on(async {
        let (mut one, mut one_out) = connected(&alice, &bob).await;
        let (mut two, mut two_out) = connected(&alice, &bob).await;
        let began = sim.now();
        let transfer = async |from: &mut Box<dyn ByteStream>, to: &mut Box<dyn ByteStream>| {
            let mut read = vec![0; LEN];
            let (wrote, read) = join(from.write_all(&[1; LEN]), to.read_exact(&mut read)).await;
            wrote.and(read).unwrap();
            sim.now() - began
        };
        let (one, two) = join(transfer(&mut one, &mut one_out), transfer(&mut two, &mut two_out)).await;
        let (first, last) = (one.min(two), one.max(two));
        assert!((10 * SECOND..11 * SECOND).contains(&last), "both take what one of twice the length takes: {last:?}");
        assert!(first > 8 * SECOND, "neither waits for the other to end: {first:?}");
    });
}

#[test]
fn a_writer_waits_for_its_reader() {
    let (sim, alice, bob) = world(steady());
    let settings = Settings::default().streams;
    sim.block_on(async {
        let (mut from, mut to) = connected(&alice, &bob).await;
        let mut written = 0;
        let filling = async {
            loop {
                written += from.write(&[0; 10_000]).await.unwrap();
            }
        };
        assert!(sim.runtime().timeout(60 * SECOND, filling).await.is_err());
        let most = settings.window + settings.unsent;
        assert!((most - 16_384..=most).contains(&written), "{written} bytes are under way of at most {most}");
        let packets = sim.network().packets();
        sim.sleep(60 * SECOND).await;
        assert_eq!(sim.network().packets(), packets, "a full stream is silent");

        let mut read = vec![0; written];
        to.read_exact(&mut read).await.unwrap();
        assert!(
            sim.runtime().timeout(SECOND, from.write_all(&[0; 10_000])).await.is_ok(),
            "it goes on once it is read"
        );
    });
}

#[test]
fn a_small_window_is_enough() {
    let mut settings = Settings { link: steady(), ..Settings::default() };
    settings.streams.window = 100;
    let sim = Sim::with(1, settings);
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    sim.block_on(async {
        let (mut from, mut to) = connected(&alice, &bob).await;
        let mut read = [0; 5_000];
        let (wrote, read) = join(from.write_all(&[1; 5_000]), to.read_exact(&mut read)).await;
        wrote.and(read).unwrap();
    });
}

#[test]
fn each_direction_ends_by_itself() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let (mut asking, mut answering) = connected(&alice, &bob).await;
        asking.write_all(b"question").await.unwrap();
        asking.shutdown().await.unwrap();
        let mut question = String::new();
        answering.read_to_string(&mut question).await.unwrap();
        answering.write_all(b"answer to ").await.unwrap();
        answering.write_all(question.as_bytes()).await.unwrap();
        // What was written before a drop still goes out.
        drop(answering);
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer to question");
        let error = asking.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_pause_of_the_network_delays_a_stream_and_loses_nothing() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let (mut from, mut to) = connected(&alice, &bob).await;
        sim.network().isolate(&bob);
        from.write_all(b"late").await.unwrap();
        sim.sleep(60 * SECOND).await;
        sim.network().heal();
        let mut read = [0; 4];
        let arrived = sim.runtime().timeout(120 * SECOND, to.read_exact(&mut read)).await;
        arrived.expect("within the longest wait for a retransmission").unwrap();
        assert_eq!(&read, b"late");
        assert!(sim.now() > 60 * SECOND);
    });
}

#[test]
fn connects_are_tried_again_and_refused_or_timed_out() {
    let (sim, alice, bob) = world(steady());
    let to = (bob.ipv4(), 80).into();
    sim.block_on(async {
        let refused = alice.runtime().tcp_connect(to).await.unwrap_err();
        assert_eq!((refused.kind(), sim.now()), (io::ErrorKind::ConnectionRefused, 20 * MS));

        let listener = bob.runtime().tcp_listen(to).unwrap();
        sim.network().isolate(&bob);
        let dialing = alice.spawn({
            let alice = alice.clone();
            async move { alice.runtime().tcp_connect(to).await.map(drop) }
        });
        sim.sleep(2 * SECOND).await;
        sim.network().heal();
        dialing.await.unwrap().unwrap();
        assert_eq!(sim.now(), 20 * MS + 3 * SECOND + 20 * MS, "the third try, 1 + 2 s after the first, came through");
        drop(accept(&*listener).await.unwrap());

        let began = sim.now();
        let nowhere = alice.runtime().tcp_connect("203.0.113.1:80".parse().unwrap()).await.unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::TimedOut);
        assert_eq!(sim.now() - began, 127 * SECOND, "six more tries, as Linux does");
    });
}

#[test]
fn a_host_without_a_family_cannot_reach_it() {
    let sim = Sim::new(1);
    let alice = sim.add_host(p2p_sim::HostConfig::new("alice").addresses(["45.9.9.9".parse().unwrap()]));
    let bob = sim.host("bob");
    let error = sim.block_on(alice.runtime().tcp_connect((bob.ipv6(), 80).into())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
}

#[test]
fn a_full_backlog_takes_more_once_it_is_emptied() {
    let mut settings = Settings { link: steady(), ..Settings::default() };
    settings.streams.backlog = 3;
    let sim = Sim::with(1, settings);
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    let to = (bob.ipv4(), 80).into();
    let listener = bob.runtime().tcp_listen(to).unwrap();
    sim.block_on(async {
        let runtime = alice.runtime();
        let dials: Vec<_> = (0..5).map(|_| alice.spawn(runtime.tcp_connect(to))).collect();
        sim.sleep(100 * MS).await;
        let mut accepted = Vec::new();
        for _ in 0..3 {
            accepted.push(accept(&*listener).await.unwrap());
        }
        let none = sim.runtime().timeout(100 * MS, accept(&*listener)).await;
        assert!(none.is_err(), "two found no room");
        for _ in 0..2 {
            accepted.push(accept(&*listener).await.unwrap());
        }
        assert!(sim.now() > SECOND, "and came by a second try");
        for dial in dials {
            dial.await.unwrap().unwrap();
        }
    });
}
