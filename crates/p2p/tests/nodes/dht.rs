//! Nodes that find each other through the DHT, from one address.

use std::collections::BTreeSet;
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::kademlia::{ClientReason, DhtError, Joined};
use p2p::keypair::KeyPair;
use p2p::protocol::ProtocolKind;
use p2p::{Config, DiscoveryEvent, DiscoveryEventKind, Error, PeerId};

use crate::common::{Host, World, eventually, everywhere, in_time, new_key, over_tcp, shutdown};
use crate::components::components;

const NODES: usize = 15;
const OUTBOUND: usize = 4;
const INBOUND: usize = 8;

fn udp() -> Endpoint {
    Endpoint::new(Transport::Udp, std::net::IpAddr::from([127, 0, 0, 1]), 0)
}

impl World {
    /// Settings of a node that serves the DHT, and begins with `bootstrap`.
    fn dht(&self, bootstrap: &[Endpoint]) -> Config {
        Config { discovery_endpoints: vec![udp()], bootstrap_peers: bootstrap.to_vec(), ..self.config() }
    }
}

/// Where a node takes lookups, which is where it takes peers.
fn bootstrap(host: &Host) -> Vec<Endpoint> {
    vec![host.endpoint().with_peer_id(host.peer_id())]
}

/// Forty are, and soon, in virtual time: `tests/finding.rs`.
#[test]
fn fifteen_nodes_with_one_bootstrap_are_one_network_with_full_slots() {
    everywhere(|world| async move {
        let slots = |config| Config { inbound_slots: INBOUND, outbound_slots: OUTBOUND, ..config };
        let mut hosts = Vec::new();
        let mut begin = Vec::new();
        for _ in 0..NODES {
            let host = world.build(&new_key(), slots(world.dht(&begin)));
            // Held until the end: the protocol is what makes them peers for each other.
            drop(host.hold("/x", ProtocolKind::Mandatory));
            host.run().await.unwrap();
            if begin.is_empty() {
                begin = bootstrap(&host);
            }
            hosts.push(host);
        }
        eventually("one network, every outbound slot taken", || {
            components(hosts.iter().map(|host| (host.peer_id(), host.peer_ids()))) == 1
                && hosts.iter().all(|host| host.outbound_peers().len() == OUTBOUND)
        })
        .await;
        assert!(hosts.iter().all(|host| host.inbound_peers().len() <= INBOUND));
        shutdown(hosts).await;
    });
}

