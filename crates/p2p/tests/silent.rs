//! Peers that are dead, or accept and say nothing: how long a dial of them takes, and whom it delays. Time is virtual.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::any::Any;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use p2p::discovery::{DiscoveredPeer, Discovery, PeerConnectionEvent};
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::layers::identity::TlsIdentity;
use p2p::layers::net::{NetConfig, Transports};
use p2p::{Config, DisconnectReason, Error, Node, PeerEvent, async_trait};
use p2p_sim::{Host, HostConfig, Latency, Link, Sim};
use tokio::io::AsyncReadExt;

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];
const RTT: Duration = Duration::from_millis(20);
const PORT: u16 = 4001;

/// What a dial has, and the handshake after it.
const TIME: Duration = Duration::from_millis(1500);

/// One world for each transport.
fn worlds<F: Future<Output = ()>>(scene: impl Fn(Sim, Transport) -> F) {
    for transport in TRANSPORTS {
        let sim = Sim::new(1);
        sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(RTT / 2)));
        sim.clone().block_on(scene(sim, transport));
    }
}

fn at(host: &Host, transport: Transport) -> Endpoint {
    Endpoint::new(transport, host.ipv4(), PORT)
}

fn quick() -> Config {
    Config { dial_timeout: TIME, handshake_timeout: TIME, max_connect_retries: 0, ..Config::default() }
}

async fn listening(host: &Host, n: u8, transport: Transport) -> Arc<Node> {
    let config = Config { listen_endpoints: vec![at(host, transport)], ..Config::default() };
    let node = Node::builder(&KeyPair::from_seed([n; 32])).config(config).runtime(host.runtime()).build().unwrap();
    node.run().await.unwrap();
    node
}

/// Accepts whatever comes, in the kernel, and says nothing. Ends with what is given back.
fn silent(sim: &Sim, transport: Transport) -> (Endpoint, Box<dyn Any>) {
    let host = sim.host("silent");
    let at = (host.ipv4(), PORT).into();
    let socket: Box<dyn Any> = match transport {
        Transport::Quic => Box::new(host.runtime().udp_bind(at).unwrap()),
        _ => Box::new(host.runtime().tcp_listen(at).unwrap()),
    };
    (Endpoint::from_socket_addr(transport, at), socket)
}

#[test]
fn the_dead_and_the_silent_fail_in_time_and_delay_nobody() {
    worlds(|sim, transport| async move {
        let (home, right) = (sim.host("dialer"), sim.host("honest"));
        let honest = listening(&right, 1, transport).await;
        let dialer = Node::builder(&KeyPair::from_seed([2; 32])).config(quick()).runtime(home.runtime());
        let dialer = dialer.build().unwrap();
        dialer.run().await.unwrap();
        let fails = |endpoint: Endpoint| {
            let (sim, dialer) = (sim.clone(), dialer.clone());
            async move {
                let began = sim.now();
                let error = dialer.connect(&endpoint).await.unwrap_err();
                (error, sim.now() - began)
            }
        };
        let nobody = Endpoint::new(transport, IpAddr::from([198, 18, 9, 9]), PORT);
        let (error, took) = fails(nobody).await;
        assert!(matches!(error, Error::Net(_)) && took <= TIME + RTT, "{transport}: {error:?} after {took:?}");
        let (silent, _socket) = silent(&sim, transport);
        let silent_dials = join_all((0..20).map(|_| fails(silent.clone())));
        let honest_dial = async {
            let began = sim.now();
            dialer.connect(&honest.listen_endpoints()[0]).await.unwrap();
            sim.now() - began
        };
        let (failed, took) = tokio::join!(biased; silent_dials, honest_dial);
        assert!(took <= 5 * RTT, "{transport}: an honest dial takes {took:?}");
        for (error, took) in failed {
            let expected = matches!(error, Error::Net(_) | Error::Handshake(_));
            assert!(expected && took >= TIME && took <= 2 * TIME + RTT, "{transport}: {error:?} after {took:?}");
        }
        dialer.shutdown().await;
        honest.shutdown().await;
    });
}

#[test]
fn ten_thousand_dead_peers_on_a_list_delay_no_start_no_dial_and_no_end() {
    worlds(|sim, transport| async move {
        let (home, right) = (sim.host("dialer"), sim.host("honest"));
        let honest = listening(&right, 1, transport).await;
        let nowhere = |n: u32| Endpoint::new(transport, IpAddr::from((0xc612_0000 + n).to_be_bytes()), PORT);
        let config = Config { dial_peers: (0..10_000).map(nowhere).collect(), ..Config::default() };
        let dialer = Node::builder(&KeyPair::from_seed([2; 32])).config(config).runtime(home.runtime());
        let dialer = dialer.build().unwrap();
        let began = sim.now();
        dialer.run().await.unwrap();
        assert_eq!(sim.now(), began, "{transport}: it runs at once");
        for wait in [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)] {
            sim.sleep(wait).await;
            let began = sim.now();
            dialer.connect(&at(&right, transport)).await.unwrap();
            let took = sim.now() - began;
            assert!(took <= 5 * RTT, "{transport} after {wait:?}: an honest dial takes {took:?}");
            dialer.disconnect(&honest.peer_id(), 0, "once more").await;
        }
        let began = sim.now();
        dialer.shutdown().await;
        let took = sim.now() - began;
        assert!(took <= dialer.config().drain_timeout, "{transport}: {took:?}");
        honest.shutdown().await;
    });
}

