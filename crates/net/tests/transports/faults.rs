//! Sockets that fail, networks without a route, ports where nobody is: in the simulator, which can make each of them.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use p2p_core::runtime::SocketEvent;
use p2p_net::{Connection, DialError, Endpoint, Error, Listener, NetConfig, Transport, Transports};
use p2p_sim::{Host, HostConfig, Settings, Sim, SocketFault};

use crate::common::{connect, echo, stream, tls_configs};

const SECOND: Duration = Duration::from_secs(1);

/// A dial that nobody ends early takes longer.
const AT_ONCE: Duration = Duration::from_millis(300);

fn world(seed: u64) -> Sim {
    Sim::with(seed, Settings::default())
}

fn node(host: &Host) -> Transports {
    let mut config = NetConfig::default();
    config.tls = Some(tls_configs());
    Transports::new(host.runtime(), config)
}

fn quic(addr: impl Into<SocketAddr>) -> Endpoint {
    Endpoint::from_socket_addr(Transport::Quic, addr.into())
}

async fn listen(node: &Transports, transport: Transport, ip: IpAddr, port: u16) -> Listener {
    node.listen(&Endpoint::from_socket_addr(transport, SocketAddr::new(ip, port))).await.unwrap()
}

/// What ends a dial, and how long it took.
async fn failure(sim: &Sim, node: &Transports, endpoint: &Endpoint) -> (DialError, Duration) {
    let begin = sim.now();
    match node.dial(endpoint).await {
        Err(Error::Dial { reason, .. }) => (reason, sim.now() - begin),
        other => panic!("{other:?}"),
    }
}

fn kind(error: &DialError) -> ErrorKind {
    match error {
        DialError::Io(error) => error.kind(),
        other => panic!("{other:?}"),
    }
}

async fn talk(one: &Connection, other: &Connection) {
    let (mut near, mut far) = stream(one, other).await;
    echo(&mut near, &mut far, b"hello").await;
}

#[test]
fn a_quic_dial_to_a_port_where_nobody_is_ends_soon() {
    let sim = world(1);
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    sim.block_on(async {
        let (error, took) = failure(&sim, &node(&alice), &quic((bob.ipv4(), 9))).await;
        assert_eq!(kind(&error), ErrorKind::ConnectionRefused);
        assert!(took < AT_ONCE, "{took:?}");
        // Two at once, over a line that loses a third of what goes over it: the question is asked again.
        sim.network().set_default_link(sim.network().default_link().loss(0.33));
        let node = node(&alice);
        let endpoint = quic((bob.ipv4(), 9));
        let (one, two) = tokio::join!(failure(&sim, &node, &endpoint), failure(&sim, &node, &endpoint));
        for (error, took) in [one, two] {
            assert_eq!(kind(&error), ErrorKind::ConnectionRefused);
            assert!(took < 8 * SECOND, "{took:?}");
        }
        assert_eq!(alice.open_sockets(), 2, "the sockets of the nodes, and none that asked");
    });
}

#[test]
fn a_quic_dial_without_a_route_ends_at_once() {
    let sim = world(1);
    let alice = sim.add_host(HostConfig::new("alice").addresses(["45.1.1.1".parse().unwrap()]));
    let bob = sim.host("bob");
    sim.block_on(async {
        for listens in [None, Some("::"), Some("45.1.1.1")] {
            let node = node(&alice);
            if let Some(ip) = listens {
                listen(&node, Transport::Quic, ip.parse().unwrap(), 9000).await;
            }
            let (error, took) = failure(&sim, &node, &quic((bob.ipv6(), 9))).await;
            assert_eq!((kind(&error), took), (ErrorKind::NetworkUnreachable, Duration::ZERO), "{listens:?}");
            node.shutdown().await;
        }
    });
}

#[test]
fn a_report_of_the_network_does_not_end_a_dial_that_was_answered() {
    let sim = world(1);
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    sim.block_on(async {
        // Somebody who sends anything back, and is gone before the first question.
        let socket = bob.runtime().udp_bind((bob.ipv4(), 9).into()).unwrap();
        drop(bob.spawn(async move {
            let (mut buf, mut metas) = (vec![0; 2000], [p2p_core::runtime::RecvMeta::default()]);
            let receive =
                std::future::poll_fn(|cx| socket.poll_recv(cx, &mut [std::io::IoSliceMut::new(&mut buf)], &mut metas));
            receive.await.unwrap();
            let destination = metas[0].addr;
            let answer = p2p_core::runtime::Datagrams {
                destination,
                ecn: None,
                contents: b"?",
                segment_size: None,
                src_ip: None,
            };
            socket.try_send(&answer).unwrap();
        }));
        let (error, took) = failure(&sim, &node(&alice), &quic((bob.ipv4(), 9))).await;
        assert!(matches!(error, DialError::TimedOut), "{error:?}");
        assert_eq!(took, NetConfig::default().dial_timeout);
    });
}

#[test]
fn a_report_of_the_network_does_not_end_a_connection() {
    let sim = world(1);
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    sim.block_on(async {
        let (dialer, acceptor) = (node(&alice), node(&bob));
        let listener = listen(&acceptor, Transport::Quic, bob.ipv4(), 9000).await;
        let (a, b) = connect(&dialer, &listener).await;
        // Nobody is there while the socket is bound anew, and the line is told so.
        bob.set_max_sockets(0);
        bob.set_socket_fault(Some(SocketFault::Broken));
        let mut events = listener.events();
        assert!(matches!(events.recv().await, Ok(SocketEvent::Failed(_))));
        let endpoint = listener.local_endpoint();
        let (second, ()) = tokio::join!(dialer.dial(&endpoint), async {
            sim.sleep(SECOND).await;
            bob.set_max_sockets(100);
        });
        assert!(matches!(second, Err(Error::Dial { reason: DialError::Io(_), .. })), "{second:?}");
        talk(&a, &b).await;
    });
}

