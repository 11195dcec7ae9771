//! Dials of peers with several addresses, old and new, right and wrong, on lines of 10 ms each way. Time is virtual.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use p2p::discovery::StaticDiscovery;
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::protocol::ProtocolKind;
use p2p::{Config, ConnectionEvent, ConnectionEventKind, Error, EventListener, Node, PeerPoolEvent, PeerPoolEventKind};
use p2p_sim::{Host, HostConfig, Latency, Link, Sim};

const PORT: u16 = 4001;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

/// One world for each transport.
fn worlds<F: Future<Output = ()>>(scene: impl Fn(Sim, Transport) -> F) {
    for transport in TRANSPORTS {
        let sim = Sim::new(1);
        sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(Duration::from_millis(10))));
        sim.clone().block_on(scene(sim, transport));
    }
}

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

fn at(transport: Transport, host: &Host) -> Endpoint {
    Endpoint::new(transport, host.ipv4(), PORT)
}

fn name(transport: Transport) -> Endpoint {
    format!("{transport}://peer.example:{PORT}").parse().unwrap()
}

/// A node that listens, with a server of the DHT if it knows of somebody or is the first.
async fn node(host: &Host, n: u8, transport: Transport, config: Config) -> Arc<Node> {
    let config = Config { listen_endpoints: vec![at(transport, host)], ..config };
    let node = Node::builder(&key(n)).config(config).runtime(host.runtime()).build().unwrap();
    node.run().await.unwrap();
    node
}

fn server(host: &Host, bootstrap: &[Endpoint]) -> Config {
    let discovery_endpoints = vec![Endpoint::new(Transport::Udp, host.ipv4(), PORT + 1)];
    // Nobody is connected to without being asked for.
    Config { discovery_endpoints, bootstrap_peers: bootstrap.to_vec(), outbound_slots: 0, ..Config::default() }
}

/// A network of some servers; the first is who others ask.
async fn network(sim: &Sim, transport: Transport) -> (Vec<Arc<Node>>, Endpoint) {
    let hosts: Vec<Host> = (0..5).map(|n| sim.host(format!("server{n}"))).collect();
    let first = at(transport, &hosts[0]);
    let mut nodes = vec![node(&hosts[0], 200, transport, server(&hosts[0], &[])).await];
    for (n, host) in (201..).zip(&hosts[1..]) {
        nodes.push(node(host, n, transport, server(host, std::slice::from_ref(&first))).await);
    }
    sim.sleep(5 * SECOND).await;
    (nodes, first)
}

/// Who looks for others and is looked for by nobody.
async fn seeker(sim: &Sim, bootstrap: &Endpoint) -> Arc<Node> {
    let config = Config { bootstrap_peers: vec![bootstrap.clone()], ..Config::default() };
    let host = sim.host("seeker");
    let node = Node::builder(&key(100)).config(config).runtime(host.runtime()).build().unwrap();
    // What it is to be connected with by itself, nobody has.
    node.advertise("nobody has this", ProtocolKind::Mandatory).unwrap();
    node.run().await.unwrap();
    sim.sleep(5 * SECOND).await;
    node
}

/// The seeker has been connected with the peer where that is no longer; the peer is somewhere else, as the DHT knows.
async fn moved(sim: &Sim, transport: Transport) -> (Vec<Arc<Node>>, Arc<Node>, Host) {
    let (mut nodes, first) = network(sim, transport).await;
    let [old, new] = ["old", "new"].map(|host| sim.host(host));
    let bootstrap = std::slice::from_ref(&first);
    let before = node(&old, 1, transport, server(&old, bootstrap)).await;
    let seeker = seeker(sim, &first).await;
    seeker.connect(&at(transport, &old).with_peer_id(before.peer_id())).await.unwrap();
    before.shutdown().await;
    nodes.push(node(&new, 1, transport, server(&new, bootstrap)).await);
    sim.sleep(30 * SECOND).await;
    assert_eq!(seeker.peer_ids(), []);
    (nodes, seeker, old)
}

