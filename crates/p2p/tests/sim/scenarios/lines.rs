//! Lines that are cut for a while, lose packets, or are thin or long. Times are as they are by default: quick pings would
//! hide what an outage does.

use std::time::Duration;

use p2p::endpoint::Transport;
use p2p::{Config, ConnectionId, PeerId};
use p2p_sim::{Latency, Link, Sim};

use super::tell;
use crate::talk::Manner;
use crate::town::{Outcome, RECOVERY, Resident, Style, Town};

const SECOND: Duration = Duration::from_secs(1);

fn style() -> Style {
    Style { config: Config::default(), ..Style::default() }
}

/// More than any line here takes, always.
fn bulk() -> Manner {
    Manner { pause: Duration::ZERO..Duration::from_millis(1), size: 50_000..60_000 }
}

/// All connections, by who has them and with whom.
fn connections(town: &Town) -> Vec<(usize, PeerId, ConnectionId)> {
    let of = |resident: &Resident| {
        let node = resident.node().expect("it runs");
        let peers = node.peer_ids().into_iter().filter_map(|id| node.peer(&id));
        peers.map(|peer| (resident.index, peer.peer_id, peer.connection_id)).collect::<Vec<_>>()
    };
    town.residents.iter().flat_map(of).collect()
}

/// Separates each from all others.
fn cut(town: &Town) {
    let alone: Vec<_> = town.residents.iter().map(|resident| [&resident.host]).collect();
    town.sim.network().partition(&alone.iter().map(|host| &host[..]).collect::<Vec<_>>());
}

/// Nothing passes for 8 to 20 seconds: what TCP and QUIC outlive ends no connection. A longer silence does, in time.
pub(super) fn outage(sim: Sim) -> Outcome {
    let town = Town::new(sim, 3, &style());
    town.acquaint(2);
    tell(town, |town| async move {
        let network = town.sim.network();
        town.move_in();
        town.connected(RECOVERY).await;
        town.sim.sleep(10 * SECOND).await;
        let before = connections(&town);
        for _ in 0..2 {
            cut(&town);
            town.sim.sleep(Duration::from_millis(8_000 + town.draw(12_001))).await;
            network.heal();
            // The next retransmission may come as late after the cut as that was long.
            town.sim.sleep(30 * SECOND).await;
            town.model.check();
            assert_eq!(connections(&town), before, "a connection was given up");
        }
        town.model.disturb();
        let pinging = town.residents[0].node().expect("it runs").config().clone();
        let give_up = pinging.ping_interval + pinging.ping_timeout;
        cut(&town);
        town.sim.sleep(give_up - SECOND).await;
        assert_eq!(connections(&town), before, "a connection was given up early");
        let gone = || town.residents.iter().all(|resident| resident.node().is_some_and(|node| node.peers() == 0));
        // One look more, and what was under way at the cut.
        let done = town.sim.eventually(give_up / 8 + 2 * SECOND, gone).await;
        let left = || -> Vec<_> {
            let nodes = town.residents.iter().filter_map(|resident| resident.node());
            nodes.flat_map(|node| node.peer_ids().into_iter().filter_map(move |id| node.peer(&id))).collect()
        };
        assert!(done, "still connected: {:?}", left());
        network.heal();
        town.connected(RECOVERY).await;
        town.quiet().await;
        town.dissolve().await
    })
}

/// One packet in ten is lost in each direction, for five minutes.
pub(super) fn lossy(sim: Sim) -> Outcome {
    let town = Town::new(sim.clone(), 3, &style());
    town.acquaint(2);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        let before = connections(&town);
        town.sim.network().set_default_link(Link::WAN.latency(Latency::Fixed(Duration::from_millis(25))).loss(0.1));
        town.sim.sleep(300 * SECOND).await;
        town.model.check();
        assert_eq!(connections(&town), before, "a connection was given up");
        town.sim.network().set_default_link(Link::WAN);
        town.quiet().await;
        town.dissolve().await
    })
}

/// A hub whose lines to its peers carry 250 kbit/s, with more to say than that on both sides, always.
pub(super) fn slow_uplink(sim: Sim) -> Outcome {
    /// The smoothed round trip of a ping: 50 ms, half a second of queue in each direction, what may lie ahead of it on each
    /// side, and what is left of the first seconds, in which nobody knows how slow the line is.
    const ROUND_TRIP: Duration = Duration::from_secs(3);

    // Pings that come often enough to be measured, for peers that are given up no sooner.
    let config = Config {
        ping_interval: 5 * SECOND,
        ping_timeout: Config::default().ping_interval + Config::default().ping_timeout - 5 * SECOND,
        ..Config::default()
    };
    let town = Town::new(sim, 5, &Style { manner: bulk(), protocols: 2, config, ..style() });
    town.sim.network().set_default_link(Link { queue: 16 << 10, ..Link::WAN.bandwidth(250_000) });
    town.acquaint_with_public(1);
    tell(town, |town| async move {
        town.move_in();
        town.connected(60 * SECOND).await;
        let before = connections(&town);
        town.sim.sleep(120 * SECOND).await;
        town.model.check();
        assert_eq!(connections(&town), before, "a peer was given up");
        let node = town.residents[0].node().expect("it runs");
        for id in node.peer_ids() {
            let peer = node.peer(&id).expect("it is there");
            let rtt = peer.rtt.expect("it was pinged");
            assert!(rtt <= ROUND_TRIP, "a ping took {rtt:?} over {}", peer.endpoint);
        }
        town.sim.network().set_default_link(Link::WAN);
        town.quiet().await;
        town.dissolve().await
    })
}

/// 50 Mbit/s with round trips of 300 to 400 ms: 2 MB and more have to be under way.
pub(super) fn long_fat(sim: Sim) -> Outcome {
    const RATE: u64 = 50_000_000;
    /// What a TCP-like stream of the simulator has under way at most.
    const STREAM_WINDOW: f64 = (1 << 20) as f64;

    let town = Town::new(sim, 2, &Style { manner: bulk(), protocols: 1, ..style() });
    let one_way = Duration::from_millis(150 + town.draw(51));
    let link = Link { queue: 1 << 20, ..Link::WAN.latency(Latency::Fixed(one_way)).bandwidth(RATE) };
    town.sim.network().set_default_link(link);
    town.acquaint(1);
    tell(town, |town| async move {
        town.move_in();
        town.connected(60 * SECOND).await;
        town.sim.sleep(6 * SECOND).await;
        let before = town.model.delivered();
        let measured = 6;
        town.sim.sleep(measured * SECOND).await;
        // Both directions, of messages of 55,000 bytes.
        let rate = (town.model.delivered() - before) as f64 * 55_000.0 / 2.0 / f64::from(measured);
        let node = town.residents[0].node().expect("it runs");
        let peer = node.peer_ids().into_iter().find_map(|id| node.peer(&id)).expect("they are connected");
        let line = RATE as f64 / 8.0;
        let possible = match peer.endpoint.transport() {
            Transport::Quic => line,
            _ => line.min(STREAM_WINDOW / (2 * one_way).as_secs_f64()),
        };
        assert!(
            rate >= 0.65 * possible,
            "{:.1} of {:.1} Mbit/s over {} with {one_way:?} each way",
            rate * 8e-6,
            possible * 8e-6,
            peer.endpoint.transport()
        );
        town.sim.network().set_default_link(Link::WAN);
        town.quiet().await;
        town.dissolve().await
    })
}
