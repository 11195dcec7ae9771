//! How many round trips a dial takes, on a line of 50 ms each way. Time is virtual.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p::access_control::DenyList;
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::layers::identity::MAX_CERTIFIED_HELLO;
use p2p::protocol::{PeerConn, Protocol, ProtocolId, ProtocolInfo, ProtocolKind, Version};
use p2p::{Config, DisconnectReason, Error, Node, PeerEvent, async_trait};
use p2p_sim::{Host, Latency, Link, Sim};

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

/// A line's round trip.
const RTT: Duration = Duration::from_millis(100);

/// What happened to a protocol, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// Speaks as soon as it runs, if it is the dialer's, and notes when the echo comes.
struct Echo {
    conn: PeerConn,
    sim: Sim,
    log: Log,
}

impl Echo {
    fn note(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{what} at {} ms", self.sim.now().as_millis()));
    }

    async fn talk(&self) -> Result<(), Error> {
        if self.conn.direction().is_outbound() {
            self.conn.send("hello").await?;
            self.conn.recv().await?;
            self.note("echo");
        }
        loop {
            self.conn.send(self.conn.recv().await?).await?;
        }
    }
}

#[async_trait]
impl Protocol for Echo {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let end = self.talk().await;
        if let Err(Error::Disconnected(reason)) = &end {
            self.note(&format!("{reason}"));
        }
        end
    }

    fn id() -> ProtocolId {
        "/echo/1".parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

struct World {
    sim: Sim,
    hosts: [Host; 2],
    log: Log,
}

impl World {
    fn new() -> Self {
        let sim = Sim::new(1);
        sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(RTT / 2)));
        let hosts = ["dialer", "listener"].map(|name| sim.host(name));
        Self { sim, hosts, log: Log::default() }
    }

    /// The first host's node dials, the second's listens.
    async fn node(&self, index: usize, config: impl FnOnce(&mut Config)) -> Arc<Node> {
        let host = &self.hosts[index];
        let listen = TRANSPORTS.map(|transport| Endpoint::new(transport, host.ipv4(), 4000 + transport as u16));
        let mut with = Config { listen_endpoints: listen.to_vec(), max_connect_retries: 0, ..Config::default() };
        config(&mut with);
        let key = KeyPair::from_seed([index as u8 + 1; 32]);
        let node = Node::builder(&key).config(with).runtime(host.runtime()).build().unwrap();
        let (sim, log) = (self.sim.clone(), self.log.clone());
        node.attach_protocol(move |conn| Echo { conn, sim: sim.clone(), log: log.clone() }).unwrap();
        node.run().await.unwrap();
        node
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// How long after `begin` the first echo came.
    async fn echo(&self, begin: Duration) -> Duration {
        assert!(self.sim.eventually(20 * RTT, || !self.log().is_empty()).await, "no echo");
        let line = self.log().remove(0);
        let at =
            line.strip_prefix("echo at ").and_then(|at| at.strip_suffix(" ms")).unwrap_or_else(|| panic!("{line}"));
        Duration::from_millis(at.parse().unwrap()) - begin
    }
}

fn endpoint(node: &Node, transport: Transport) -> Endpoint {
    node.listen_endpoints().into_iter().find(|endpoint| endpoint.transport() == transport).unwrap()
}

/// Dials, and gives the round trips until `connect` was done and until the first echo was there.
fn round_trips(transport: Transport, extra: usize) -> (f64, f64) {
    let world = World::new();
    world.sim.clone().block_on(async {
        let (dialer, listener) = (world.node(0, |_| ()).await, world.node(1, |_| ()).await);
        for n in 0..extra {
            let info = ProtocolInfo {
                id: format!("/{n:0>60}").parse().unwrap(),
                version: "0.1.0".parse().unwrap(),
                kind: ProtocolKind::Optional,
            };
            let (sim, log) = (world.sim.clone(), world.log.clone());
            let echo = move |conn| Arc::new(Echo { conn, sim: sim.clone(), log: log.clone() }) as Arc<dyn Protocol>;
            listener.attach_dyn(info, echo).unwrap();
        }
        let begin = world.sim.now();
        dialer.connect(&endpoint(&listener, transport)).await.unwrap();
        let connected = world.sim.now() - begin;
        assert_eq!(dialer.peers(), 1);
        let echo = world.echo(begin).await;
        dialer.shutdown().await;
        listener.shutdown().await;
        assert_eq!((dialer.tasks(), listener.tasks()), (0, 0));
        (connected.as_secs_f64() / RTT.as_secs_f64(), echo.as_secs_f64() / RTT.as_secs_f64())
    })
}

#[test]
fn a_dial_takes_no_more_round_trips_than_its_transport() {
    for (transport, connected, echo) in [
        // TCP, hellos and proofs, echo.
        (Transport::Tcp, 2.0, 3.0),
        // TCP, TLS, echo.
        (Transport::Tls, 3.0, 3.0),
        // QUIC, echo.
        (Transport::Quic, 2.0, 2.0),
    ] {
        let taken = round_trips(transport, 0);
        assert!(taken.0 < connected * 1.05 && taken.1 < echo * 1.05, "{transport}: {taken:?} round trips");
        assert!(taken.1 > echo * 0.99, "{transport}: {taken:?} round trips, which cannot be");
    }
}