/// Finds these, in this order, and keeps what it is told of those that failed.
struct Finds {
    sim: Sim,
    found: Mutex<VecDeque<Endpoint>>,
    failed: Mutex<Vec<Endpoint>>,
}

impl Finds {
    fn new(sim: &Sim, found: impl IntoIterator<Item = Endpoint>) -> Arc<Self> {
        let found = Mutex::new(found.into_iter().collect());
        Arc::new(Self { sim: sim.clone(), found, failed: Mutex::default() })
    }

    fn find(&self, endpoint: Endpoint) {
        self.found.lock().unwrap().push_back(endpoint);
    }

    fn left(&self) -> usize {
        self.found.lock().unwrap().len()
    }
}

#[async_trait]
impl Discovery for Finds {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        Ok(())
    }

    async fn shutdown(&self) {}

    async fn recv(&self) -> DiscoveredPeer {
        loop {
            let found = self.found.lock().unwrap().pop_front();
            if let Some(endpoint) = found {
                return endpoint.into();
            }
            self.sim.sleep(Duration::from_millis(5)).await;
        }
    }

    fn find_peers_with(&self, _: &[u8]) -> Vec<DiscoveredPeer> {
        Vec::new()
    }

    fn on_event(&self, event: PeerConnectionEvent) {
        if let PeerConnectionEvent::ConnectFailed { endpoint, .. } = event {
            self.failed.lock().unwrap().push(endpoint);
        }
    }
}

/// A node with one slot, and little time for each dial.
async fn one_slot(host: &Host, max_connect_retries: usize, finds: &[&Arc<Finds>]) -> Arc<Node> {
    let config = Config { outbound_slots: 1, max_connect_retries, ..quick() };
    let mut builder = Node::builder(&KeyPair::from_seed([2; 32])).config(config).runtime(host.runtime());
    builder = builder.discovery((*finds[0]).clone());
    for more in &finds[1..] {
        builder = builder.add_discovery((*more).clone());
    }
    let node = builder.build().unwrap();
    node.run().await.unwrap();
    node
}

#[test]
fn a_silent_peer_costs_those_found_after_it_nothing_but_time() {
    worlds(|sim, transport| async move {
        let (silent, _socket) = silent(&sim, transport);
        let right = sim.host("honest");
        let honest = listening(&right, 1, transport).await;
        for retries in [0, 1] {
            let finds = Finds::new(&sim, [silent.clone(), at(&right, transport)]);
            let node = one_slot(&sim.host(format!("dialer{retries}")), retries, &[&finds]).await;
            // The silent one has all tries of a call, and the pauses between them.
            let most = 4 * TIME;
            let has_it = sim.eventually(most, || node.peer(&honest.peer_id()).is_some()).await;
            assert!(has_it, "{transport}, {retries} retries: the next one has the slot");
            let given_up = sim.eventually(most, || !finds.failed.lock().unwrap().is_empty()).await;
            assert!(given_up, "{transport}, {retries} retries: the silent one was given up");
            assert_eq!(*finds.failed.lock().unwrap(), std::slice::from_ref(&silent), "{transport}");
            node.shutdown().await;
        }
        honest.shutdown().await;
    });
}

#[test]
fn a_discovery_that_finds_only_silent_peers_keeps_no_slot_from_another() {
    worlds(|sim, transport| async move {
        let (silent, _socket) = silent(&sim, transport);
        let right = sim.host("honest");
        let honest = listening(&right, 1, transport).await;
        let many = std::iter::repeat_n(silent, 100);
        let (bad, good) = (Finds::new(&sim, many), Finds::new(&sim, []));
        let node = one_slot(&sim.host("dialer"), 0, &[&bad, &good]).await;
        assert!(sim.eventually(TIME, || bad.left() < 100).await, "{transport}: the slot is taken");
        good.find(at(&right, transport));
        let has_it = sim.eventually(10 * TIME, || node.peer(&honest.peer_id()).is_some()).await;
        assert!(has_it, "{transport}: the other has its turn");
        let tried = 100 - bad.left();
        println!("{transport}: {tried} silent peers had their turn before");
        assert!(tried <= 5, "{transport}: {tried} silent peers had their turn before");
        node.shutdown().await;
        honest.shutdown().await;
    });
}

