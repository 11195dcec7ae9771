//! Machines that change networks, and machines that sleep.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use p2p::endpoint::Transport;
use p2p::{Config, ConnectionId, Direction, PeerId, PeerInfo};
use p2p_sim::{Fault, Plan, Sim};

use super::tell;
use crate::talk::Manner;
use crate::town::{Outcome, RECOVERY, Resident, Style, Town};

const SECOND: Duration = Duration::from_secs(1);

/// How soon a node that moved has its peers back when it is told, and when it has to notice by itself.
const TOLD: Duration = Duration::from_secs(3);
const UNAIDED: Duration = Duration::from_secs(13);

/// What it may take to dial a peer again, once the network is there.
const REDIAL: Duration = Duration::from_secs(30);

/// Times as they are by default: quick pings would hide how long a dead connection is held.
fn style() -> Style {
    Style { config: Config::default(), ..Style::default() }
}

/// An address that no host has.
pub(super) fn elsewhere(town: &Town) -> IpAddr {
    IpAddr::from([151, 1 + town.draw(200) as u8, town.draw(250) as u8, 10])
}

/// Its connections, each with whether it goes along to another address.
fn connections(resident: &Resident) -> BTreeMap<PeerId, (ConnectionId, bool)> {
    let Some(node) = resident.node() else { return BTreeMap::new() };
    let moves = |peer: &PeerInfo| peer.direction == Direction::Outbound && peer.endpoint.transport() == Transport::Quic;
    let peers = node.peer_ids().into_iter().filter_map(|id| node.peer(&id));
    peers.map(|peer| (peer.peer_id, (peer.connection_id, moves(&peer)))).collect()
}

pub(super) fn moved(sim: Sim) -> Outcome {
    let town = Town::new(sim, 5, &style());
    town.acquaint(4);
    // It listens on whatever address there is; the others can be dialed, as it knows from them or from its settings.
    let mover = town.draw(5) as usize;
    town.residents[mover].listen_anywhere();
    tell(town, |town| async move {
        let mover = &town.residents[mover];
        town.move_in();
        town.connected(RECOVERY).await;
        town.sim.sleep(Duration::from_millis(town.draw(60_000))).await;
        town.model.disturb();
        for _ in 0..3 {
            let before = connections(mover);
            let held: Vec<_> = town.residents.iter().map(|it| connections(it).remove(&mover.peer_id())).collect();
            let told = town.draw(2) == 0;
            mover.host.move_to([elsewhere(&town)]);
            if told {
                mover.node().expect("it runs").network_changed();
            }
            // Both sides have a new connection, the other one in place of that which it still held.
            let is_back = |other: &Resident, (old, moves): (ConnectionId, bool)| {
                let here = connections(mover).remove(&other.peer_id());
                let there = connections(other).remove(&mover.peer_id());
                let stayed = moves && here.is_some_and(|(id, _)| id == old);
                stayed || (here.is_some_and(|(id, _)| id != old) && there.is_some() && there != held[other.index])
            };
            let missing = || -> Vec<usize> {
                let peers = town.residents.iter().filter_map(|it| Some((it, *before.get(&it.peer_id())?)));
                peers.filter(|(other, before)| !is_back(other, *before)).map(|(other, _)| other.index).collect()
            };
            let limit = if told { TOLD } else { UNAIDED };
            let done = town.sim.eventually(limit, || missing().is_empty()).await;
            town.model.check();
            assert!(done, "node {} has no peers {:?} after {limit:?}", mover.index, missing());
            town.sim.sleep(Duration::from_millis(town.draw(20_000))).await;
        }
        town.connected(Duration::ZERO).await;
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn slept(sim: Sim) -> Outcome {
    // Hours pass: a word now and then is enough.
    let manner = Manner { pause: 5 * SECOND..30 * SECOND, size: 16..10_000 };
    let town = Town::new(sim, 3, &Style { protocols: 1, manner, ..style() });
    town.acquaint(2);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        for _ in 0..2 {
            let sleeper = town.pick().host.id();
            let config = style().config;
            let asleep =
                Duration::from_millis(1_000 + town.draw([60_000, 3_600_000, 4 * 3_600_000][town.draw(3) as usize]));
            let mut plan = Plan::new()
                .at(SECOND, Fault::Partition(vec![vec![sleeper]]))
                .at(SECOND, Fault::Pause(sleeper))
                .at(SECOND + asleep, Fault::Heal)
                .at(SECOND + asleep, Fault::Resume(sleeper));
            if town.draw(2) == 0 {
                // As if monotonic time had stood still for all but this.
                plan = plan.at(SECOND + asleep, Fault::StepClock { host: sleeper, seconds: 3600 });
            }
            town.endure(&plan).await;
            town.connected(config.ping_interval + config.ping_timeout + REDIAL).await;
            town.sim.sleep(Duration::from_millis(town.draw(20_000))).await;
        }
        town.quiet().await;
        town.dissolve().await
    })
}

/// One side loses a connection that the other still holds, and dials again.
pub(super) fn redial(sim: Sim) -> Outcome {
    let town = Town::new(sim, 2, &style());
    tell(town, |town| async move {
        town.move_in();
        let (one, other) = (&town.residents[0], &town.residents[1]);
        let up = || one.node().is_some() && other.node().is_some();
        assert!(town.sim.eventually(SECOND, up).await, "two nodes start");
        let (a, b) = (one.node().expect("it is up"), other.node().expect("it is up"));
        town.model.disturb();
        let mut times_held = 0;
        for round in 0..6 {
            let endpoint = other.endpoint([Transport::Tcp, Transport::Tls, Transport::Quic][round % 3]);
            // Over tcp a dial without an id learns who is there from the handshake.
            let endpoint = if town.draw(2) == 0 { endpoint } else { endpoint.with_peer_id(None) };
            a.connect(&endpoint).await.unwrap_or_else(|error| panic!("round {round}: {endpoint}: {error}"));
            let agreed = || (a.peers(), b.peers()) == (1, 1);
            assert!(town.sim.eventually(SECOND, agreed).await, "round {round}: both are connected");
            town.sim.sleep(Duration::from_millis(town.draw(3_000))).await;

            town.sim.network().block(&one.host, &other.host);
            a.disconnect(&b.peer_id(), 7, "it cannot hear this").await;
            assert_eq!(a.peers(), 0, "round {round}: this side knows");
            // A ping may have come just in time to tell the other side.
            let held = b.peer(&a.peer_id()).map(|peer| peer.connection_id);
            times_held += usize::from(held.is_some());
            town.sim.network().unblock(&one.host, &other.host);
            let began = town.sim.now();
            let connected = a.connect(&endpoint).await;
            let took = town.sim.now() - began;
            assert!(connected.is_ok() && took < 2 * SECOND, "round {round}: {endpoint}: {connected:?} after {took:?}");
            let agreed = || b.peer(&a.peer_id()).is_some_and(|peer| Some(peer.connection_id) != held) && a.peers() == 1;
            assert!(town.sim.eventually(2 * SECOND, agreed).await, "round {round}: both have the new connection");
            a.disconnect(&b.peer_id(), 7, "next round").await;
            let alone = || a.peers() == 0 && b.peers() == 0;
            assert!(town.sim.eventually(10 * SECOND, alone).await, "round {round}: disconnected on both sides");
            town.model.check();
        }
        assert!(times_held > 0, "nothing was tried");
        town.dissolve().await
    })
}