/// The largest hello that a certificate takes arrives in the listener's first flight, also where QUIC limits that to three
/// times what it got; with more protocols it goes the longer way.
#[test]
fn a_hello_that_does_not_fit_into_a_certificate_costs_one_more() {
    for (transport, echo) in [(Transport::Tls, 3.0), (Transport::Quic, 2.0)] {
        let taken = |protocols| round_trips(transport, protocols).1;
        let slow = |protocols: &usize| taken(*protocols) > echo * 1.05;
        // Each protocol takes 69 bytes.
        let first = (15..=MAX_CERTIFIED_HELLO / 69 + 1).find(slow).unwrap();
        assert!((16..=MAX_CERTIFIED_HELLO / 69).contains(&first), "{transport}: {first} protocols do not fit");
        let expected = (echo + 1.0) * 0.99..(echo + 1.0) * 1.05;
        assert!(expected.contains(&taken(first)), "{transport}: {} round trips", taken(first));
    }
    let plain = round_trips(Transport::Tcp, 40).1;
    assert!((2.97..3.15).contains(&plain), "tcp: {plain} round trips");
}

/// The listener says no, after the dialer's protocols have spoken.
#[test]
fn who_spoke_early_and_is_refused_learns_why_and_leaves_nothing_behind() {
    for transport in [Transport::Tls, Transport::Quic] {
        let world = World::new();
        world.sim.clone().block_on(async {
            let dialer = world.node(0, |config| config.outbound_slots = 1).await;
            let denied = DenyList::default();
            denied.insert(dialer.peer_id());
            let access = Arc::new(denied.clone());
            let listener = world.node(1, |config| config.access_control = access).await;
            let mut events = dialer.register_peer_events();
            let there = endpoint(&listener, transport);
            for _ in 0..3 {
                let (idle, streams) = (dialer.tasks(), world.log().len());
                let error = dialer.connect(&there).await.unwrap_err();
                assert!(error.to_string().contains("access control"), "{transport}: {error}");
                let gone = || world.log().len() > streams && dialer.tasks() <= idle;
                assert!(world.sim.eventually(50 * RTT, gone).await, "{transport}: {} tasks are left", dialer.tasks());
                let told = world.log().pop().unwrap();
                assert!(told.contains("not allowed by access control"), "{transport}: {told}");
                assert_eq!(dialer.peers(), 0);
                let event = events.recv().await.unwrap();
                assert!(matches!(event, PeerEvent::HandshakeFailed { .. }), "{transport}: {event:?}");
            }
            // The only slot is free again.
            denied.remove(dialer.peer_id());
            world.log.lock().unwrap().clear();
            dialer.connect(&there).await.unwrap();
            world.echo(Duration::ZERO).await;
            assert!(matches!(events.recv().await.unwrap(), PeerEvent::Added { .. }));
            dialer.shutdown().await;
            listener.shutdown().await;
            assert_eq!((dialer.tasks(), listener.tasks()), (0, 0));
        });
    }
}

/// A dial that is dropped while its protocols speak.
#[test]
fn who_spoke_early_learns_that_the_dial_was_given_up() {
    for transport in [Transport::Tls, Transport::Quic] {
        let world = World::new();
        world.sim.clone().block_on(async {
            let (dialer, listener) = (world.node(0, |_| ()).await, world.node(1, |_| ()).await);
            let there = endpoint(&listener, transport);
            // Three quarters of a round trip after its hello is out.
            let after = if transport == Transport::Tls { RTT * 11 / 4 } else { RTT * 7 / 4 };
            let idle = dialer.tasks();
            let given_up = dialer.runtime().timeout(after, dialer.connect(&there)).await;
            assert!(given_up.is_err(), "{transport}: done already");
            assert_eq!(dialer.peers(), 0);
            let gone = || !world.log().is_empty() && dialer.tasks() <= idle;
            assert!(world.sim.eventually(50 * RTT, gone).await, "{transport}: {:?}", world.log());
            assert!(world.log()[0].contains("given up"), "{transport}: {:?}", world.log());
            dialer.shutdown().await;
            listener.shutdown().await;
            assert_eq!((dialer.tasks(), listener.tasks()), (0, 0));
        });
    }
}

/// Both dial, one a little after the other: one connection stays, and nobody's early words are lost.
#[test]
fn dials_that_cross_cost_what_they_did_and_lose_nothing() {
    for transport in [Transport::Tls, Transport::Quic] {
        for (first, quarters) in [0, 1].into_iter().flat_map(|first| (0..12).map(move |quarters| (first, quarters))) {
            let world = World::new();
            world.sim.clone().block_on(async {
                let nodes = [world.node(0, |_| ()).await, world.node(1, |_| ()).await];
                let there = |index: usize| endpoint(&nodes[1 - index], transport);
                let later = RTT / 4 * quarters;
                let second = async {
                    world.sim.sleep(later).await;
                    nodes[1 - first].connect(&there(1 - first)).await
                };
                let (one, two) = futures_util::future::join(nodes[first].connect(&there(first)), second).await;
                let ids = [one.unwrap(), two.unwrap()];
                assert_eq!(ids, [nodes[1 - first].peer_id(), nodes[first].peer_id()]);
                assert!(world.sim.eventually(20 * RTT, || !world.log().is_empty()).await, "nobody got an echo");
                world.sim.sleep(20 * RTT).await;
                let log = world.log();
                assert!(log.len() == 1 && log[0].starts_with("echo"), "{transport}, {quarters} quarters: {log:?}");
                for node in &nodes {
                    node.shutdown().await;
                    assert_eq!(node.tasks(), 0);
                }
                let lost = log.iter().any(|line| line.contains(&DisconnectReason::Duplicate.to_string()));
                assert!(!lost, "{log:?}");
            });
        }
    }
}