/// Where silent ones come from.
#[derive(Debug, Clone, Copy)]
enum From {
    OneAddress,
    OnePrefix,
    ManyPrefixes,
}

/// So many connections that say nothing: over quic, first datagrams of those who hear no answer.
fn say_nothing(sim: &Sim, transport: Transport, from: From, victim: &Host) -> Vec<Host> {
    const SILENT: u32 = 1000;
    let hosts = if let From::OneAddress = from { 1 } else { 250 };
    let one = |n: u32| {
        let ip = match from {
            From::OneAddress => [9, 9, 9, 9],
            From::OnePrefix => [9, 9, 9, n as u8],
            From::ManyPrefixes => [9, n as u8, 1, 1],
        };
        let host = sim.add_host(HostConfig::new(format!("silent{n}")).addresses([IpAddr::from(ip)]));
        let (runtime, to) = (host.runtime(), at(victim, transport));
        if transport == Transport::Quic {
            sim.network().block(victim, &host);
        }
        drop(host.spawn(async move {
            let mut config = NetConfig::default();
            config.tls = Some(TlsIdentity::new(&KeyPair::from_seed([99; 32])).unwrap().configs());
            let transports = Transports::new(runtime.clone(), config);
            let each = (0..SILENT / hosts).map(|_| async {
                match transport {
                    Transport::Quic => drop(transports.dial(&to).await),
                    // Open for as long as the other side likes.
                    _ => {
                        if let Ok(mut stream) = runtime.tcp_connect(to.socket_addr().unwrap()).await {
                            let _ = stream.read_to_end(&mut Vec::new()).await;
                        }
                    }
                }
            });
            join_all(each).await;
        }));
        host
    };
    (0..hosts).map(one).collect()
}

/// How long an honest peer takes to connect.
async fn connects(sim: &Sim, n: u8, to: &Endpoint) -> Duration {
    let host = sim.host(format!("honest{n}"));
    let node = Node::builder(&KeyPair::from_seed([n; 32])).runtime(host.runtime()).build().unwrap();
    node.run().await.unwrap();
    let began = sim.now();
    node.connect(to).await.unwrap();
    let took = sim.now() - began;
    node.shutdown().await;
    took
}

#[test]
fn a_thousand_silent_dialers_delay_no_honest_one_and_end_at_their_deadline() {
    for from in [From::OneAddress, From::OnePrefix, From::ManyPrefixes] {
        worlds(|sim, transport| async move {
            let host = sim.host("victim");
            let victim = listening(&host, 1, transport).await;
            let to = at(&host, transport);
            let idle = connects(&sim, 10, &to).await;
            let tasks = victim.tasks();
            let silent = say_nothing(&sim, transport, from, &host);
            for n in 0..5 {
                sim.sleep(Duration::from_millis(if n == 0 { 15 } else { 300 })).await;
                let took = connects(&sim, 20 + n, &to).await;
                assert!(took <= 2 * idle, "{transport} {from:?}: {idle:?} before, {took:?} beside them");
            }
            // What they would send again over quic would begin anew.
            silent.iter().for_each(Host::crash);
            let most = 2 * victim.config().handshake_timeout;
            let ended = sim.eventually(most, || victim.tasks() <= tasks).await;
            assert!(ended, "{transport} {from:?}: {} tasks, {tasks} before", victim.tasks());
            victim.shutdown().await;
        });
    }
}

#[test]
fn a_peer_that_falls_silent_is_noticed_when_its_time_is_over_and_told_of_once() {
    worlds(|sim, transport| async move {
        let (home, there) = (sim.host("node"), sim.host("peer"));
        let (node, peer) = (listening(&home, 1, transport).await, listening(&there, 2, transport).await);
        let mut events = node.register_peer_events();
        peer.connect(&at(&home, transport)).await.unwrap();
        sim.sleep(Duration::from_secs(60)).await;
        assert!(matches!(events.try_recv(), Some(Ok(PeerEvent::Added { .. }))), "{transport}");
        let began = sim.now();
        sim.network().isolate(&there);
        let Ok(PeerEvent::Removed { reason, .. }) = events.recv().await else { panic!("{transport}") };
        let took = sim.now() - began;
        assert_eq!(reason, DisconnectReason::PingTimeout, "{transport}");
        let Config { ping_interval, ping_timeout, .. } = *node.config();
        assert!(took >= ping_timeout, "{transport}: {took:?}");
        assert!(took <= ping_interval + ping_timeout + Duration::from_secs(1), "{transport}: {took:?}");
        sim.sleep(Duration::from_secs(60)).await;
        assert!(events.try_recv().is_none(), "{transport}");
        node.shutdown().await;
        peer.shutdown().await;
    });
}