#[test]
fn a_remembered_address_that_is_somebody_elses_does_not_hide_where_the_peer_is() {
    worlds(|sim, transport| async move {
        let (_nodes, seeker, old) = moved(&sim, transport).await;
        let _other = node(&old, 2, transport, Config::default()).await;
        let began = sim.now();
        seeker.connect_peer(&key(1).peer_id()).await.unwrap();
        assert!(sim.now() - began < SECOND, "{transport}: {:?}", sim.now() - began);
    });
}

#[test]
fn a_remembered_address_where_nobody_answers_delays_by_a_moment() {
    worlds(|sim, transport| async move {
        let (_nodes, seeker, old) = moved(&sim, transport).await;
        sim.network().isolate(&old);
        let began = sim.now();
        seeker.connect_peer(&key(1).peer_id()).await.unwrap();
        assert!(sim.now() - began < SECOND, "{transport}: {:?}", sim.now() - began);
    });
}

/// The remembered address leads nowhere, and those whom the DHT would ask are silent too.
#[test]
fn all_addresses_tries_and_lookups_of_a_call_take_one_dial_timeout() {
    worlds(|sim, transport| async move {
        let (_nodes, seeker, old) = moved(&sim, transport).await;
        sim.network().isolate(&old);
        for n in 0..5 {
            sim.network().isolate(&sim.hosts().into_iter().find(|host| host.name() == format!("server{n}")).unwrap());
        }
        let new = sim.hosts().into_iter().find(|host| host.name() == "new").unwrap();
        sim.network().isolate(&new);
        let began = sim.now();
        let error = seeker.connect_peer(&key(1).peer_id()).await.unwrap_err();
        let took = sim.now() - began;
        assert!(
            took <= Config::default().dial_timeout + Duration::from_millis(50),
            "{transport}: {error} after {took:?}"
        );
    });
}

/// Both kinds of wrong addresses before the right one.
async fn names(sim: &Sim, transport: Transport) -> (Host, Arc<Node>, Arc<Node>) {
    let [own, other, right] = ["own", "other", "right"].map(|host| sim.host(host));
    let other = node(&other, 2, transport, Config::default()).await;
    let peer = node(&right, 1, transport, server(&right, &[])).await;
    sim.network().set_name("peer.example", [own.ipv4(), right.ipv4()]);
    (own, peer, other)
}

#[test]
fn a_name_with_an_own_address_before_the_peers_leads_to_the_peer_in_all_forms() {
    worlds(|sim, transport| async move {
        let (own, peer, _other) = names(&sim, transport).await;
        let by_hand = node(&own, 3, transport, Config::default()).await;
        let began = sim.now();
        assert_eq!(by_hand.connect(&name(transport)).await.unwrap(), peer.peer_id());
        assert!(sim.now() - began < SECOND, "{:?}", sim.now() - began);
        by_hand.shutdown().await;

        let kept = Config { dial_peers: vec![name(transport)], ..Config::default() };
        let keeper = node(&own, 3, transport, kept).await;
        assert!(sim.eventually(SECOND, || keeper.is_with(&peer)).await, "{transport}: it is not dialed");
        keeper.shutdown().await;

        let joiner = node(&own, 3, transport, server(&own, &[name(transport)])).await;
        let joined = || peer.dht().unwrap().contacts().iter().any(|contact| contact.peer_id() == joiner.peer_id());
        assert!(sim.eventually(5 * SECOND, joined).await, "{transport}: it has not joined");
        joiner.shutdown().await;
    });
}

