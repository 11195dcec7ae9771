//! A network that is cut in two, for so long that each half forgets the other.

use p2p_sim::{Fault, HostId, Plan};

use super::*;

/// Nodes in each half. An unoptimized build has time for few.
const HALF: usize = if cfg!(debug_assertions) { 4 } else { 6 };

/// More slots than a half has nodes: whoever has all of them taken looks for nobody, so two halves that are each full stay apart.
const OUTBOUND: usize = 8;

/// Who hears nothing of a contact asks it three times more before it is forgotten.
const CUT: Duration = LIVENESS.saturating_mul(3);

/// Nodes that remember peers of the other half dial them, and the DHT asks whom they meet. Otherwise, a node with contacts asks a
/// bootstrap peer every tenth time that it looks for its neighbors, at the latest every five quarters of their interval. What
/// it hears has spread when the others have looked for theirs a few times more.
const HEALED: Duration = SEEDING.saturating_mul(13 + 10);

pub(crate) fn partition(sim: Sim) -> Outcome {
    let town = Town::new(sim, 2 * HALF, &style(OUTBOUND));
    town.acquaint_with_public(1);
    tell(town, |mut town| async move {
        settle(&town).await;

        town.sim.runtime().shuffle(&mut town.residents);
        // The node that all begin with is in one of them.
        let halves = [&town.residents[..HALF], &town.residents[HALF..]];
        let ids = |half: &[Resident]| -> Vec<HostId> { half.iter().map(|resident| resident.host.id()).collect() };
        town.endure(&Plan::new().at(SECOND, Fault::Partition(halves.map(ids).to_vec()))).await;
        town.sim.sleep(CUT).await;
        for half in halves {
            whole(&town, half, half, SETTLED).await;
            recall(half, half).await;
        }
        forgotten(halves[0], halves[1]);
        forgotten(halves[1], halves[0]);

        town.endure(&Plan::new().at(SECOND, Fault::Heal)).await;
        whole(&town, &town.residents, &town.residents, HEALED).await;
        // Peers may have met again before their DHT knows of all of them.
        for (half, other) in [(halves[0], halves[1]), (halves[1], halves[0])] {
            let apart = || half.iter().filter(|it| strangers(it, other).len() == HALF).map(|it| it.index);
            let done = town.sim.eventually(HEALED, || apart().next().is_none()).await;
            assert!(done, "these nodes know nobody of the other half: {:?}", Vec::from_iter(apart()));
        }
        recall(&town.residents, &town.residents).await;
        town.quiet().await;
        town.dissolve().await
    })
}
