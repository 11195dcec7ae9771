//! Nodes whose sockets fail, and dials that cannot succeed: in the simulator, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::{Config, ConnectionEvent, ConnectionEventKind as Kind, Error, EventListener, Node};
use p2p_sim::{Host, HostConfig, Settings, Sim, SocketFault};

const SECOND: Duration = Duration::from_secs(1);

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

fn world() -> Sim {
    Sim::with(1, Settings::default())
}

/// A node with the settings that a user gets.
fn node(host: &Host, n: u8, listen: impl IntoIterator<Item = Endpoint>) -> Arc<Node> {
    let config = Config { listen_endpoints: listen.into_iter().collect(), ..Config::default() };
    Node::builder(&KeyPair::from_seed([n; 32])).config(config).runtime(host.runtime()).build().unwrap()
}

fn at(transport: Transport, ip: IpAddr, port: u16) -> Endpoint {
    Endpoint::new(transport, ip, port)
}

#[test]
fn a_dial_that_cannot_succeed_ends_at_once() {
    for transport in TRANSPORTS {
        let sim = world();
        let (alice, bob) = (sim.host("alice"), sim.host("bob"));
        let old = sim.add_host(HostConfig::new("old").addresses(["45.9.9.9".parse().unwrap()]));
        sim.block_on(async {
            let (alice, old) = (node(&alice, 1, []), node(&old, 2, []));
            for node in [&alice, &old] {
                node.run().await.unwrap();
            }
            let failure = async |node: &Node, endpoint| {
                let begin = sim.now();
                let error = node.connect(&endpoint).await.unwrap_err();
                assert!(matches!(error, Error::Net(_)), "{error:?}");
                (error.to_string(), sim.now() - begin)
            };
            // With its three retries, which come after 1.4 s together at most.
            let (error, took) = failure(&alice, at(transport, bob.ipv4(), 9)).await;
            assert!(error.contains("refused") && took < 2 * SECOND, "{transport}: {error} after {took:?}");
            let (error, took) = failure(&old, at(transport, bob.ipv6(), 9)).await;
            assert!(error.contains("unreachable") && took < SECOND / 100, "{transport}: {error} after {took:?}");
        });
    }
}

#[test]
fn all_addresses_and_tries_of_a_call_have_one_time_out() {
    for transport in TRANSPORTS {
        let sim = world();
        let (alice, bob) = (sim.host("alice"), sim.host("bob"));
        sim.block_on(async {
            let node = node(&alice, 1, []);
            node.run().await.unwrap();
            bob.crash();
            let name: Vec<IpAddr> = (1..=8).map(|n| IpAddr::from([45, 200, 0, n])).collect();
            sim.network().set_name("many.example", name);
            let many = format!("{transport}://many.example:9").parse().unwrap();
            for endpoint in [at(transport, bob.ipv4(), 9), many] {
                let begin = sim.now();
                let error = node.connect(&endpoint).await.unwrap_err();
                let took = sim.now() - begin;
                assert!(error.to_string().contains("no answer in time"), "{transport}: {error}");
                assert_eq!(took, node.config().dial_timeout, "{endpoint}");
            }
        });
    }
}

/// The kinds of the next events about listening at `endpoint`, as many as these.
async fn happen(events: &mut EventListener<ConnectionEvent>, endpoint: &Endpoint, expected: &[&str]) {
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let event = events.recv().await.unwrap();
        if event.endpoint.as_ref() == Some(endpoint)
            && matches!(event.kind, Kind::Listening | Kind::ListenFailed { .. })
        {
            seen.push(event.kind.to_string());
        }
    }
    assert!(seen.iter().zip(expected).all(|(seen, expected)| seen.starts_with(expected)), "{seen:?}");
}

#[test]
fn a_node_whose_sockets_fail_says_so_and_listens_again() {
    for transport in TRANSPORTS {
        let sim = world();
        let (alice, bob) = (sim.host("alice"), sim.host("bob"));
        sim.block_on(async {
            let endpoint = at(transport, bob.ipv4(), 4001);
            let (alice, server) = (node(&alice, 1, []), node(&bob, 2, [endpoint.clone()]));
            let mut events = server.monitor().register::<ConnectionEvent>();
            for node in [&alice, &server] {
                node.run().await.unwrap();
            }
            happen(&mut events, &endpoint, &["listening"]).await;
            alice.connect(&endpoint).await.unwrap();

            bob.set_socket_fault(Some(SocketFault::Once));
            sim.sleep(SECOND).await;
            bob.set_socket_fault(Some(SocketFault::Broken));
            happen(&mut events, &endpoint, &["cannot listen: cannot listen on", "listening"]).await;
            assert_eq!(server.listen_endpoints(), std::slice::from_ref(&endpoint));

            // No descriptor is left in the moment in which the socket is closed.
            bob.set_max_sockets(0);
            bob.set_socket_fault(Some(SocketFault::Broken));
            happen(&mut events, &endpoint, &["cannot listen: cannot listen on"]).await;
            assert!(server.listen_endpoints().is_empty(), "nobody can come");
            bob.set_max_sockets(100);
            happen(&mut events, &endpoint, &["listening"]).await;
            assert_eq!(server.listen_endpoints(), std::slice::from_ref(&endpoint));

            // Who was connected all the time still is, over quic through the new socket.
            assert_eq!((alice.peers(), server.peers()), (1, 1));
            alice.disconnect(&server.peer_id(), 0, "once more").await;
            assert!(sim.eventually(5 * SECOND, || server.peers() == 0).await);
            alice.connect(&endpoint).await.unwrap();
            for node in [&alice, &server] {
                node.shutdown().await;
                assert_eq!(node.tasks(), 0);
            }
            assert_eq!(bob.open_sockets(), 0);
        });
    }
}

#[test]
fn a_node_that_listens_in_one_network_dials_into_the_other() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for transport in TRANSPORTS {
        let sim = world();
        sim.network().separate(ip("10.8.0.0"), 16);
        let both = sim.add_host(HostConfig::new("both").addresses([ip("45.1.1.1"), ip("10.8.0.1")]));
        let inside = sim.add_host(HostConfig::new("inside").addresses([ip("10.8.0.2")]));
        let outside = sim.add_host(HostConfig::new("outside").addresses([ip("45.1.2.1")]));
        sim.block_on(async {
            let vpn = node(&both, 1, [at(transport, ip("10.8.0.1"), 4001)]);
            let (near, far) = (at(transport, inside.ipv4(), 4001), at(transport, outside.ipv4(), 4001));
            let (inner, outer) = (node(&inside, 2, [near.clone()]), node(&outside, 3, [far.clone()]));
            for node in [&vpn, &inner, &outer] {
                node.run().await.unwrap();
            }
            vpn.connect(&near).await.unwrap();
            vpn.connect(&far).await.unwrap();
            assert!(sim.now() < SECOND, "{:?}", sim.now());
            assert_eq!(vpn.peers(), 2);
        });
    }
}
