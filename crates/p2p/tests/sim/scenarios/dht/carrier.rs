//! Nodes whose addresses a carrier gave out, all of one /24 of the shared space.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;

const NODES: usize = 30;
const OUTBOUND: usize = 4;

/// As many as one answer holds.
const PROVIDERS: usize = 20;

/// Where the carrier begins to count.
const FIRST: u8 = 10;

pub(crate) fn carrier(sim: Sim) -> Outcome {
    let network = 64 + (sim.runtime().random_u64() % 64) as u8;
    let town = Town::of(sim, NODES, &style(OUTBOUND), |index, host, _| {
        host.addresses([IpAddr::from([100, network, 7, FIRST + index as u8])])
    });
    town.acquaint_with_public(1);
    tell(town, |town| async move {
        move_in(&town).await;
        let lonely = || town.residents.iter().filter(|it| it.node().is_none_or(|node| node.peers() == 0)).count();
        let done = town.sim.eventually(SETTLED, || lonely() == 0).await;
        assert!(done, "{} nodes have no peers after {SETTLED:?}", lonely());
        for asker in town.residents.iter().step_by(NODES / 3) {
            for other in town.residents.iter().filter(|it| it.index != asker.index) {
                let found = dht(asker).find_peer(&other.peer_id()).await.expect("it runs");
                let found = found.map(|record| record.peer_id());
                assert_eq!(found, Some(other.peer_id()), "node {} does not find node {}", asker.index, other.index);
            }
        }
        let item = Key::of_value(b"a service that many of them offer");
        let mut provided = Vec::new();
        for resident in &town.residents[..PROVIDERS] {
            let provided_here = dht(resident).provide(item).await;
            provided.push(provided_here.unwrap_or_else(|error| panic!("node {}: {error}", resident.index)));
        }
        for resident in &town.residents {
            let mut providers = dht(resident).providers(&item).expect("it runs");
            let mut found = BTreeSet::new();
            while let Some(provider) = providers.next().await {
                found.insert(provider.peer_id());
            }
            assert_eq!(found.len(), PROVIDERS, "node {} does not find all of them", resident.index);
        }
        drop(provided);
        town.quiet().await;
        town.dissolve().await
    })
}
