//! Who can be reached and who cannot, and whether nodes know that of themselves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport as Carrier};
use p2p::kademlia::{ClientReason, Dht, Joined, Mode};
use p2p::{Config, Node};
use p2p_sim::{Latency, Link, Nat, NatBehavior, NatConfig, Sim, Transport};

use super::tell;
use crate::components::components;
use crate::talk::Manner;
use crate::town::{Outcome, Resident, Style, Town};

const SECOND: Duration = Duration::from_secs(1);

/// How soon one server and its clients are a network.
const SOON: Duration = Duration::from_secs(2);

/// How soon everybody knows whether it is reached: the longest that others try, and a second round of asking.
const KNOWN: Duration = Duration::from_secs(45);

/// How long what is true must stay so.
const LATER: Duration = Duration::from_secs(400);

/// The port of quic in a town.
const QUIC: u16 = 4003;

fn style() -> Style {
    let config =
        Config { ping_interval: 10 * SECOND, ping_timeout: 10 * SECOND, outbound_slots: 8, ..Config::default() };
    let manner = Manner { pause: 2 * SECOND..8 * SECOND, size: 16..1000 };
    Style { protocols: 1, manner, config, dht: true }
}

/// Round trips of 10 to 80 ms, and nothing is lost.
fn lines(sim: &Sim) {
    let one_way = Duration::from_millis(5 + sim.runtime().random_u64() % 36);
    sim.network().set_default_link(Link::WAN.latency(Latency::Fixed(one_way)));
}

fn node(resident: &Resident) -> Arc<Node> {
    resident.node().unwrap_or_else(|| panic!("node {} does not run", resident.index))
}

fn dht(resident: &Resident) -> Dht {
    node(resident).dht().expect("it has a DHT")
}

fn knows(resident: &Resident, other: &Resident) -> bool {
    dht(resident).contacts().iter().any(|record| record.peer_id() == other.peer_id())
}

fn connected(one: &Resident, other: &Resident) -> bool {
    node(one).peer(&other.peer_id()).is_some()
}

fn mode(resident: &Resident) -> Option<Mode> {
    Some(resident.node()?.dht()?.mode())
}

/// What came of joining, which must be known in time.
async fn joined(town: &Town, resident: &Resident) -> Joined {
    let dht = dht(resident);
    let joined = town.sim.runtime().timeout(KNOWN, dht.joined()).await;
    joined.unwrap_or_else(|_| panic!("node {} does not know after {KNOWN:?}", resident.index)).expect("it runs")
}

/// Only over quic, where one socket listens and could dial.
fn only_quic(config: Config) -> Config {
    let quic = config.listen_endpoints.into_iter().filter(|at| at.transport() == Carrier::Quic).collect();
    Config { listen_endpoints: quic, ..config }
}

/// Without any endpoint: it asks, and is never asked.
fn nowhere(config: Config) -> Config {
    Config { listen_endpoints: Vec::new(), discovery_endpoints: Vec::new(), ..config }
}

fn at(transport: Carrier, ip: IpAddr, port: u16) -> Endpoint {
    Endpoint::new(transport, ip, port)
}

