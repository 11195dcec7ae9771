//! Whether nodes are one network.

use std::collections::{BTreeMap, BTreeSet};

use p2p::PeerId;

/// How many sets of nodes there are that are connected with each other, directly or not. Each node comes with its peers.
pub(crate) fn components(nodes: impl IntoIterator<Item = (PeerId, Vec<PeerId>)>) -> usize {
    let neighbors: BTreeMap<PeerId, Vec<PeerId>> = nodes.into_iter().collect();
    let mut left: BTreeSet<PeerId> = neighbors.keys().copied().collect();
    let mut count = 0;
    while let Some(first) = left.pop_first() {
        count += 1;
        let mut open = vec![first];
        while let Some(next) = open.pop() {
            open.extend(neighbors.get(&next).into_iter().flatten().filter(|peer| left.remove(peer)));
        }
    }
    count
}
