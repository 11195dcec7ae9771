//! Races over simulated networks: real connections and handshakes, in virtual time.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use p2p_core::{PeerId, Runtime};
use p2p_identity::race::Source;
use p2p_identity::{
    Authenticated, Error, HandshakeError, HandshakeParams, Judge, KeyPair, Opening, Purpose, Race, RaceLimits,
    RejectReason, Terms, TlsIdentity,
};
use p2p_net::{Connection, DialError, Endpoint, NetConfig, PeerAddr, SendLimits, Transport, Transports};
use p2p_sim::{Host, HostConfig, Latency, Link, Settings, Sim};

const PORT: u16 = 4001;
const HANDSHAKE: Duration = Duration::from_secs(4);
const UNTIL: Duration = Duration::from_secs(10);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A node that serves lookups, and counts who has opened a connection and who has been authenticated.
struct Node {
    key: KeyPair,
    transports: Transports,
    accepted: Arc<Mutex<(usize, usize)>>,
}

impl Node {
    fn new(host: &Host, key: u8) -> Self {
        let key = KeyPair::from_seed([key; 32]);
        let mut config = NetConfig::default();
        config.tls = Some(TlsIdentity::new(&key).unwrap().configs());
        Self { transports: Transports::new(host.runtime(), config), key, accepted: Arc::default() }
    }

    fn peer_id(&self) -> PeerId {
        self.key.peer_id()
    }

    fn params(&self) -> Arc<HandshakeParams> {
        let mut params = HandshakeParams::new(self.key.clone(), 1);
        params.serves = vec![Purpose::Lookup];
        Arc::new(params)
    }

    /// Serves at an address of the host, for as long as that lives.
    async fn serve(&self, host: &Host, transport: Transport, ip: IpAddr) {
        let listener = self.transports.listen(&Endpoint::new(transport, ip, PORT)).await.unwrap();
        let (params, accepted, runtime) = (self.params(), self.accepted.clone(), host.runtime());
        drop(host.spawn(async move {
            let mut open = Vec::new();
            loop {
                let connection = listener.accept().await.unwrap().accept().await.unwrap();
                accepted.lock().unwrap().0 += 1;
                let opening = Opening::accepted(connection, |_| params.clone(), &*runtime).unwrap();
                let done = opening.authenticate(terms(&*runtime), |_, _| Ok::<_, RejectReason>(())).await;
                if let Ok(done) = done {
                    accepted.lock().unwrap().1 += 1;
                    open.push(done);
                }
            }
        }));
    }

    fn counts(&self) -> (usize, usize) {
        *self.accepted.lock().unwrap()
    }
}

fn terms(runtime: &dyn Runtime) -> Terms<'_> {
    static BUDGET: std::sync::OnceLock<p2p_core::ByteBudget> = std::sync::OnceLock::new();
    let budget = BUDGET.get_or_init(|| p2p_core::ByteBudget::new(64 << 20));
    let (limits, deadline) = (SendLimits::default(), runtime.now() + HANDSHAKE);
    Terms { runtime, budget, limits, priority: 0, deadline, progress: &|| () }
}

/// Dials, and keeps what did not lead to the peer.
struct Dialer {
    node: Node,
    expected: Option<PeerId>,
    failed: Mutex<Vec<Endpoint>>,
    denied: Vec<IpAddr>,
}

impl Judge for Dialer {
    type Won = Authenticated;
    type Error = Error;

    fn allow(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let is_denied = endpoint.addr().ip().is_some_and(|ip| self.denied.contains(&ip));
        if is_denied { Err(Error::Denied(endpoint.to_string())) } else { Ok(()) }
    }

    async fn ask(&self, connection: Connection) -> Result<Authenticated, Error> {
        let runtime = &**self.node.transports.runtime();
        let opening = Opening::dialed(connection, self.node.params(), self.expected, Purpose::Lookup, &[], runtime)?;
        opening.authenticate(terms(runtime), |_, _| Ok::<_, RejectReason>(())).await
    }

    fn failed(&self, endpoint: &Endpoint, _: &Error) {
        self.failed.lock().unwrap().push(endpoint.clone());
    }
}

impl Dialer {
    fn new(host: &Host, expected: Option<PeerId>) -> Self {
        Self { node: Node::new(host, 100), expected, failed: Mutex::default(), denied: Vec::new() }
    }

