//! A world of nodes: hosts that run one each, know some of the others, and talk.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::layers::core::ByteBudget;
use p2p::{Config, Node, PeerEvent, PeerId};
use p2p_sim::{Host, HostConfig, HostState, Nat, Plan, Sim};
use tokio::sync::watch;

use crate::model::{Life, Model};
use crate::talk::{self, Conversation, Manner};

/// The longest wait before a peer that is to be kept connected is dialed again, its jitter included, and what the dial and the
/// notice of a dead connection may take.
pub(crate) const RECOVERY: Duration = Duration::from_secs(150);

/// How long what is under way may take to arrive on a healthy network.
const QUIET: Duration = Duration::from_secs(60);

/// What one run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) packets: u64,
    pub(crate) messages: u64,
    pub(crate) simulated: Duration,
}

/// How the nodes of a town are.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    pub(crate) protocols: u8,
    pub(crate) manner: Manner,
    /// Changed by a scenario; where to listen and whom to dial is filled in.
    pub(crate) config: Config,
    /// Whether the nodes find each other through the DHT, beginning with the first of them.
    pub(crate) dht: bool,
}

impl Default for Style {
    fn default() -> Self {
        let config =
            Config { ping_interval: Duration::from_secs(5), ping_timeout: Duration::from_secs(5), ..Config::default() };
        let pause = Duration::from_millis(20)..Duration::from_millis(400);
        Self { protocols: 3, manner: Manner { pause, size: 16..40_000 }, config, dht: false }
    }
}

/// One host and the node that runs there, if one does.
#[derive(Clone)]
pub(crate) struct Resident {
    pub(crate) host: Host,
    pub(crate) key: KeyPair,
    pub(crate) index: usize,
    home: Arc<Home>,
}

struct Home {
    node: Mutex<Option<Arc<Node>>>,
    lives: AtomicU32,
    /// Whom its node dials and keeps.
    dials: Mutex<Vec<Endpoint>>,
    /// Whether its node listens on whatever address there is, and has to learn which.
    anywhere: AtomicBool,
    /// What its settings are beside those of the others.
    change: Mutex<Option<Change>>,
    style: Style,
    conversation: Conversation,
}

/// Changes the settings of one node.
type Change = Arc<dyn Fn(Config) -> Config + Send + Sync>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resident {
    /// The node that runs now; what is left of one whose host went down does not count.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        let up = matches!(self.host.state(), HostState::Up | HostState::Paused);
        lock(&self.home.node).clone().filter(|_| up)
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        self.key.peer_id()
    }

    /// How often its node asks a quiet peer whether it lives.
    pub(crate) fn ping_interval(&self) -> Duration {
        self.home.style.config.ping_interval
    }

    /// Which life this is.
    pub(crate) fn life(&self) -> Life {
        Life { node: self.index, life: self.home.lives.load(Ordering::Relaxed) }
    }

    /// Where its node listens.
    pub(crate) fn endpoint(&self, transport: Transport) -> Endpoint {
        Endpoint::new(transport, self.host.ipv4(), port(transport)).with_peer_id(self.peer_id())
    }

    /// From its next start on, its node keeps these peers connected.
    pub(crate) fn keep(&self, peers: Vec<Endpoint>) {
        *lock(&self.home.dials) = peers;
    }

    /// From its next start on, its node is not told its own address.
    pub(crate) fn listen_anywhere(&self) {
        self.home.anywhere.store(true, Ordering::Relaxed);
    }

    /// From its next start on, its node has other settings.
    pub(crate) fn set_up(&self, change: impl Fn(Config) -> Config + Send + Sync + 'static) {
        *lock(&self.home.change) = Some(Arc::new(change));
    }

    /// Starts its node, now and after each restart of its host.
    pub(crate) fn move_in(&self) {
        let this = (self.index, self.key.clone(), self.home.clone());
        self.host.on_start(move |host| {
            let (index, key, home) = this.clone();
            live(host, index, key, home)
        });
    }

    /// Shuts its node down in good order. Nothing of it may be left.
    pub(crate) async fn move_out(&self) {
        let Some(node) = lock(&self.home.node).take() else { return };
        let life = self.life();
        node.shutdown().await;
        assert_eq!(node.tasks(), 0, "{life:?}: tasks are left");
        assert_eq!(node.peers(), 0, "{life:?}: peers are left");
        assert_eq!(self.host.open_sockets(), 0, "{life:?}: sockets are left");
        assert_eq!(budget(&node).used(), 0, "{life:?}: bytes of the budget are not given back");
    }
}