/// The first deployment that everybody tries, in all its forms.
pub(super) fn one_server(sim: Sim) -> Outcome {
    lines(&sim);
    let draw = |bound: u64| sim.runtime().random_u64() % bound;
    let (size, form, pure) = (3 + draw(4) as usize, draw(5), draw(4) == 0);
    let nat = (form == 3).then(|| sim.nat(NatConfig::one_to_one()));
    let town = Town::of(sim.clone(), size, &style(), |index, host, _| match (&nat, form) {
        (Some(nat), _) if index == 0 => host.behind(nat),
        // A network at home.
        (_, 4) => host.addresses([IpAddr::from([192, 168, 0, 10 + index as u8])]),
        _ => host,
    });
    let server = &town.residents[0];
    let ip = nat.as_ref().map_or(server.host.ipv4(), |nat| nat.outer(server.host.ipv4()));
    if form != 0 {
        server.listen_anywhere();
    }
    if form == 2 || form == 3 {
        server.set_up(move |config| Config { public_ip: Some(ip), ..config });
    }
    let clients = &town.residents[1..];
    for (n, client) in clients.iter().enumerate() {
        let quic = at(Carrier::Quic, ip, QUIC).with_peer_id(server.peer_id());
        let tls = at(Carrier::Tls, ip, 4002).with_peer_id(server.peer_id());
        client.keep(vec![if draw(2) == 0 { quic } else { tls }]);
        if draw(2) == 0 {
            client.listen_anywhere();
        }
        match draw(3) {
            // The last listens nowhere in some towns, and in others nobody does.
            0 if n + 1 == clients.len() => client.set_up(nowhere),
            _ if pure => client.set_up(nowhere),
            1 => client.set_up(only_quic),
            _ => {}
        }
    }
    let alone = Duration::from_millis([0, 500, 60_000][draw(3) as usize]);
    tell(town, |town| async move {
        let (server, clients) = (&town.residents[0], &town.residents[1..]);
        server.move_in();
        town.sim.sleep(alone + SECOND).await;
        assert_eq!(dht(server).joined().await.expect("it runs"), Joined::First, "nobody is there");
        clients.iter().for_each(Resident::move_in);
        let listens = |it: &&Resident| !node(it).listen_endpoints().is_empty();
        let whole = || {
            clients.iter().all(|it| it.node().is_some())
                && mode(server) == Some(Mode::Server)
                && clients.iter().all(|it| knows(it, server) && connected(it, server))
                && clients.iter().filter(listens).all(|it| mode(it) == Some(Mode::Server) && knows(server, it))
                && clients
                    .iter()
                    .filter(listens)
                    .all(|it| clients.iter().filter(listens).all(|other| it.index == other.index || knows(it, other)))
                && components(town.residents.iter().map(|it| (it.peer_id(), node(it).peer_ids()))) == 1
        };
        let began = town.sim.now();
        let done = town.sim.eventually(SOON, whole).await;
        town.model.check();
        if !done {
            let late = town.sim.eventually(60 * SECOND, whole).await;
            let all: Vec<_> =
                town.residents.iter().map(|it| (mode(it), node(it).peers(), dht(it).contacts().len())).collect();
            panic!(
                "form {form}: no network within {SOON:?} (whole later: {late}, {:?}): {all:?}",
                town.sim.now() - began
            );
        }
        assert_eq!(dht(server).joined().await.expect("it runs"), Joined::Server);
        for client in clients {
            let joined = dht(client).joined().await.expect("it runs");
            let expected = if listens(&client) { Joined::Server } else { Joined::Client(ClientReason::NotListening) };
            assert_eq!(joined, expected, "node {}", client.index);
        }
        town.quiet().await;
        town.dissolve().await
    })
}

/// What stands before a node, and whether strangers reach it.
struct Door {
    nat: Nat,
    open: bool,
}

/// A town in which the first `public` nodes can be reached, and each of the others is behind a door.
fn behind_doors(sim: &Sim, public: usize, doors: &[Door]) -> Town {
    let town = Town::behind(sim.clone(), public + doors.len(), &style(), |index, _| {
        index.checked_sub(public).map(|n| doors[n].nat.clone())
    });
    for resident in &town.residents {
        let known = town.residents[..resident.index.min(public)].iter().map(|it| it.endpoint(Carrier::Quic));
        resident.keep(known.collect());
        resident.set_up(only_quic);
    }
    town
}