#[test]
fn a_name_with_somebody_elses_address_before_the_peers_leads_to_the_peer_in_all_forms() {
    worlds(|sim, transport| async move {
        let (own, peer, other) = names(&sim, transport).await;
        let ips = [&other, &peer].map(|node| node.listen_endpoints()[0].addr().ip().unwrap());
        sim.network().set_name("peer.example", ips);
        let name = name(transport).with_peer_id(peer.peer_id());
        let by_hand = node(&own, 3, transport, Config::default()).await;
        let began = sim.now();
        assert_eq!(by_hand.connect(&name).await.unwrap(), peer.peer_id());
        assert!(sim.now() - began < SECOND, "{:?}", sim.now() - began);
        by_hand.shutdown().await;

        let kept = Config { dial_peers: vec![name.clone()], ..Config::default() };
        let keeper = node(&own, 3, transport, kept).await;
        assert!(sim.eventually(SECOND, || keeper.is_with(&peer)).await, "{transport}: it is not dialed");
        keeper.shutdown().await;

        let joiner = node(&own, 3, transport, server(&own, &[name])).await;
        let joined = || peer.dht().unwrap().contacts().iter().any(|contact| contact.peer_id() == joiner.peer_id());
        assert!(sim.eventually(5 * SECOND, joined).await, "{transport}: it has not joined");
        joiner.shutdown().await;
    });
}

trait IsWith {
    fn is_with(&self, peer: &Node) -> bool;
}

impl IsWith for Node {
    fn is_with(&self, peer: &Node) -> bool {
        self.peer(&peer.peer_id()).is_some()
    }
}

/// Connections that a listener has taken, and how often the node said that it is its own.
struct Counts {
    connections: EventListener<ConnectionEvent>,
    pool: EventListener<PeerPoolEvent>,
}

impl Counts {
    fn of(node: &Node) -> Self {
        Self { connections: node.monitor().register(), pool: node.monitor().register() }
    }

    fn take(&mut self) -> (usize, usize) {
        let accepted = std::iter::from_fn(|| self.connections.try_recv()).map(Result::unwrap);
        let accepted = accepted.filter(|event| matches!(event.kind, ConnectionEventKind::Accepted)).count();
        let told = std::iter::from_fn(|| self.pool.try_recv()).map(Result::unwrap);
        (accepted, told.filter(|event| matches!(event.kind, PeerPoolEventKind::OwnAddress)).count())
    }
}

/// From each kind of list, where the id is not known. By hand it is an error each time.
#[test]
fn an_own_address_on_a_list_is_dialed_once_and_told_once_until_the_network_changes() {
    worlds(|sim, transport| async move {
        for kind in ["dial_peers", "discovery", "bootstrap_peers"] {
            let host = sim.add_host(HostConfig::new(kind));
            let own = vec![at(transport, &host)];
            let config = match kind {
                "dial_peers" => Config { dial_peers: own.clone(), ..Config::default() },
                "bootstrap_peers" => server(&host, &own),
                _ => Config::default(),
            };
            let config = Config { listen_endpoints: own.clone(), ..config };
            let mut builder = Node::builder(&key(1)).config(config).runtime(host.runtime());
            if kind == "discovery" {
                builder = builder.discovery(StaticDiscovery::new(own.clone()));
            }
            let node = builder.build().unwrap();
            let mut counts = Counts::of(&node);
            node.run().await.unwrap();
            // The DHT says so in the log: its connections are no concern of the pool.
            let told = usize::from(kind != "bootstrap_peers");
            sim.sleep(20 * MINUTE).await;
            assert_eq!(counts.take(), (1, told), "{transport}, {kind}");
            if kind == "dial_peers" {
                for _ in 0..3 {
                    assert!(matches!(node.connect(&own[0]).await, Err(Error::SelfDial)));
                }
                assert_eq!(counts.take(), (0, 0), "{transport}: what is known is not tried");
            }
            node.network_changed();
            sim.sleep(20 * MINUTE).await;
            assert_eq!(counts.take(), (1, told), "{transport}, {kind}: it may be somebody else's then");
            node.shutdown().await;
        }
    });
}

