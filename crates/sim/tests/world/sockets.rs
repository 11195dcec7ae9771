//! Sockets that fail, and what the network reports; `SteadyUdp` outlives it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use p2p_core::runtime::{ConnectedUdp, SocketEvent, SteadyUdp};
use p2p_sim::{HostConfig, NatConfig, SocketFault};

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn hear(socket: &dyn ConnectedUdp) -> io::Result<usize> {
    poll_fn(|cx| socket.poll_recv(cx, &mut [0; 64])).await
}

#[test]
fn a_connected_socket_is_told_that_nobody_is_there() {
    let (sim, _, bob) = world(steady());
    let home = sim.nat(NatConfig::symmetric());
    let alice = sim.add_host(HostConfig::new("behind").behind(&home));
    sim.block_on(async {
        let remote = (bob.ipv4(), 9).into();
        let here = alice.runtime().udp_connect(remote).unwrap();
        assert_eq!(here.local_addr().ip(), alice.ipv4());
        here.try_send(b"hello?").unwrap();
        assert_eq!(hear(&*here).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(sim.now(), 20 * MS, "one round trip");
        // Whoever is off says nothing, and a socket without a remote hears nothing of it.
        bob.crash();
        here.try_send(b"hello?").unwrap();
        let other = bind(&alice);
        send(&other, remote, b"hello?");
        assert!(sim.runtime().timeout(SECOND, hear(&*here)).await.is_err());
        bob.restart();
        send(&other, remote, b"hello?");
        assert!(receive_all(&sim, &other, SECOND).await.is_empty());
    });
}

#[test]
fn networks_of_their_own_are_reached_from_an_address_in_them() {
    let sim = Sim::with(1, Settings { link: steady(), ..Settings::default() });
    sim.network().separate(ip("10.8.0.0"), 16);
    let both = sim.add_host(HostConfig::new("both").addresses([ip("45.1.1.1"), ip("10.8.0.1")]));
    let inside = sim.add_host(HostConfig::new("inside").addresses([ip("10.8.0.2")]));
    let outside = sim.add_host(HostConfig::new("outside").addresses([ip("45.1.2.1")]));
    sim.block_on(async {
        for (to, from) in [(&inside, "10.8.0.1"), (&outside, "45.1.1.1")] {
            let there = bind(to);
            let route = both.runtime().udp_connect(there.local_addr()).unwrap();
            assert_eq!(route.local_addr().ip(), ip(from));
            let any = both.runtime().udp_bind("0.0.0.0:77".parse().unwrap()).unwrap();
            send(&any, there.local_addr(), b"hello");
            assert_eq!(receive(&there).await.0, (ip(from), 77).into());
            drop(any);
            // From the address in the other network nothing gets there.
            let wrong = if from == "10.8.0.1" { "45.1.1.1" } else { "10.8.0.1" };
            let bound = both.runtime().udp_bind((ip(wrong), 77).into()).unwrap();
            send(&bound, there.local_addr(), b"hello");
            assert!(receive_all(&sim, &there, SECOND).await.is_empty());
        }
        let no_route = inside.runtime().udp_connect((outside.ipv4(), 1).into()).unwrap_err();
        assert_eq!(no_route.kind(), io::ErrorKind::NetworkUnreachable);
    });
}

/// A socket of `host` that outlives its failures, and a task that counts what it receives.
fn steady_socket(host: &Host) -> (Arc<SteadyUdp>, Arc<AtomicUsize>) {
    let steady = SteadyUdp::bind(host.runtime(), (host.ipv4(), 77).into()).unwrap();
    let (received, count) = (Arc::new(AtomicUsize::new(0)), steady.clone() as Arc<dyn UdpSocket>);
    let counter = received.clone();
    drop(host.spawn(async move {
        loop {
            receive(&count).await;
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }));
    (steady, received)
}

#[test]
fn one_failure_of_a_steady_socket_is_passed_over() {
    let (sim, alice, bob) = world(steady());
    let (steady, received) = steady_socket(&bob);
    let (mut events, here) = (steady.events(), bind(&alice));
    sim.block_on(async {
        sim.sleep(SECOND).await;
        for round in 1..=20 {
            bob.set_socket_fault(Some(SocketFault::Once));
            send(&here, steady.local_addr(), b"hello");
            sim.sleep(20 * MS).await;
            assert_eq!(received.load(Ordering::Relaxed), round);
        }
        assert!(events.try_recv().is_none() && steady.is_bound());
    });
}

#[test]
fn a_steady_socket_that_is_broken_is_bound_anew_at_its_port() {
    let (sim, alice, bob) = world(steady());
    let (steady, received) = steady_socket(&bob);
    let (mut events, here) = (steady.events(), bind(&alice));
    sim.block_on(async {
        sim.sleep(SECOND).await;
        bob.set_socket_fault(Some(SocketFault::Broken));
        assert!(matches!(events.recv().await, Ok(SocketEvent::Failed(_))));
        assert!(matches!(events.recv().await, Ok(SocketEvent::Bound)));
        assert!(sim.now() < 2 * SECOND, "{:?}", sim.now());
        assert_eq!((steady.local_addr().port(), bob.open_sockets()), (77, 1));
        send(&here, steady.local_addr(), b"hello");
        sim.sleep(20 * MS).await;
        assert_eq!(received.load(Ordering::Relaxed), 1);
        // What is sent comes from the same port, too.
        let sent = Datagrams {
            destination: here.local_addr(),
            ecn: None,
            contents: b"answer",
            segment_size: None,
            src_ip: None,
        };
        steady.try_send(&sent).unwrap();
        assert_eq!(receive(&here).await.0, steady.local_addr());
    });
}

#[test]
fn a_failure_that_stays_is_waited_out_without_spinning() {
    let (sim, alice, bob) = world(steady());
    let (steady, received) = steady_socket(&bob);
    let (mut events, here) = (steady.events(), bind(&alice));
    sim.block_on(async {
        sim.sleep(SECOND).await;
        bob.set_socket_fault(Some(SocketFault::Lasting));
        let before = sim.report().events;
        sim.sleep(3600 * SECOND).await;
        let work = sim.report().events - before;
        // Once the waits are at their longest, one try in 15 to 30 s.
        assert!((120..1000).contains(&work), "{work} events in an hour");
        bob.set_socket_fault(None);
        sim.sleep(31 * SECOND).await;
        assert!(steady.is_bound());
        send(&here, steady.local_addr(), b"hello");
        sim.sleep(20 * MS).await;
        assert_eq!(received.load(Ordering::Relaxed), 1);
        // Nobody read the events: the listener knows, and the last one is that all is well.
        let mut last = None;
        while let Some(event) = events.try_recv() {
            last = event.ok().or(last);
        }
        assert!(matches!(last, Some(SocketEvent::Bound)), "{last:?}");
    });
}

#[test]
fn a_steady_socket_waits_for_its_port_and_stays_closed_once_closed() {
    let (sim, alice, bob) = world(steady());
    let (steady, received) = steady_socket(&bob);
    let (mut events, here) = (steady.events(), bind(&alice));
    sim.block_on(async {
        sim.sleep(SECOND).await;
        // Descriptors run out in the moment in which there is no socket, and the port goes to somebody else.
        bob.set_max_sockets(0);
        bob.set_socket_fault(Some(SocketFault::Broken));
        assert!(matches!(events.recv().await, Ok(SocketEvent::Failed(_))));
        sim.sleep(SECOND).await;
        assert_eq!((steady.is_bound(), bob.open_sockets()), (false, 0));
        let lost = Datagrams {
            destination: here.local_addr(),
            ecn: None,
            contents: b"lost",
            segment_size: None,
            src_ip: None,
        };
        steady.try_send(&lost).unwrap();
        bob.set_max_sockets(8);
        let thief = bob.runtime().udp_bind(steady.local_addr()).unwrap();
        sim.sleep(60 * SECOND).await;
        assert!(!steady.is_bound());
        drop(thief);
        assert!(matches!(events.recv().await, Ok(SocketEvent::Bound)));
        send(&here, steady.local_addr(), b"hello");
        sim.sleep(20 * MS).await;
        assert_eq!(received.load(Ordering::Relaxed), 1);

        bob.set_max_sockets(0);
        bob.set_socket_fault(Some(SocketFault::Broken));
        assert!(matches!(events.recv().await, Ok(SocketEvent::Failed(_))));
        steady.close();
        bob.set_max_sockets(8);
        sim.sleep(600 * SECOND).await;
        assert_eq!((steady.is_bound(), bob.open_sockets()), (false, 0), "closed is closed");
        assert!(events.recv().await.is_err());
    });
}
