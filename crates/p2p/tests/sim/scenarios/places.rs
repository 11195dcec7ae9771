//! A node with few slots: peers that it keeps, that it finds and that it is asked for restart and leave.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use p2p::discovery::StaticDiscovery;
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::{Config, Node, PeerId};
use p2p_sim::{Host, Sim};

use crate::town::Outcome;

/// What befalls one world.
const ROUNDS: usize = 12;

/// How late a peer that was away is dialed at most: the longest wait, and a dial that has begun before it came back.
const LATE: Duration = Duration::from_secs(45);

/// How long the others are away at most, in seconds.
const AWAY: u64 = 60;

/// One of the others: its host and key stay.
struct Other {
    host: Host,
    key: KeyPair,
    transport: Transport,
    node: Arc<Node>,
}

impl Other {
    async fn new(sim: &Sim, n: u8) -> Self {
        let transport = [Transport::Tcp, Transport::Tls, Transport::Quic][usize::from(n % 3)];
        let (host, key) = (sim.host(format!("other{n}")), KeyPair::from_seed([n + 1; 32]));
        let node = start(&host, &key, transport).await;
        Self { host, key, transport, node }
    }

    fn id(&self) -> PeerId {
        self.key.peer_id()
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.transport, self.host.ipv4(), 4001)
    }

    async fn restart(&mut self, sim: &Sim, away: Duration) {
        self.node.shutdown().await;
        sim.sleep(away).await;
        self.node = start(&self.host, &self.key, self.transport).await;
    }
}

async fn start(host: &Host, key: &KeyPair, transport: Transport) -> Arc<Node> {
    let config = Config { listen_endpoints: vec![Endpoint::new(transport, host.ipv4(), 4001)], ..Config::default() };
    let node = Node::builder(key).config(config).runtime(host.runtime()).build().expect("the settings are valid");
    node.run().await.expect("it can listen");
    node
}

async fn others(sim: &Sim, from: u8, count: u64) -> Vec<Other> {
    let mut others = Vec::new();
    for n in 0..count as u8 {
        others.push(Other::new(sim, from + n).await);
    }
    others
}

/// Those of them that are connected.
fn present(node: &Node, of: &[Other]) -> BTreeSet<PeerId> {
    of.iter().map(Other::id).filter(|id| node.peer(id).is_some()).collect()
}

pub(super) fn places(sim: Sim) -> Outcome {
    sim.block_on(async {
        let random = |below: u64| sim.runtime().random_u64() % below;
        let slots = 1 + random(3);
        let mut kept = others(&sim, 0, 1 + random(slots + 3)).await;
        let mut found = others(&sim, 50, slots + random(4)).await;
        let asked = others(&sim, 100, slots + 1).await;
        let host = sim.host("keeper");
        let config = Config {
            outbound_slots: slots as usize,
            dial_peers: kept.iter().map(Other::endpoint).collect(),
            ..Config::default()
        };
        let list = StaticDiscovery::new(found.iter().map(Other::endpoint));
        let keeper = Node::builder(&KeyPair::from_seed([255; 32])).config(config).runtime(host.runtime());
        let keeper = keeper.discovery(list).build().expect("the settings are valid");
        keeper.run().await.expect("it listens nowhere");
        for round in 0..ROUNDS {
            let away = Duration::from_secs(random(AWAY));
            match random(4) {
                0 => {
                    let one = random(kept.len() as u64) as usize;
                    kept[one].restart(&sim, away).await;
                }
                1 => {
                    let one = random(found.len() as u64) as usize;
                    found[one].restart(&sim, away).await;
                }
                2 => {
                    let one = &asked[random(asked.len() as u64) as usize];
                    let others = present(&keeper, &asked);
                    let has_room = (others.len() as u64) < slots || others.contains(&one.id());
                    let told = keeper.connect(&one.endpoint()).await;
                    assert_eq!(told.is_ok(), has_room, "round {round}: {told:?} beside {}", others.len());
                }
                _ => {
                    let one = &asked[random(asked.len() as u64) as usize];
                    keeper.disconnect(&one.id(), 1, "enough").await;
                }
            }
            let all = || present(&keeper, &kept).len() == kept.len();
            assert!(sim.eventually(LATE, all).await, "round {round}: not all are kept");
            let rest = || (present(&keeper, &found).len() + present(&keeper, &asked).len()) as u64;
            // A peer that is evicted takes a moment to leave.
            assert!(sim.eventually(LATE, || rest() <= slots).await, "round {round}: {} in {slots} slots", rest());
        }
        keeper.shutdown().await;
        for other in kept.iter().chain(&found).chain(&asked) {
            other.node.shutdown().await;
        }
    });
    let report = sim.report();
    assert_eq!(report.panics, 0, "tasks panicked");
    Outcome { hash: report.hash, events: report.events, packets: report.packets, messages: 0, simulated: report.time }
}
