//! A list of peers of which all but one are dead.

use std::net::IpAddr;
use std::time::Duration;

use p2p::discovery::StaticDiscovery;
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::{Config, Node};
use p2p_sim::{Latency, Link, Sim};

use crate::town::Outcome;

/// How many are dead, and within what time the other one is met.
const LISTS: [(u32, Duration); 2] = [(100, Duration::from_secs(2)), (9_999, Duration::from_secs(60))];

/// The one that lives comes after all others, in the order of the list and in that of addresses. The next run has
/// remembered nothing.
pub(super) fn dead(sim: Sim) -> Outcome {
    sim.block_on(async {
        let random = |below: u64| sim.runtime().random_u64() % below;
        sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(Duration::from_millis(1 + random(50)))));
        let transport = [Transport::Tcp, Transport::Tls, Transport::Quic][random(3) as usize];
        let (home, away) = (sim.host("dialer"), sim.host("right"));
        let at = Endpoint::new(transport, away.ipv4(), 4001);
        let config = Config { listen_endpoints: vec![at.clone()], ..Config::default() };
        let right = Node::builder(&KeyPair::from_seed([1; 32])).config(config).runtime(away.runtime());
        let right = right.build().expect("the settings are valid");
        right.run().await.expect("it can listen");
        for (dead, within) in LISTS {
            for listed in [false, true] {
                let nowhere = |n: u32| Endpoint::new(transport, IpAddr::from((0xc612_0000 + n).to_be_bytes()), 4001);
                let mut list: Vec<Endpoint> = (0..dead).map(nowhere).collect();
                list.push(at.clone());
                let builder = Node::builder(&KeyPair::from_seed([2; 32])).runtime(home.runtime());
                let builder = match listed {
                    true => builder.discovery(StaticDiscovery::new(list)).config(Config::default()),
                    false => builder.config(Config { dial_peers: list, ..Config::default() }),
                };
                let dialer = builder.build().expect("the settings are valid");
                let began = sim.now();
                dialer.run().await.expect("it listens nowhere");
                let met = sim.eventually(2 * within, || dialer.peer(&right.peer_id()).is_some()).await;
                let took = sim.now() - began;
                assert!(met && took <= within, "{transport}, {dead} dead, listed {listed}: met {met} after {took:?}");
                dialer.shutdown().await;
            }
        }
        right.shutdown().await;
    });
    let report = sim.report();
    assert_eq!(report.panics, 0, "tasks panicked");
    Outcome { hash: report.hash, events: report.events, packets: report.packets, messages: 0, simulated: report.time }
}
