//! A third party that has nothing to do with the DHT. One node names others without end that are said to be there, and one
//! says that it is there itself, beside an address of its own at which it answers, and later does not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use p2p::endpoint::{Endpoint, Transport};
use p2p::layers::net::{NetConfig, Transports};
use p2p_sim::{Fault, Host, Plan};

use super::adversary::{Adversary, Kind};
use super::hostile::found;
use super::*;

const HONEST: usize = if cfg!(debug_assertions) { 6 } else { 16 };
const OUTBOUND: usize = 3;

/// Where the third party serves something else.
const PORTS: [u16; 3] = [22, 80, 443];

/// How long the nodes are watched.
const WATCHED: Duration = Duration::from_secs(20 * 60);

/// When each host dialed it.
type Dials = Arc<Mutex<BTreeMap<IpAddr, Vec<Duration>>>>;

pub(crate) fn named(sim: Sim) -> Outcome {
    let town = Town::new(sim.clone(), HONEST, &style(OUTBOUND));
    town.acquaint_with_public(1);
    let third = sim.host("third");
    let at = PORTS.map(|port| Endpoint::new(Transport::Tcp, third.ipv4(), port));
    let gang = [Kind::Naming, Kind::Claiming].map(|kind| Adversary::against(&at, &sim, kind));
    // It hangs up, or says nothing.
    let hangs_up = town.draw(2) == 0;
    let dials = Dials::default();
    for at in at {
        third.spawn(serve(third.clone(), at, hangs_up, dials.clone(), sim.clone()));
    }
    tell(town, |town| async move {
        gang.iter().for_each(|it| it.move_in(&gang, &town.residents));
        move_in(&town).await;
        whole(&town, &town.residents, &town.residents, RECOVERY).await;
        town.sim.sleep(LIVENESS).await;
        let known = |it: &Resident| {
            let contacts = dht(it).contacts();
            contacts.iter().filter(|record| gang.iter().any(|of| of.record.peer_id() == record.peer_id())).count()
        };
        let known: usize = town.residents.iter().map(known).sum();
        assert!(known >= HONEST, "they are hardly known, which tries nothing: {known} times");

        found(&town, &gang).await;
        town.sim.sleep(WATCHED / 2).await;
        let claims = &gang[1];
        town.endure(&Plan::new().at(SECOND, Fault::Crash(claims.host.id()))).await;
        found(&town, &gang[..1]).await;
        let begun = town.sim.now();
        town.sim.sleep(WATCHED / 2).await;
        whole(&town, &town.residents, &town.residents, RECOVERY).await;
        town.quiet().await;

        let dials = dials.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(!dials.is_empty(), "nobody dials it, which tries nothing");
        for (host, times) in &dials {
            for (n, first) in times.iter().enumerate() {
                let within = |time| times[n..].iter().take_while(|at| **at < *first + time).count();
                assert!(within(SECOND) <= 4, "{host} dials it {} times in a second", within(SECOND));
                assert!(within(60 * SECOND) <= 5, "{host} dials it {} times in a minute", within(60 * SECOND));
            }
        }
        let late = dials.values().flatten().filter(|at| **at >= begun).count();
        let minutes = (WATCHED / 2).as_secs() as usize / 60;
        assert!(late <= 5 * minutes, "all together dial it {late} times in {minutes} minutes");
        town.dissolve().await
    })
}

/// Takes every connection, and notes who has made it.
async fn serve(host: Host, at: Endpoint, hangs_up: bool, dials: Dials, sim: Sim) {
    let transports = Transports::new(host.runtime(), NetConfig::default());
    let listener = transports.listen(&at).await.expect("the port is free");
    let mut kept = Vec::new();
    while let Ok(incoming) = listener.accept().await {
        let from = incoming.remote_addr().ip();
        dials.lock().unwrap_or_else(PoisonError::into_inner).entry(from).or_default().push(sim.now());
        kept.extend((!hangs_up).then_some(incoming));
    }
}