    async fn race(&self, addrs: &[Endpoint], source: Option<Source<'_>>) -> Result<Authenticated, Option<Error>> {
        let (transports, limits) = (&self.node.transports, RaceLimits::default());
        let until = transports.runtime().now() + UNTIL;
        let mut addrs: Vec<PeerAddr> = addrs.iter().cloned().map(Into::into).collect();
        Race { transports, limits, until }.run(self, &mut addrs, source).await
    }
}

fn transports() -> Vec<Transport> {
    let all = [Transport::Tcp, Transport::Tls, Transport::Quic];
    all.into_iter().filter(|transport| cfg!(feature = "quic") || *transport != Transport::Quic).collect()
}

/// A world with a dialer's host and others, on lines of 10 ms each way.
fn world<F: Future<Output = ()>>(scene: impl Fn(Sim, Transport) -> F) {
    for transport in transports() {
        let sim = Sim::new(1);
        sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(ms(10))));
        sim.clone().block_on(scene(sim, transport));
    }
}

fn at(transport: Transport, host: &Host) -> Endpoint {
    Endpoint::new(transport, host.ipv4(), PORT)
}

fn name(transport: Transport) -> Endpoint {
    format!("{transport}://peer.example:{PORT}").parse().unwrap()
}

/// Of whatever a socket opens to, only the right peer wins.
#[test]
fn a_name_whose_first_addresses_are_somebody_else_and_oneself_leads_to_the_peer() {
    world(|sim, transport| async move {
        let [own, other, right] = ["own", "other", "right"].map(|host| sim.host(host));
        let dialer = Dialer::new(&own, Some(Node::new(&right, 2).peer_id()));
        let (stranger, peer) = (Node::new(&other, 1), Node::new(&right, 2));
        dialer.node.serve(&own, transport, own.ipv4()).await;
        stranger.serve(&other, transport, other.ipv4()).await;
        peer.serve(&right, transport, right.ipv4()).await;
        sim.network().set_name("peer.example", [own.ipv4(), other.ipv4(), right.ipv4()]);
        let began = sim.now();
        let won = dialer.race(&[name(transport)], None).await.unwrap();
        assert_eq!(won.remote.peer_id, peer.peer_id());
        assert_eq!(won.connection.remote_endpoint().addr().ip(), Some(right.ipv4()));
        assert!(sim.now() - began < ms(250), "each failure starts the next: {:?}", sim.now() - began);
        assert_eq!(*dialer.failed.lock().unwrap(), [&own, &other].map(|host| at(transport, host)));
    });
}

/// It takes the connection and says nothing: that it was first decides nothing.
#[test]
fn an_address_that_takes_connections_and_is_silent_delays_by_one_stagger() {
    world(|sim, transport| async move {
        let [own, silent, right] = ["own", "silent", "right"].map(|host| sim.host(host));
        let (dialer, peer) = (Dialer::new(&own, None), Node::new(&right, 2));
        let _listener = silent.runtime().tcp_listen((silent.ipv4(), PORT).into()).unwrap();
        let _socket = silent.runtime().udp_bind((silent.ipv4(), PORT).into()).unwrap();
        peer.serve(&right, transport, right.ipv4()).await;
        sim.network().set_name("peer.example", [silent.ipv4(), right.ipv4()]);
        let began = sim.now();
        let won = dialer.race(&[name(transport)], None).await.unwrap();
        assert_eq!(won.remote.peer_id, peer.peer_id());
        assert!(sim.now() - began < ms(250 + 100), "{:?}", sim.now() - began);
    });
}

#[test]
fn what_a_source_finds_races_with_what_is_listed() {
    world(|sim, transport| async move {
        let [own, nobody, right] = ["own", "nobody", "right"].map(|host| sim.host(host));
        sim.network().isolate(&nobody);
        let peer = Node::new(&right, 2);
        peer.serve(&right, transport, right.ipv4()).await;
        let dialer = Dialer::new(&own, Some(peer.peer_id()));
        let began = sim.now();
        let asked = Mutex::new(None);
        let found = async {
            *asked.lock().unwrap() = Some(sim.now() - began);
            own.runtime().sleep(ms(100)).await;
            vec![PeerAddr::from(at(transport, &right))]
        };
        let mut source = std::pin::pin!(stream::once(found).fuse());
        let won = dialer.race(&[at(transport, &nobody)], Some(source.as_mut())).await.unwrap();
        assert_eq!(won.remote.peer_id, peer.peer_id());
        assert_eq!(*asked.lock().unwrap(), Some(ms(250)), "beside the listed one, after one stagger");
        assert!(sim.now() - began < ms(250 + 100 + 250), "{:?}", sim.now() - began);
    });
}