/// The stranger says that it is on loopback, too: on whose machine somebody else listens.
#[test]
fn a_strangers_record_leads_to_no_address_of_another_scope() {
    worlds(|sim, transport| async move {
        let (_nodes, first) = network(&sim, transport).await;
        let (stranger, secret) = (sim.host("stranger"), PORT + 7);
        let loopback = |transport| Endpoint::new(transport, IpAddr::from([127, 0, 0, 1]), secret);
        let config = Config {
            listen_endpoints: vec![at(transport, &stranger), loopback(transport)],
            ..server(&stranger, std::slice::from_ref(&first))
        };
        let liar = Node::builder(&key(66)).config(config).runtime(stranger.runtime()).build().unwrap();
        liar.run().await.unwrap();
        let seeker = seeker(&sim, &first).await;
        let home = sim.hosts().into_iter().find(|host| host.name() == "seeker").unwrap();
        let here = (IpAddr::from([127, 0, 0, 1]), secret).into();
        let listener = home.runtime().tcp_listen(here).unwrap();
        let socket = home.runtime().udp_bind(here).unwrap();
        let came = Arc::new(AtomicUsize::new(0));
        let counts = came.clone();
        drop(home.spawn(async move {
            loop {
                let _ = std::future::poll_fn(|cx| listener.poll_accept(cx)).await;
                counts.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let counts = came.clone();
        drop(home.spawn(async move {
            let (mut buf, mut metas) = (vec![0; 2000], [p2p_core::runtime::RecvMeta::default()]);
            loop {
                let receive = std::future::poll_fn(|cx| {
                    socket.poll_recv(cx, &mut [std::io::IoSliceMut::new(&mut buf)], &mut metas)
                });
                if receive.await.is_ok() {
                    counts.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
        let record = seeker.dht().unwrap().find_peer(&liar.peer_id()).await.unwrap().expect("it is known");
        let names_loopback = record.addrs().iter().any(|addr| addr.endpoint.port() == secret);
        assert!(names_loopback, "the record has nothing to leave out: {record:?}");
        // Where it really is leads nowhere, so that every other address has its turn.
        sim.network().isolate(&stranger);
        seeker.connect_peer(&liar.peer_id()).await.unwrap_err();
        assert_eq!(came.load(Ordering::Relaxed), 0, "{transport}");
    });
}

/// How long it takes until the only live one is met among so many where nobody is, the last of the list.
async fn met_among(sim: &Sim, transport: Transport, dead: u32, listed: bool) -> Duration {
    let (host, right) = (sim.host("dialer"), sim.host("right"));
    let peer = node(&right, 1, transport, Config::default()).await;
    let nowhere = |n: u32| Endpoint::new(transport, IpAddr::from((0xc612_0000 + n).to_be_bytes()), PORT);
    let mut list: Vec<Endpoint> = (0..dead).map(nowhere).collect();
    // In the order of the list and in that of addresses, it is the last one.
    list.push(at(transport, &right));
    let mut builder = Node::builder(&key(3)).runtime(host.runtime());
    builder = match listed {
        true => builder.discovery(StaticDiscovery::new(list)).config(Config::default()),
        false => builder.config(Config { dial_peers: list, ..Config::default() }),
    };
    let dialer = builder.build().unwrap();
    let began = sim.now();
    dialer.run().await.unwrap();
    assert!(sim.eventually(10 * MINUTE, || dialer.is_with(&peer)).await, "{transport}: it is never met");
    let took = sim.now() - began;
    dialer.shutdown().await;
    took
}

#[test]
fn the_only_live_one_among_a_hundred_dead_is_met_within_two_seconds() {
    for listed in [false, true] {
        worlds(|sim, transport| async move {
            let took = met_among(&sim, transport, 100, listed).await;
            assert!(took <= 2 * SECOND, "{transport}, listed {listed}: after {took:?}");
        });
    }
}

/// A tenth of ten thousand has a tenth of a minute.
#[test]
fn the_only_live_one_among_a_thousand_dead_is_met_within_six_seconds() {
    for listed in [false, true] {
        worlds(|sim, transport| async move {
            let took = met_among(&sim, transport, 1000, listed).await;
            assert!(took <= 6 * SECOND, "{transport}, listed {listed}: after {took:?}");
        });
    }
}