/// Those behind open doors become servers and the others do not; nobody is told of the latter; and all know it of
/// themselves.
async fn truth(town: &Town, public: usize, doors: &[Door]) {
    let (outside, inside) = town.residents.split_at(public);
    outside.iter().for_each(Resident::move_in);
    town.sim.sleep(SECOND).await;
    for resident in inside {
        resident.move_in();
        town.sim.sleep(Duration::from_millis(town.draw(1500))).await;
    }
    let expected = |it: &Resident| match it.index.checked_sub(public) {
        Some(n) if !doors[n].open => Mode::Client,
        _ => Mode::Server,
    };
    // Nobody who cannot be reached calls itself a server, or is handed out as one, not even for a moment.
    let false_server = || {
        let closed = inside.iter().filter(|it| expected(it) == Mode::Client);
        let told = |it: &&Resident| town.residents.iter().any(|other| other.node().is_some() && knows(other, it));
        closed.filter(|it| it.node().is_some()).find(|it| mode(it) == Some(Mode::Server) || told(it)).map(|it| it.index)
    };
    let settled = || town.residents.iter().all(|it| mode(it) == Some(expected(it)));
    let done = town.sim.eventually(KNOWN, || false_server().is_some() || settled()).await;
    assert_eq!(false_server(), None, "it cannot be reached, and is a server");
    let modes: Vec<_> = town.residents.iter().map(|it| (mode(it), expected(it))).collect();
    assert!(done, "after {KNOWN:?}, and what was expected: {modes:?}");
    for resident in &town.residents {
        let joined = joined(town, resident).await;
        match expected(resident) {
            Mode::Server => assert_eq!(joined, Joined::Server, "node {}", resident.index),
            Mode::Client => {
                let tried = matches!(&joined, Joined::Client(ClientReason::Unreached { tried }) if !tried.is_empty());
                assert!(tried, "node {}: {joined:?}", resident.index);
            }
        }
    }
    let began = town.sim.now();
    while town.sim.now() - began < LATER {
        town.sim.sleep(SECOND / 2).await;
        assert_eq!(false_server(), None, "it cannot be reached, and became a server");
    }
    let servers = || town.residents.iter().filter(|it| expected(it) == Mode::Server);
    for resident in &town.residents {
        for other in servers().filter(|it| it.index != resident.index) {
            assert!(knows(resident, other), "node {} does not know node {}", resident.index, other.index);
        }
    }
}