#[test]
fn a_quic_dial_leaves_from_the_socket_that_its_route_uses() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let sim = world(1);
    sim.network().separate(ip("10.8.0.0"), 16);
    let both = sim.add_host(HostConfig::new("both").addresses([ip("45.1.1.1"), ip("10.8.0.1")]));
    let inside = sim.add_host(HostConfig::new("inside").addresses([ip("10.8.0.2")]));
    let outside = sim.add_host(HostConfig::new("outside").addresses([ip("45.1.2.1")]));
    sim.block_on(async {
        // Where the node listens, and from where it is seen inside and outside; no port: whichever the system chose.
        for (listens, seen_inside, seen_outside) in [
            (&["10.8.0.1"][..], ("10.8.0.1", Some(9000)), ("45.1.1.1", None)),
            (&["45.1.1.1"], ("10.8.0.1", None), ("45.1.1.1", Some(9000))),
            (&["10.8.0.1", "45.1.1.1"], ("10.8.0.1", Some(9000)), ("45.1.1.1", Some(9000))),
            (&["0.0.0.0"], ("10.8.0.1", Some(9000)), ("45.1.1.1", Some(9000))),
            (&["127.0.0.1"], ("10.8.0.1", None), ("45.1.1.1", None)),
        ] {
            let dialer = node(&both);
            let mut listeners = Vec::new();
            for local in listens {
                listeners.push(listen(&dialer, Transport::Quic, ip(local), 9000).await);
            }
            for (host, (seen_ip, seen_port)) in [(&inside, seen_inside), (&outside, seen_outside)] {
                let acceptor = node(host);
                let listener = listen(&acceptor, Transport::Quic, host.ipv4(), 9000).await;
                let (a, b) = connect(&dialer, &listener).await;
                let seen = b.remote_endpoint().socket_addr().unwrap();
                assert_eq!(seen.ip(), ip(seen_ip), "listening on {listens:?}");
                assert_eq!(seen.port() == 9000, seen_port.is_some(), "listening on {listens:?}: {seen}");
                talk(&a, &b).await;
                acceptor.shutdown().await;
            }
            dialer.shutdown().await;
        }
        assert_eq!(both.open_sockets(), 0);
    });
}

#[test]
fn listeners_and_connections_outlive_the_failures_of_their_sockets() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Quic] {
        let sim = world(7);
        let (alice, bob) = (sim.host("alice"), sim.host("bob"));
        sim.block_on(async {
            let (dialer, acceptor) = (node(&alice), node(&bob));
            let listener = std::sync::Arc::new(listen(&acceptor, transport, bob.ipv4(), 9000).await);
            let mut events = listener.events();
            let (a, b) = connect(&dialer, &listener).await;
            for (fault, lasts) in [
                (SocketFault::Once, Duration::ZERO),
                (SocketFault::Broken, Duration::ZERO),
                (SocketFault::Lasting, 10 * SECOND),
            ] {
                bob.set_socket_fault(Some(fault));
                // Somebody accepts, as in a node somebody always does.
                let (accepts, dials) = (listener.clone(), dialer.clone());
                let accepted = bob.spawn(async move { accepts.accept().await?.accept().await });
                if fault != SocketFault::Once {
                    assert!(matches!(events.recv().await, Ok(SocketEvent::Failed(_))), "{transport}, {fault:?}");
                    assert!(matches!(events.recv().await, Ok(SocketEvent::Bound)), "{transport}, {fault:?}");
                }
                sim.sleep(lasts).await;
                if fault == SocketFault::Lasting {
                    bob.set_socket_fault(None);
                    // The longest wait that there can be after so long.
                    sim.sleep(20 * SECOND).await;
                }
                let second = dials.dial(&listener.local_endpoint()).await.unwrap();
                let other = accepted.await.unwrap().unwrap();
                talk(&second, &other).await;
                talk(&a, &b).await;
                assert_eq!(other.local_addr().port(), 9000);
            }
            acceptor.shutdown().await;
            assert_eq!(bob.open_sockets(), 0);
        });
    }
}

#[test]
fn a_socket_that_has_failed_is_not_dialed_from() {
    let sim = world(3);
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    sim.block_on(async {
        let (dialer, acceptor) = (node(&alice), node(&bob));
        let own = listen(&dialer, Transport::Quic, alice.ipv4(), 9000).await;
        let listener = listen(&acceptor, Transport::Quic, bob.ipv4(), 9000).await;
        let mut events = own.events();
        // Another program takes the port in the moment in which it is free.
        alice.set_max_sockets(0);
        alice.set_socket_fault(Some(SocketFault::Broken));
        assert!(matches!(events.recv().await, Ok(SocketEvent::Failed(_))));
        alice.set_max_sockets(100);
        let thief = alice.runtime().udp_bind((alice.ipv4(), 9000).into()).unwrap();
        let (a, b) = connect(&dialer, &listener).await;
        assert_ne!(b.remote_endpoint().port(), 9000);
        talk(&a, &b).await;
        drop(thief);
        assert!(matches!(events.recv().await, Ok(SocketEvent::Bound)));
        let (_a, b) = connect(&dialer, &listener).await;
        assert_eq!(b.remote_endpoint().port(), 9000);
    });
}