/// One address, however many names and lists give it.
#[test]
fn an_address_is_tried_once_in_a_race() {
    world(|sim, transport| async move {
        let [own, other] = ["own", "other"].map(|host| sim.host(host));
        let stranger = Node::new(&other, 1);
        stranger.serve(&other, transport, other.ipv4()).await;
        sim.network().set_name("peer.example", [other.ipv4(), other.ipv4()]);
        let dialer = Dialer::new(&own, Some(Node::new(&own, 2).peer_id()));
        let there = at(transport, &other);
        let again = there.clone().with_peer_id(dialer.expected);
        let found = vec![there.clone().into(), again.clone().into()];
        let mut source = std::pin::pin!(stream::iter([found]).fuse());
        let error = dialer.race(&[there, again, name(transport)], Some(source.as_mut())).await.unwrap_err();
        let Some(Error::Handshake(error)) = error else { panic!("{error:?}") };
        assert!(matches!(error.reason(), Some(RejectReason::IdentityMismatch { .. })), "{error:?}");
        assert_eq!((stranger.counts().0, dialer.failed.lock().unwrap().len()), (1, 1));
    });
}

/// The first packet of a dial is lost, and the one after it: a fresh connection is there before TCP tries a third time.
#[test]
fn a_dial_whose_packets_are_lost_is_overtaken_by_a_second_one() {
    world(|sim, transport| async move {
        let [own, right] = ["own", "right"].map(|host| sim.host(host));
        let peer = Node::new(&right, 2);
        peer.serve(&right, transport, right.ipv4()).await;
        let dialer = Dialer::new(&own, Some(peer.peer_id()));
        // What is sent at 0 s and 1 s goes nowhere, what is sent at 2.5 s arrives, and 3 s is never reached.
        sim.network().block(&own, &right);
        let network = sim.network();
        let (one, two) = (own.clone(), right.clone());
        let healing = own.runtime().sleep(ms(1500));
        let began = sim.now();
        let healed = async {
            healing.await;
            network.unblock(&one, &two);
            std::future::pending::<()>().await;
        };
        let there = [at(transport, &right)];
        let won = tokio::select! {
            won = dialer.race(&there, None) => won.unwrap(),
            () = healed => unreachable!(),
        };
        assert_eq!(won.remote.peer_id, peer.peer_id());
        let took = sim.now() - began;
        assert!(took < ms(2500 + 200), "{transport}: {took:?}");
        sim.sleep(Duration::from_secs(20)).await;
        assert_eq!(peer.counts().1, 1, "{transport}: one of the two was given up before it said anything");
    });
}

#[test]
fn time_is_over_for_all_at_once_and_each_is_told_of_once() {
    world(|sim, transport| async move {
        let [own, nobody] = ["own", "nobody"].map(|host| sim.host(host));
        sim.network().isolate(&nobody);
        let dialer = Dialer::new(&own, None);
        let began = sim.now();
        let addrs = [1, 2, 3].map(|port| at(transport, &nobody).with_port(port));
        let mut source = std::pin::pin!(stream::pending::<Vec<PeerAddr>>());
        let error = dialer.race(&addrs, Some(source.as_mut())).await.unwrap_err();
        assert!(
            matches!(error, Some(Error::Net(p2p_net::Error::Dial { reason: DialError::TimedOut, .. }))),
            "{error:?}"
        );
        assert_eq!(sim.now() - began, UNTIL);
        assert_eq!(*dialer.failed.lock().unwrap(), addrs, "each is told of once");
    });
}

/// The name server says nothing.
#[test]
fn looking_a_name_up_takes_of_the_same_time() {
    let sim = Sim::with(1, Settings { lookup: 3 * UNTIL, ..Settings::default() });
    sim.clone().block_on(async {
        let dialer = Dialer::new(&sim.host("own"), None);
        let began = sim.now();
        let error = dialer.race(&[name(Transport::Tcp)], None).await.unwrap_err();
        let Some(Error::Net(p2p_net::Error::Dial { endpoint, reason })) = error else { panic!("{error:?}") };
        assert!(matches!(reason, DialError::TimedOut) && endpoint == name(Transport::Tcp), "{endpoint}: {reason}");
        assert_eq!(sim.now() - began, UNTIL);
    });
}

