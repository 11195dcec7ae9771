//! Many peers behind one address, and one that is killed again and again: nobody is kept out for its neighbors. Time is virtual.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p::access_control::{AccessControl, Action, AllowList, Subject};
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, HandshakeError, Node, Offence, RejectReason, async_trait};
use p2p_sim::{Host, HostConfig, Latency, Link, NatConfig, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

fn key(n: usize) -> KeyPair {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
    KeyPair::from_seed(seed)
}

/// A node that listens at its host's port 4001.
async fn hub(host: &Host, transport: Transport, config: Config) -> Arc<Node> {
    let config = Config { listen_endpoints: vec![Endpoint::new(transport, host.ipv4(), 4001)], ..config };
    node(host, 0, config).await
}

/// A node that is to be stopped before the world ends.
async fn node(host: &Host, n: usize, config: Config) -> Arc<Node> {
    let node = Node::builder(&key(n)).config(config).runtime(host.runtime()).build().unwrap();
    node.attach_protocol(|conn| Says { conn }).unwrap();
    node.run().await.unwrap();
    node
}

fn keeping(hub: &Endpoint) -> Config {
    Config { dial_peers: vec![hub.clone()], ..Config::default() }
}

/// Answers messages and reads streams.
struct Says {
    conn: PeerConn,
}

#[async_trait]
impl Protocol for Says {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let conn = self.conn.clone();
        self.conn.spawn(async move {
            while let Ok(mut stream) = conn.accept_stream().await {
                conn.spawn(async move { while stream.read_u8().await.is_ok() {} });
            }
        });
        while let Ok(message) = self.conn.recv().await {
            if message == "say it" {
                self.conn.send("it").await?;
            }
        }
        Ok(())
    }

    fn id() -> ProtocolId {
        "/says/1".parse().expect("a protocol id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

async fn speaks(from: &Node, to: &Node) {
    from.send_to(&to.peer_id(), &Says::id(), "say it").await.unwrap();
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn twelve_peers_of_one_network_are_all_connected() {
    for transport in TRANSPORTS {
        let sim = Sim::new(1);
        let at = sim.host("hub");
        sim.block_on(async {
            let hub = hub(&at, transport, Config::default()).await;
            let mut peers = Vec::new();
            for n in 1..=12u8 {
                let host = sim.add_host(HostConfig::new(format!("peer{n}")).addresses([IpAddr::from([9, 1, 2, n])]));
                let peer = node(&host, n.into(), Config::default()).await;
                let connected = peer.connect(&hub.listen_endpoints()[0]).await;
                assert_eq!(connected.map_err(|error| error.to_string()), Ok(hub.peer_id()), "{transport}: {n}");
                peers.push(peer);
            }
            assert!(sim.eventually(SECOND, || hub.peers() == 12).await, "{transport}: {} of 12", hub.peers());
            for node in peers.iter().chain([&hub]) {
                node.shutdown().await;
            }
        });
    }
}

#[test]
fn a_hundred_clients_of_one_nat_are_back_within_ten_seconds_after_the_hub_restarts() {
    for (seed, transport) in [(1, Transport::Tls), (2, Transport::Quic)] {
        let sim = Sim::new(seed);
        sim.network().set_default_link(Link::WAN.latency(Latency::Fixed(Duration::from_millis(20))));
        let (at, nat) = (sim.host("hub"), sim.nat(NatConfig::default()));
        sim.block_on(async {
            // The number of slots is the operator's; all else is as it comes.
            let settings = || Config { inbound_slots: 128, ..Config::default() };
            let first = hub(&at, transport, settings()).await;
            let endpoint = first.listen_endpoints()[0].clone();
            let mut clients = Vec::new();
            for n in 1..=100 {
                let host = sim.add_host(HostConfig::new(format!("client{n}")).behind(&nat));
                clients.push(node(&host, n, keeping(&endpoint)).await);
            }
            let count = |hub: &Node| hub.peers();
            assert!(sim.eventually(MINUTE, || count(&first) == 100).await, "{transport}: {} came", count(&first));
            first.shutdown().await;
            sim.sleep(2 * SECOND).await;
            let again = hub(&at, transport, settings()).await;
            let back = sim.eventually(10 * SECOND, || count(&again) == 100).await;
            assert!(back, "{transport}: {} are back", count(&again));
            for node in clients.iter().chain([&again]) {
                node.shutdown().await;
            }
        });
    }
}

#[test]
fn an_attacker_that_has_taken_all_slots_gives_way_to_peers_from_elsewhere() {
    for (transport, networks) in [(Transport::Tcp, 1), (Transport::Tls, 4), (Transport::Quic, 4)] {
        let sim = Sim::new(1);
        let at = sim.host("hub");
        sim.block_on(async {
            let config = || Config { inbound_slots: 16, ..Config::default() };
            let hub = hub(&at, transport, config()).await;
            let endpoint = hub.listen_endpoints()[0].clone();
            let mut hostile = Vec::new();
            for n in 0..networks {
                hostile
                    .push(sim.add_host(HostConfig::new(format!("hostile{n}")).addresses([ip(&format!("9.{n}.2.1"))])));
            }
            let mut attackers = Vec::new();
            // More than there are slots; each comes again and again.
            for n in 0..24 {
                attackers.push(node(&hostile[n % networks], 100 + n, keeping(&endpoint)).await);
            }
            assert!(sim.eventually(MINUTE, || hub.peers() >= 16).await, "{transport}: the attacker has the slots");
            let mut honest = Vec::new();
            for n in 0..8 {
                let host = sim.host(format!("honest{n}"));
                let peer = node(&host, 200 + n, Config::default()).await;
                let connected = peer.connect(&endpoint).await;
                assert_eq!(connected.map_err(|error| error.to_string()), Ok(hub.peer_id()), "{transport}: {n}");
                speaks(&peer, &hub).await;
                honest.push(peer);
            }
            // They stay, whatever the attacker does.
            sim.sleep(5 * MINUTE).await;
            for peer in &honest {
                assert!(hub.peer(&peer.peer_id()).is_some(), "{transport}: an honest peer was evicted");
            }
            assert!(hub.inbound_peers().len() <= 16, "{transport}");
            for node in honest.iter().chain(&attackers).chain([&hub]) {
                node.shutdown().await;
            }
        });
    }
}

#[test]
fn who_uses_a_stream_keeps_its_slot() {
    let sim = Sim::new(1);
    let at = sim.host("hub");
    sim.block_on(async {
        let hub = hub(&at, Transport::Tcp, Config { inbound_slots: 3, ..Config::default() }).await;
        let endpoint = hub.listen_endpoints()[0].clone();
        let host = sim.add_host(HostConfig::new("office").addresses([ip("9.1.2.1")]));
        let mut office = Vec::new();
        for n in 1..=3 {
            let peer = node(&host, n, Config::default()).await;
            peer.connect(&endpoint).await.unwrap();
            office.push(peer);
        }
        // Each opens a stream; two of them go on to use it, one of these by its halves.
        let mut streams = Vec::new();
        for peer in &office {
            streams.push(peer.open_stream(&hub.peer_id(), &Says::id()).await.unwrap());
        }
        let (mut third, second, mut first) = (streams.pop().unwrap(), streams.pop().unwrap(), streams.pop().unwrap());
        let (_receives, mut sends) = second.into_split();
        for _ in 0..15 {
            sim.sleep(MINUTE).await;
            first.write_all(b"bytes").await.unwrap();
            sends.write_all(b"bytes").await.unwrap();
        }
        let newcomer = node(&sim.host("newcomer"), 9, Config::default()).await;
        newcomer.connect(&endpoint).await.unwrap();
        let gone = || office[2].peers() == 0;
        assert!(sim.eventually(MINUTE, gone).await, "its stream is idle");
        assert!(third.write_all(b"bytes").await.is_err());
        assert_eq!((office[0].peers(), office[1].peers()), (1, 1));
        drop((first, sends));
        for node in office.iter().chain([&newcomer, &hub]) {
            node.shutdown().await;
        }
    });
}

#[test]
fn who_is_on_the_list_keeps_its_slot_and_is_not_banned() {
    let sim = Sim::new(1);
    let at = sim.host("hub");
    sim.block_on(async {
        let (listed, stranger) = (AllowList::from_iter([key(1).peer_id()]), key(2).peer_id());
        // Everybody may come; those on the list are the operator's own.
        struct Own(AllowList);
        impl AccessControl for Own {
            fn allow(&self, _: &Subject<'_>, _: Action) -> bool {
                true
            }

            fn vouches(&self, subject: &Subject<'_>) -> bool {
                self.0.vouches(subject)
            }
        }
        let config = Config { inbound_slots: 2, access_control: Arc::new(Own(listed)), ..Config::default() };
        let hub = hub(&at, Transport::Quic, config).await;
        let endpoint = hub.listen_endpoints()[0].clone();
        let host = sim.add_host(HostConfig::new("office").addresses([ip("9.1.2.1")]));
        let mut office = Vec::new();
        // The stranger came first: it would be the last to go.
        for n in [2, 1] {
            let peer = node(&host, n, Config::default()).await;
            peer.connect(&endpoint).await.unwrap();
            office.push(peer);
        }
        let newcomer = node(&sim.host("newcomer"), 9, Config::default()).await;
        newcomer.connect(&endpoint).await.unwrap();
        assert!(sim.eventually(MINUTE, || hub.peer(&stranger).is_none()).await, "nobody speaks for it");
        let own = key(1).peer_id();
        for _ in 0..5 {
            hub.conn(&own, &Says::id()).unwrap().report(Offence::Fatal);
        }
        sim.sleep(SECOND).await;
        assert!(hub.peer(&own).is_some() && !hub.pool().is_banned(&own));
        assert!(sim.eventually(SECOND, || hub.peer(&newcomer.peer_id()).is_some()).await, "it is there");
        hub.conn(&newcomer.peer_id(), &Says::id()).unwrap().report(Offence::Fatal);
        assert!(sim.eventually(SECOND, || hub.peer(&newcomer.peer_id()).is_none()).await, "others are banned");
        for node in office.iter().chain([&newcomer, &hub]) {
            node.shutdown().await;
        }
    });
}

#[test]
fn a_program_that_is_killed_again_and_again_is_banned_neither_itself_nor_with_its_neighbors() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let sim = Sim::new(1);
        let (at, nat) = (sim.host("hub"), sim.nat(NatConfig::default()));
        sim.block_on(async {
            let hub = hub(&at, transport, Config::default()).await;
            let endpoint = hub.listen_endpoints()[0].clone();
            let host = sim.add_host(HostConfig::new("short-lived").behind(&nat));
            for n in 0..30 {
                let to = endpoint.clone();
                let connects = host.spawn({
                    let host = host.clone();
                    async move {
                        let peer = node(&host, 1, Config::default()).await;
                        peer.connect(&to).await.map(|_| peer)
                    }
                });
                let connected = connects.await.expect("it runs").map_err(|error| error.to_string());
                assert!(connected.is_ok(), "{transport}: refused after {n} times: {:?}", connected.err());
                assert!(sim.eventually(SECOND, || hub.peers() == 1).await, "{transport}: it is there");
                host.kill();
                drop(connected);
                assert!(sim.eventually(SECOND, || hub.peers() == 0).await, "{transport}: it is gone");
                host.restart();
            }
            let neighbor = sim.add_host(HostConfig::new("neighbor").behind(&nat));
            let neighbor = node(&neighbor, 2, Config::default()).await;
            neighbor.connect(&endpoint).await.unwrap();
            // What is done on purpose is another matter.
            let id = neighbor.peer_id();
            assert!(sim.eventually(SECOND, || hub.peer(&id).is_some()).await, "{transport}: it is there");
            hub.conn(&id, &Says::id()).unwrap().report(Offence::Fatal);
            assert!(sim.eventually(SECOND, || neighbor.peers() == 0).await);
            let banned = neighbor.connect(&endpoint).await;
            assert!(
                matches!(&banned, Err(Error::Handshake(HandshakeError::Remote(RejectReason::Banned)))),
                "{transport}: {banned:?}"
            );
            let other = sim.add_host(HostConfig::new("other").behind(&nat));
            let other = node(&other, 3, Config::default()).await;
            other.connect(&endpoint).await.unwrap();
            for node in [&neighbor, &other, &hub] {
                node.shutdown().await;
            }
        });
    }
}