#[test]
fn a_peer_is_found_by_its_name_alone() {
    everywhere(|world| async move {
        let no_slots = |config| Config { outbound_slots: 1, ..config };
        let first = world.host_with(world.dht(&[])).await;
        let begin = bootstrap(&first);
        let mut others = Vec::new();
        for _ in 0..6 {
            others.push(world.host_with(no_slots(world.dht(&begin))).await);
        }
        let stranger = world.host_with(Config { bootstrap_peers: begin.clone(), ..world.config() }).await;
        let sought = others.last().unwrap().peer_id();
        let dht = stranger.dht().unwrap();
        eventually("the network is known", || !dht.contacts().is_empty()).await;
        in_time("found and connected", async {
            while stranger.connect_peer(&sought).await.is_err() {
                // Real time: it is only tried again.
                world.runtime.sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        assert!(stranger.peer(&sought).is_some());
        shutdown(others.into_iter().chain([first, stranger])).await;
    });
}

#[test]
fn nodes_on_all_addresses_are_found_though_nobody_told_them_which_those_are() {
    everywhere(|world| async move {
        let everywhere = |transport| Endpoint::new(transport, std::net::IpAddr::from([0; 4]), 0);
        let on_all = |begin: &[Endpoint]| Config {
            listen_endpoints: vec![everywhere(world.transport)],
            discovery_endpoints: vec![everywhere(Transport::Udp)],
            ..world.dht(begin)
        };
        let first = world.host_with(on_all(&[])).await;
        let at = Endpoint::new(world.transport, std::net::IpAddr::from([127, 0, 0, 1]), first.endpoint().port());
        let begin = vec![at.with_peer_id(first.peer_id())];
        let second = world.host_with(on_all(&begin)).await;
        let third = world.host_with(Config { bootstrap_peers: begin, ..world.config() }).await;
        let found = third.dht().unwrap();
        eventually("both are found", || {
            let contacts: BTreeSet<PeerId> = found.contacts().iter().map(|record| record.peer_id()).collect();
            contacts == BTreeSet::from([first.peer_id(), second.peer_id()])
        })
        .await;
        for host in [&first, &second] {
            let dht = host.dht().unwrap();
            // Whoever reached it knows before it was told.
            eventually("it knows that it can be reached", || dht.record().is_some()).await;
            let record = dht.record().unwrap();
            assert!(record.addrs().iter().all(|addr| addr.endpoint.addr().ip().unwrap().is_loopback()), "{record:?}");
        }
        shutdown([first, second, third]).await;
    });
}

#[test]
fn a_node_with_its_state_rejoins_without_any_bootstrap() {
    over_tcp(|world| async move {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (world.host_with(world.dht(&[])).await, world.build(&new_key(), world.dht(&[])));
        second.run().await.unwrap();
        let key = new_key();
        let state_dir = Some(folder.path().to_owned());
        let begin = [bootstrap(&first), bootstrap(&second)].concat();
        let host = world.build(&key, Config { state_dir: state_dir.clone(), ..world.dht(&begin) });
        host.run().await.unwrap();
        let dht = host.dht().unwrap();
        eventually("both are contacts", || dht.contacts().len() == 2).await;
        shutdown([host]).await;
        let again = world.build(&key, Config { state_dir, ..world.dht(&[]) });
        again.run().await.unwrap();
        let dht = again.dht().unwrap();
        eventually("both are contacts again", || dht.contacts().len() == 2).await;
        shutdown([first, second, again]).await;
    });
}

#[test]
fn values_and_providers_reach_every_node() {
    over_tcp(|world| async move {
        let first = world.host_with(world.dht(&[])).await;
        let begin = bootstrap(&first);
        let mut hosts = vec![first];
        for _ in 0..5 {
            hosts.push(world.host_with(world.dht(&begin)).await);
        }
        let last = hosts.last().unwrap().dht().unwrap();
        eventually("the network is known", || last.contacts().len() == 5).await;
        let put = in_time("put", last.put("a value")).await.unwrap();
        for host in &hosts {
            let value = in_time("get", host.dht().unwrap().get(&put.key)).await.unwrap();
            assert_eq!(value.as_deref(), Some(&b"a value"[..]));
        }
        hosts[2].advertise("item", ProtocolKind::Optional).unwrap();
        let has_it = p2p::kademlia::Key::of_value(b"item");
        let found = async {
            loop {
                let mut providers = last.providers(&has_it).unwrap();
                if let Some(record) = providers.next().await {
                    return record.peer_id();
                }
            }
        };
        assert_eq!(in_time("a provider", found).await, hosts[2].peer_id());
        shutdown(hosts).await;
    });
}

#[test]
fn without_endpoints_and_bootstrap_there_is_no_dht() {
    over_tcp(|world| async move {
        let plain = world.host().await;
        assert!(plain.dht().is_none());
        let replaced = p2p::Node::builder(&new_key())
            .config(world.dht(&[]))
            .runtime(world.runtime.clone())
            .discovery(p2p::discovery::StaticDiscovery::new([]))
            .build()
            .unwrap();
        assert!(replaced.dht().is_none(), "another discovery takes its place");
        shutdown([plain]).await;
    });
}

#[test]
fn a_node_says_what_came_of_joining() {
    everywhere(|world| async move {
        let first = world.build(&new_key(), world.dht(&[]));
        let dht = first.dht().expect("it has one");
        assert!(matches!(dht.joined().await, Err(Error::NotRunning)));
        first.run().await.unwrap();
        assert_eq!(in_time("the first", dht.joined()).await.unwrap(), Joined::First);

        let second = world.host_with(world.dht(&bootstrap(&first))).await;
        let client =
            Config { listen_endpoints: Vec::new(), discovery_endpoints: Vec::new(), ..world.dht(&bootstrap(&first)) };
        let client = world.build(&new_key(), client);
        let mut told = client.monitor().register::<DiscoveryEvent>();
        client.run().await.unwrap();
        let joined = async |host: &Host| in_time("joining", host.dht().expect("it has one").joined()).await.unwrap();
        assert_eq!(joined(&second).await, Joined::Server);
        assert_eq!(joined(&client).await, Joined::Client(ClientReason::NotListening));
        let stays_client =
            async { while in_time("an event", told.recv()).await.unwrap().kind != DiscoveryEventKind::StaysClient {} };
        stays_client.await;
        eventually("the first knows of it", || first.dht().is_some_and(|dht| !dht.contacts().is_empty())).await;
        assert_eq!(joined(&first).await, Joined::Server);

        // Nobody is there any more.
        let gone = bootstrap(&first);
        shutdown([first, second, client]).await;
        assert!(matches!(dht.joined().await, Err(Error::ShutDown)));
        let alone = world.host_with(world.dht(&gone)).await;
        let error = in_time("nobody", alone.dht().expect("it has one").joined()).await.unwrap_err();
        assert_eq!(DhtError::of(&error), Some(DhtError::NoNodes));
        shutdown([alone]).await;
    });
}

#[test]
fn a_shutdown_ends_the_wait_for_joining() {
    over_tcp(|world| async move {
        // It takes connections and says nothing, so nothing becomes known.
        let silent = world.runtime.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let begin = Endpoint::from_socket_addr(Transport::Tcp, silent.local_addr());
        let host = world.host_with(world.dht(&[begin])).await;
        let dht = host.dht().expect("it has one");
        let waiting = dht.joined();
        let ((), joined) = futures_util::future::join(shutdown([host]), waiting).await;
        assert!(matches!(joined, Err(Error::ShutDown)), "{joined:?}");
    });
}

#[test]
fn what_is_told_word_for_word_is_of_this_node() {
    over_tcp(|world| async move {
        let outside: Endpoint = "tcp://8.8.8.8:9001".parse().unwrap();
        let build = |key: &KeyPair, config: Config, of: PeerId| {
            let external_endpoints = vec![outside.clone().with_peer_id(of)];
            let config = Config { external_endpoints, ..config };
            p2p::Node::builder(key).config(config).runtime(world.runtime.clone()).build()
        };
        for config in [world.dht(&[]), world.config()] {
            let key = new_key();
            build(&key, config.clone(), key.peer_id()).unwrap();
            let refused = build(&key, config, new_key().peer_id());
            assert!(matches!(refused, Err(Error::Config { field: "external_endpoints", .. })));
        }
    });
}
