//! A node that the DHT has found out the address of, and that moves.

use std::net::IpAddr;

use p2p::endpoint::PeerRecord;
use p2p::kademlia::Mode;

use super::super::moved::elsewhere;
use super::*;

const NODES: usize = 7;
const OUTBOUND: usize = 3;

/// How soon the node knows its new address, and how soon others do: those who look it up, and those who look for what it
/// provides.
const KNOWN: Duration = Duration::from_secs(15);
const FOUND: Duration = Duration::from_secs(60);

/// Where a record says that its node is, each address once.
fn places(record: &PeerRecord) -> Vec<IpAddr> {
    let all = record.discovery_addrs().iter().chain(record.addrs());
    let mut places: Vec<_> = all.filter_map(|addr| addr.endpoint.addr().ip()).collect();
    places.dedup();
    places
}

pub(crate) fn moved(sim: Sim) -> Outcome {
    let town = Town::new(sim, NODES, &style(OUTBOUND));
    town.acquaint_with_public(1);
    let index = 1 + town.draw(NODES as u64 - 1) as usize;
    town.residents[index].listen_anywhere();
    tell(town, |town| async move {
        let mover = &town.residents[index];
        move_in(&town).await;
        whole(&town, &town.residents, &town.residents, RECOVERY).await;
        let learned = || dht(mover).mode() == Mode::Server;
        assert!(town.sim.eventually(SETTLED, learned).await, "who can be reached becomes a server");
        let key = Key::of_value(b"what it has");
        let _providing = dht(mover).provide(key).await.expect("others take it");
        town.sim.sleep(Duration::from_millis(town.draw(60_000))).await;
        town.model.disturb();
        for _ in 0..2 {
            let new = elsewhere(&town);
            mover.host.move_to([new]);
            if town.draw(2) == 0 {
                node(mover).network_changed();
            }
            let moved = town.sim.now();
            let known = || dht(mover).record().is_some_and(|record| places(&record) == [new]);
            let done = town.sim.eventually(KNOWN, known).await;
            let says = dht(mover).record().map(|record| places(&record));
            assert!(done, "node {index} is at {new}, and after {KNOWN:?} it says {says:?}");
            for other in town.residents.iter().filter(|it| it.index != index) {
                // Whoever asks by then is told of the new address, and of no other.
                let left = FOUND.saturating_sub(town.sim.now() - moved);
                let found = async {
                    loop {
                        let looked_up = dht(other).find_peer(&mover.peer_id()).await.expect("the DHT runs");
                        let mut providers = dht(other).providers(&key).expect("the DHT runs");
                        let mut provided = None;
                        while let Some(record) = providers.next().await {
                            provided = provided.or(Some(record).filter(|record| record.peer_id() == mover.peer_id()));
                        }
                        let there = |record: &Option<PeerRecord>| record.as_ref().map(places) == Some(vec![new]);
                        if there(&looked_up) && there(&provided) {
                            return;
                        }
                        town.sim.sleep(SECOND).await;
                    }
                };
                let done = town.sim.runtime().timeout(left, found).await;
                assert!(done.is_ok(), "node {} does not find node {index} at {new} after {FOUND:?}", other.index);
            }
            whole(&town, &town.residents, &town.residents, RECOVERY).await;
            town.model.check();
        }
        town.quiet().await;
        town.dissolve().await
    })
}