pub(super) fn kept_ports(sim: Sim) -> Outcome {
    lines(&sim);
    let draw = |bound: u64| sim.runtime().random_u64() % bound;
    let (public, hidden) = (1 + draw(3) as usize, 2 + draw(3) as usize);
    let filtering = [NatBehavior::AddressAndPortDependent, NatBehavior::AddressDependent];
    let doors: Vec<Door> = (0..hidden)
        .map(|n| {
            let config = NatConfig {
                filtering: filtering[draw(2) as usize],
                udp_timeout: [30 * SECOND, 120 * SECOND][draw(2) as usize],
                hairpin: draw(2) == 0,
                ..NatConfig::keeping_ports()
            };
            // The first is one whose owner has forwarded the port.
            Door { nat: sim.nat(config), open: n == 0 && draw(2) == 0 }
        })
        .collect();
    let town = behind_doors(&sim, public, &doors);
    for (door, resident) in doors.iter().zip(&town.residents[public..]) {
        resident.listen_anywhere();
        if door.open {
            door.nat.forward(Transport::Udp, QUIC, (resident.host.ipv4(), QUIC).into());
        }
    }
    tell(town, |town| async move {
        truth(&town, public, &doors).await;
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn firewall(sim: Sim) -> Outcome {
    lines(&sim);
    let draw = |bound: u64| sim.runtime().random_u64() % bound;
    let (public, hidden) = (1 + draw(3) as usize, 2 + draw(3) as usize);
    let filtering = [NatBehavior::AddressAndPortDependent, NatBehavior::AddressDependent];
    let doors: Vec<Door> = (0..hidden)
        .map(|n| {
            let config = NatConfig { filtering: filtering[draw(2) as usize], ..NatConfig::firewall() };
            Door { nat: sim.nat(config), open: n == 0 && draw(2) == 0 }
        })
        .collect();
    let town = behind_doors(&sim, public, &doors);
    for (door, resident) in doors.iter().zip(&town.residents[public..]) {
        if draw(2) == 0 {
            resident.listen_anywhere();
        }
        if door.open {
            let here = (resident.host.ipv4(), QUIC).into();
            door.nat.forward(Transport::Udp, QUIC, here);
        }
    }
    tell(town, |town| async move {
        truth(&town, public, &doors).await;
        town.quiet().await;
        town.dissolve().await
    })
}

/// How a node comes to be elsewhere than it is seen.
const FORMS: u64 = 5;

pub(super) fn told_elsewhere(sim: Sim) -> Outcome {
    lines(&sim);
    let draw = |bound: u64| sim.runtime().random_u64() % bound;
    let (public, form) = (1 + draw(3) as usize, draw(FORMS));
    let second = IpAddr::from([77, 7, 7, 7]);
    let nat = match form {
        0 => Some(sim.nat(NatConfig::one_to_one())),
        2 => Some(sim.nat(NatConfig::keeping_ports())),
        _ => None,
    };
    let town = Town::of(sim.clone(), public + 1, &style(), |index, host, _| match (&nat, form) {
        _ if index < public => host,
        (Some(nat), _) => host.behind(nat),
        // Two addresses, of which dials leave from the first.
        (None, 1 | 3) => host.addresses([IpAddr::from([77, 7, 7, 6]), second]),
        _ => host,
    });
    let told = &town.residents[public];
    let inner = told.host.ipv4();
    for resident in &town.residents {
        let known = town.residents[..resident.index.min(public)].iter().map(|it| it.endpoint(Carrier::Quic));
        resident.keep(known.collect());
    }
    told.listen_anywhere();
    let (truly, port) = match (&nat, form) {
        (Some(nat), 0) => {
            let outer = nat.outer(inner);
            told.set_up(move |config| only_quic(Config { public_ip: Some(outer), ..config }));
            (Some(outer), QUIC)
        }
        (Some(nat), _) => {
            nat.forward(Transport::Udp, 9003, (inner, QUIC).into());
            let outside = at(Carrier::Quic, nat.address(), 9003);
            told.set_up(move |config| only_quic(Config { external_endpoints: vec![outside.clone()], ..config }));
            (Some(nat.address()), 9003)
        }
        (None, 1) => {
            told.set_up(move |config| only_quic(Config { public_ip: Some(second), ..config }));
            (Some(second), QUIC)
        }
        (None, 3) => {
            // It listens there, and nowhere else.
            told.set_up(move |config| Config {
                listen_endpoints: vec![at(Carrier::Quic, second, QUIC)],
                discovery_endpoints: vec![at(Carrier::Udp, second, 4004)],
                ..config
            });
            (Some(second), QUIC)
        }
        // The operator is mistaken: nobody is there.
        _ => {
            told.set_up(move |config| only_quic(Config { public_ip: Some(second), ..config }));
            (None, QUIC)
        }
    };
    tell(town, |town| async move {
        let (others, told) = (&town.residents[..public], &town.residents[public]);
        others.iter().for_each(Resident::move_in);
        town.sim.sleep(2 * SECOND).await;
        told.move_in();
        assert!(town.sim.eventually(SECOND, || told.node().is_some()).await, "it starts");
        let joined = joined(&town, told).await;
        let Some(ip) = truly else {
            let tried = at(Carrier::Quic, second, QUIC).with_peer_id(told.peer_id());
            assert_eq!(joined, Joined::Client(ClientReason::Unreached { tried: vec![tried] }), "form {form}");
            town.sim.sleep(LATER).await;
            assert!(mode(told) == Some(Mode::Client) && others.iter().all(|it| !knows(it, told)), "nobody is there");
            town.quiet().await;
            return town.dissolve().await;
        };
        assert_eq!(joined, Joined::Server, "form {form}");
        let record = dht(told).record().expect("a server has one");
        let first = record.addrs()[0].endpoint.clone().with_peer_id(None);
        assert_eq!(first, at(Carrier::Quic, ip, port), "form {form}");
        let known = || others.iter().all(|it| knows(it, told) || connected(it, told));
        assert!(town.sim.eventually(KNOWN, known).await, "form {form}: others do not find it");
        // Who has not heard of it finds it, and reaches it where it says.
        for other in others {
            let found = dht(other).find_peer(&told.peer_id()).await.expect("the DHT runs");
            assert_eq!(found.map(|record| record.peer_id()), Some(told.peer_id()), "form {form}");
            let reached = node(other).connect_peer(&told.peer_id()).await;
            assert!(reached.is_ok(), "form {form}: {reached:?}");
        }
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn one_router(sim: Sim) -> Outcome {
    lines(&sim);
    let draw = |bound: u64| sim.runtime().random_u64() % bound;
    let (public, home) = (1 + draw(2) as usize, 2 + draw(2) as usize);
    let forwarded = draw(2) == 0;
    let router = sim.nat(NatConfig { hairpin: false, ..NatConfig::keeping_ports() });
    let other_router = sim.nat(NatConfig::keeping_ports());
    // The last is at home elsewhere, with the same private address as the first of the others.
    let town = Town::behind(sim.clone(), public + home + 1, &style(), |index, _| match index {
        index if index < public => None,
        index if index < public + home => Some(router.clone()),
        _ => Some(other_router.clone()),
    });
    for resident in &town.residents {
        let known = town.residents[..resident.index.min(public)].iter().map(|it| it.endpoint(Carrier::Quic));
        resident.keep(known.collect());
        resident.set_up(only_quic);
        resident.listen_anywhere();
    }
    if draw(3) == 0 {
        // One of them takes no connections, and dials the others.
        town.residents[public + home - 1].set_up(nowhere);
    }
    let first = &town.residents[public];
    if forwarded {
        // One of them is a server for those outside.
        router.forward(Transport::Udp, QUIC, (first.host.ipv4(), QUIC).into());
    }
    tell(town, |town| async move {
        let (outside, home_and_stranger) = town.residents.split_at(public);
        let (home, stranger) = home_and_stranger.split_at(home);
        outside.iter().chain(stranger).for_each(Resident::move_in);
        town.sim.sleep(5 * SECOND).await;
        home[0].move_in();
        town.sim.sleep(Duration::from_millis(town.draw(20_000))).await;
        home[1..].iter().for_each(Resident::move_in);
        let met = || {
            home.iter().all(|it| it.node().is_some())
                && home.iter().all(|it| home.iter().all(|other| it.index == other.index || connected(it, other)))
        };
        let done = town.sim.eventually(SOON, met).await;
        let peers: Vec<_> = home.iter().map(|it| it.node().map(|node| node.peers())).collect();
        assert!(done, "forwarded: {forwarded}; they do not meet behind their router: {peers:?}");
        // Where they are there is told to nobody else.
        let home_ips: Vec<IpAddr> = home.iter().map(|it| it.host.ipv4()).collect();
        for other in outside.iter().chain(stranger) {
            for it in home {
                assert!(dht(other).nearby(&it.peer_id()).is_empty(), "node {} was told", other.index);
                let found = dht(other).find_peer(&it.peer_id()).await.expect("the DHT runs");
                let told = found.iter().flat_map(|record| record.addrs().iter().chain(record.discovery_addrs()));
                let mut inside = told.filter_map(|addr| addr.endpoint.addr().ip()).filter(|ip| home_ips.contains(ip));
                assert_eq!(inside.next(), None, "node {} was told", other.index);
            }
        }
        for it in home {
            assert!(dht(it).nearby(&stranger[0].peer_id()).is_empty());
        }
        town.quiet().await;
        town.dissolve().await
    })
}