#[test]
fn what_may_not_be_dialed_is_not_also_when_a_name_leads_there() {
    world(|sim, transport| async move {
        let [own, forbidden, right] = ["own", "forbidden", "right"].map(|host| sim.host(host));
        let (bad, peer) = (Node::new(&forbidden, 1), Node::new(&right, 2));
        bad.serve(&forbidden, transport, forbidden.ipv4()).await;
        peer.serve(&right, transport, right.ipv4()).await;
        let mut dialer = Dialer::new(&own, None);
        dialer.denied.push(forbidden.ipv4());
        sim.network().set_name("peer.example", [forbidden.ipv4()]);
        let error = dialer.race(&[name(transport), at(transport, &forbidden)], None).await.unwrap_err();
        assert!(matches!(error, Some(Error::Denied(_))), "{error:?}");
        sim.network().set_name("peer.example", [forbidden.ipv4(), right.ipv4()]);
        let won = dialer.race(&[name(transport)], None).await.unwrap();
        assert_eq!((won.remote.peer_id, bad.counts().0), (peer.peer_id(), 0));
    });
}

/// Counts the timers that are made.
#[derive(Debug)]
struct Timers {
    runtime: Arc<dyn Runtime>,
    made: AtomicUsize,
}

impl Runtime for Timers {
    p2p_core::forward_runtime!(runtime: spawn, now, system_time, fill_random, resolve, tcp_connect);
    p2p_core::forward_runtime!(runtime: tcp_listen, udp_bind, udp_connect, files);

    fn timer(&self, deadline: std::time::Instant) -> std::pin::Pin<Box<dyn p2p_core::runtime::Timer>> {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.runtime.timer(deadline)
    }
}

/// Every connect of everybody pays for what the race costs when there is nothing to race.
#[test]
fn a_race_of_one_address_takes_one_timer() {
    struct Connects(Transports);
    impl Judge for Connects {
        type Won = Connection;
        type Error = Error;

        fn allow(&self, _: &Endpoint) -> Result<(), Error> {
            Ok(())
        }

        async fn ask(&self, connection: Connection) -> Result<Connection, Error> {
            Ok(connection)
        }

        fn failed(&self, endpoint: &Endpoint, error: &Error) {
            panic!("{endpoint}: {error}");
        }
    }
    let sim = Sim::new(1);
    sim.clone().block_on(async {
        let [own, right] = ["own", "right"].map(|host| sim.host(host));
        Node::new(&right, 2).serve(&right, Transport::Tcp, right.ipv4()).await;
        let runtime = Arc::new(Timers { runtime: own.runtime(), made: AtomicUsize::new(0) });
        let judge = Connects(Transports::new(runtime.clone(), NetConfig::default()));
        let until = runtime.now() + UNTIL;
        let race = Race { transports: &judge.0, limits: RaceLimits::default(), until };
        let timers = || runtime.made.load(Ordering::Relaxed);
        let before = timers();
        race.run(&judge, &mut vec![at(Transport::Tcp, &right).into()], None).await.unwrap();
        assert_eq!(timers() - before, 1);
    });
}

#[test]
fn a_race_with_nobody_ends_at_once() {
    world(|sim, _| async move {
        let dialer = Dialer::new(&sim.host("own"), None);
        assert!(dialer.race(&[], None).await.is_err_and(|error| error.is_none()));
    });
}

/// A host with both families, of which one leads nowhere.
#[test]
fn a_family_that_leads_nowhere_is_passed_by() {
    world(|sim, transport| async move {
        let v6: IpAddr = "2001:db8::9".parse().unwrap();
        let own = sim.host("own");
        let right = sim.add_host(HostConfig::new("right"));
        let peer = Node::new(&right, 2);
        peer.serve(&right, transport, right.ipv4()).await;
        sim.network().set_name("peer.example", [right.ipv4(), v6]);
        let dialer = Dialer::new(&own, None);
        let began = sim.now();
        assert_eq!(dialer.race(&[name(transport)], None).await.unwrap().remote.peer_id, peer.peer_id());
        assert!(sim.now() - began < ms(400), "{:?}", sim.now() - began);
    });
}

#[test]
fn whoever_refuses_to_be_asked_is_told_of_with_its_reason() {
    world(|sim, transport| async move {
        let [own, right] = ["own", "right"].map(|host| sim.host(host));
        let peer = Node::new(&right, 2);
        peer.serve(&right, transport, right.ipv4()).await;
        let dialer = Dialer::new(&own, Some(Node::new(&own, 3).peer_id()));
        let error = dialer.race(&[at(transport, &right)], None).await.unwrap_err();
        let is_mismatch =
            |error: &HandshakeError| matches!(error.reason(), Some(RejectReason::IdentityMismatch { .. }));
        assert!(matches!(&error, Some(Error::Handshake(error)) if is_mismatch(error)), "{error:?}");
    });
}
