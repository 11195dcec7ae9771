//! Nodes behind NAT boxes among nodes that can be reached.

use p2p::kademlia::Mode;
use p2p_sim::{Fault, Nat, NatBehavior, NatConfig, Plan};

use super::*;

/// The first ones can be reached.
const PUBLIC: usize = 7;
const NODES: usize = 12;
const OUTBOUND: usize = 3;

/// Of those that can be reached, the last is not told its own address.
const LEARNER: usize = PUBLIC - 1;

/// How long a box remembers a mapping that is not used; less than the time between two pings in some.
const MAPPING: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(4)];

/// Several times as long as any mapping lives.
const LATER: Duration = Duration::from_secs(300);

pub(crate) fn nat(sim: Sim) -> Outcome {
    let boxes = boxes(&sim);
    let behind = |index: usize, _| index.checked_sub(PUBLIC).map(|n| boxes[n % boxes.len()].clone());
    let town = Town::behind(sim.clone(), NODES, &style(OUTBOUND), behind);
    town.acquaint_with_public(1);
    town.residents[LEARNER].listen_anywhere();
    tell(town, |town| async move {
        let (public, hidden) = town.residents.split_at(PUBLIC);
        move_in(&town).await;
        well(&town, public, hidden).await;

        let connections = || -> Vec<_> {
            let of = |node: Arc<Node>| node.peer_ids().iter().filter_map(|id| node.peer(id)).collect::<Vec<_>>();
            let of = |it| of(node(it)).iter().map(|peer| peer.connection_id).collect::<Vec<_>>();
            hidden.iter().map(of).collect()
        };
        let before = connections();
        town.sim.sleep(LATER).await;
        assert_eq!(connections(), before, "what is used lives as long as it is");
        well(&town, public, hidden).await;

        // Switched off and on: what was open leads nowhere any more.
        town.endure(&boxes.iter().fold(Plan::new(), |plan, it| plan.at(SECOND, Fault::ResetNat(it.id())))).await;
        town.sim.sleep(LIVENESS).await;
        well(&town, public, hidden).await;
        town.quiet().await;
        town.dissolve().await
    })
}

/// One box more than one node is behind, and one each for the others.
fn boxes(sim: &Sim) -> Vec<Nat> {
    use NatBehavior::{AddressDependent, EndpointIndependent};
    let filtering = [EndpointIndependent, AddressDependent];
    let mapping = [EndpointIndependent, AddressDependent];
    let draw = || sim.runtime().random_u64() as usize / 7;
    (0..NODES - PUBLIC - 1)
        .map(|n| {
            sim.nat(NatConfig {
                mapping: mapping[draw() % 2],
                filtering: filtering[n % 2],
                udp_timeout: MAPPING[draw() % 2],
                hairpin: draw() % 2 == 0,
                ..NatConfig::default()
            })
        })
        .collect()
}

/// All are one network; those behind boxes find everybody who can be reached, and nobody finds them.
async fn well(town: &Town, public: &[Resident], hidden: &[Resident]) {
    whole(town, &town.residents, public, RECOVERY).await;
    let learned = || public.iter().all(|it| dht(it).mode() == Mode::Server);
    assert!(town.sim.eventually(SETTLED, learned).await, "who can be reached becomes a server");
    recall(&town.residents, public).await;
    for resident in public {
        let record = dht(resident).record().expect("a server has one");
        let told = record.discovery_addrs().iter().chain(record.addrs());
        let (n, own) = (resident.index, resident.host.ipv4());
        assert!(told.clone().count() > 0, "node {n} has a record without addresses");
        for addr in told {
            assert_eq!(addr.endpoint.addr().ip(), Some(own), "node {n} is somewhere else");
        }
    }
    for resident in hidden {
        let dht = dht(resident);
        assert_eq!((dht.mode(), dht.record()), (Mode::Client, None), "node {} cannot be reached", resident.index);
    }
    forgotten(&town.residents, hidden);
}