/// The program of a host: one life of a node.
async fn live(host: Host, index: usize, key: KeyPair, home: Arc<Home>) {
    let life = Life { node: index, life: home.lives.fetch_add(1, Ordering::Relaxed) + 1 };
    home.conversation.model.born(life);
    // Whatever is left of the life before.
    lock(&home.node).take();
    let listen = Transport::ALL.into_iter().filter(|transport| *transport != Transport::Udp);
    let anywhere = home.anywhere.load(Ordering::Relaxed);
    let ip = if anywhere { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { host.ipv4() };
    let config = Config {
        listen_endpoints: listen.map(|transport| Endpoint::new(transport, ip, port(transport))).collect(),
        dial_peers: lock(&home.dials).clone(),
        ..home.style.config.clone()
    };
    let config = if home.style.dht { with_dht(config, ip, &home) } else { config };
    let change = lock(&home.change).clone();
    let config = change.map_or(config.clone(), |change| change(config));
    let Conversation { model, .. } = &home.conversation;
    let node = Node::builder(&key).config(config).runtime(host.runtime()).build();
    let node = node.unwrap_or_else(|error| panic!("{life:?} cannot be made: {error}"));
    let attached = talk::attach(&node, life, home.style.protocols, &home.conversation);
    attached.unwrap_or_else(|error| panic!("{life:?} cannot be taught: {error}"));
    let mut events = node.register_peer_events();
    // A port of the life before may still be in use for a moment, and sockets may be short.
    while let Err(error) = node.run().await {
        host.trace(format!("cannot run: {error}"));
        node.runtime().sleep(Duration::from_secs(1)).await;
    }
    *lock(&home.node) = Some(node.clone());
    let config = node.config();
    let bounds = (config.inbound_slots, config.outbound_slots + config.dial_peers.len(), config.limits.memory);
    drop(node);
    while let Ok(event) = events.recv().await {
        host.trace(describe(&event));
        model.event(life, &event);
        if let Some(node) = lock(&home.node).as_ref() {
            let seen = (node.inbound_peers().len(), node.outbound_peers().len(), budget(node).used());
            model.bounds(life, seen, bounds);
        }
    }
    model.over(life);
}

/// The same, with a DHT whose lookups come in where peers do. What a node keeps is where it begins.
fn with_dht(config: Config, ip: IpAddr, home: &Home) -> Config {
    Config {
        discovery_endpoints: vec![Endpoint::new(Transport::Udp, ip, 4004)],
        bootstrap_peers: lock(&home.dials).clone(),
        dial_peers: Vec::new(),
        ..config
    }
}

/// An event without what differs from one address of memory, or one reading of a clock, to the next.
fn describe(event: &PeerEvent) -> String {
    match event {
        PeerEvent::Added { peer } => format!("added {} {:?} {}", peer.peer_id.short(), peer.direction, peer.endpoint),
        PeerEvent::Removed { peer, reason } => format!("removed {} {}: {reason}", peer.peer_id.short(), peer.endpoint),
        PeerEvent::HandshakeFailed { endpoint, reason, .. } => format!("handshake failed with {endpoint}: {reason}"),
        other => format!("{other:?}"),
    }
}

/// What a node's connections hold in memory is charged to.
fn budget(node: &Node) -> &ByteBudget {
    &node.pool().transports().config().budget
}

const fn port(transport: Transport) -> u16 {
    match transport {
        Transport::Tcp => 4001,
        Transport::Tls => 4002,
        _ => 4003,
    }
}

/// A world of nodes.
pub(crate) struct Town {
    pub(crate) sim: Sim,
    pub(crate) model: Model,
    pub(crate) residents: Vec<Resident>,
    speak: watch::Sender<bool>,
}

impl Town {
    /// So many hosts, on which nothing runs yet.
    pub(crate) fn new(sim: Sim, size: usize, style: &Style) -> Self {
        Self::behind(sim, size, style, |_, _| None)
    }

    /// As [`new`](Self::new), with some hosts behind NAT boxes: `nat` is given a host's number and something drawn.
    pub(crate) fn behind(sim: Sim, size: usize, style: &Style, nat: impl Fn(usize, u64) -> Option<Nat>) -> Self {
        Self::of(sim, size, style, |index, host, drawn| match nat(index, drawn) {
            Some(nat) => host.behind(&nat),
            None => host,
        })
    }

    /// As [`new`](Self::new), with hosts of several kinds: `host` is given a host's number, what it is like otherwise, and
    /// something drawn.
    pub(crate) fn of(
        sim: Sim,
        size: usize,
        style: &Style,
        host: impl Fn(usize, HostConfig, u64) -> HostConfig,
    ) -> Self {
        let model = Model::default();
        let (speak, on) = watch::channel(true);
        let conversation = Conversation { model: model.clone(), manner: style.manner.clone(), on };
        let residents = (0..size).map(|index| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&sim.seed().to_le_bytes());
            seed[8..16].copy_from_slice(&(index as u64).to_le_bytes());
            let key = KeyPair::from_seed(seed);
            model.know(index, key.peer_id());
            let home = Home {
                node: Mutex::new(None),
                lives: AtomicU32::new(0),
                dials: Mutex::new(Vec::new()),
                anywhere: AtomicBool::new(false),
                change: Mutex::new(None),
                style: style.clone(),
                conversation: conversation.clone(),
            };
            let host = host(index, HostConfig::new(format!("node{index}")), sim.runtime().random_u64());
            Resident { host: sim.add_host(host), key, index, home: Arc::new(home) }
        });
        let residents = residents.collect();
        Self { sim, model, residents, speak }
    }

    /// Lets each node keep up to `each` of those before it connected, over transports drawn from the seed.
    pub(crate) fn acquaint(&self, each: usize) {
        for resident in &self.residents {
            let mut others: Vec<&Resident> = self.residents[..resident.index].iter().collect();
            self.sim.runtime().shuffle(&mut others);
            let peers = others.into_iter().take(each).map(|other| other.endpoint(self.transport()));
            resident.keep(peers.collect());
        }
    }

    /// Lets each node but the first `public` ones keep those connected.
    pub(crate) fn acquaint_with_public(&self, public: usize) {
        let (public, others) = self.residents.split_at(public);
        for resident in others {
            resident.keep(public.iter().map(|other| other.endpoint(self.transport())).collect());
        }
    }

    /// One of the three, drawn from the seed.
    pub(crate) fn transport(&self) -> Transport {
        [Transport::Tcp, Transport::Tls, Transport::Quic][self.draw(3) as usize]
    }

    /// A number below `bound`, drawn from the seed.
    pub(crate) fn draw(&self, bound: u64) -> u64 {
        self.sim.runtime().random_u64() % bound
    }

    pub(crate) fn pick(&self) -> &Resident {
        &self.residents[self.draw(self.residents.len() as u64) as usize]
    }

    pub(crate) fn move_in(&self) {
        self.residents.iter().for_each(Resident::move_in);
    }

    /// Lets a plan of faults happen, and waits until it is over.
    pub(crate) async fn endure(&self, plan: &Plan) {
        self.model.disturb();
        self.sim.schedule(plan);
        self.sim.sleep(plan.end() + Duration::from_millis(1)).await;
        self.model.check();
    }

    /// The pairs that should be connected and are not.
    fn missing(&self) -> Vec<(usize, usize)> {
        let mut missing = Vec::new();
        for resident in &self.residents {
            for peer in lock(&resident.home.dials).iter() {
                let other = self.residents.iter().find(|other| Some(other.peer_id()) == peer.peer_id());
                let connected =
                    |a: &Resident, b: &Resident| a.node().is_some_and(|node| node.peer(&b.peer_id()).is_some());
                if let Some(other) = other.filter(|other| !connected(resident, other) || !connected(other, resident)) {
                    missing.push((resident.index, other.index));
                }
            }
        }
        missing
    }

    /// Waits until all who know each other are connected, which must be within `limit` once nothing is wrong.
    pub(crate) async fn connected(&self, limit: Duration) {
        let done = self.sim.eventually(limit, || self.missing().is_empty()).await;
        self.model.check();
        let down: Vec<_> =
            self.residents.iter().filter(|it| it.host.state() != HostState::Up).map(|it| it.index).collect();
        assert!(done, "not connected after {limit:?}: {:?}; hosts that are not up: {down:?}", self.missing());
    }

    /// Nobody speaks from now on.
    pub(crate) fn silence(&self) {
        // The receivers are in the world's tasks; where none is left, nobody speaks anyway.
        let _ = self.speak.send(false);
    }

    /// Nobody speaks, and all that was said between those who are connected has arrived.
    pub(crate) async fn quiet(&self) {
        self.silence();
        let done = self.sim.eventually(QUIET, || self.model.under_way().is_none()).await;
        self.model.check();
        assert!(done, "not arrived after {QUIET:?}: {:?}", self.model.under_way());
    }

    /// Shuts all nodes down at once, looks whether anything is left, and closes the world.
    pub(crate) async fn dissolve(self) -> Outcome {
        let leaving = self.residents.iter().map(Resident::move_out);
        futures_util::future::join_all(leaving).await;
        // Whoever listens to events learns of the end.
        self.sim.sleep(Duration::from_secs(1)).await;
        self.model.check();
        for resident in &self.residents {
            assert_eq!(resident.host.live_tasks(), 0, "node {} left tasks", resident.index);
        }
        let report = self.sim.report();
        assert_eq!(report.panics, 0, "tasks panicked");
        Outcome {
            hash: report.hash,
            events: report.events,
            packets: report.packets,
            messages: self.model.delivered(),
            simulated: report.time,
        }
    }
}
