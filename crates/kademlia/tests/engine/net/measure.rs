//! What a network looks like from above.

use std::collections::{BTreeMap, BTreeSet};

use p2p_core::PeerId;
use p2p_kademlia::Key;
use p2p_kademlia::engine::{Command, Outcome};

use super::{Net, key_pair};

impl Net {
    /// The `count` live nodes closest to a key, closest first, `except` left out.
    pub(crate) fn closest(&self, key: &Key, count: usize, except: usize) -> Vec<usize> {
        let mut all: Vec<usize> = self.nodes.keys().copied().filter(|n| *n != except).collect();
        all.sort_by_key(|n| key.distance(&self.engine(*n).key()));
        all.truncate(count);
        all
    }

    /// Of the `k` closest live nodes, the share that a lookup by `n` finds.
    pub(crate) fn recall(&mut self, n: usize, key: Key, k: usize) -> f64 {
        let Outcome::Closest(found) = self.outcome(n, Command::Closest(key)) else { panic!("another outcome") };
        let expected = self.closest(&key, k, n);
        let ids: BTreeSet<PeerId> = found.iter().map(|peer| peer.peer_id()).collect();
        let hits = expected.iter().filter(|n| ids.contains(&key_pair(**n).peer_id())).count();
        hits as f64 / expected.len() as f64
    }

    /// How many nodes are in the component of the first one: links are the contacts of the tables.
    pub(crate) fn component(&self) -> usize {
        let Some(first) = self.nodes.keys().next() else { return 0 };
        let by_id: BTreeMap<PeerId, usize> = self.nodes.keys().map(|n| (key_pair(*n).peer_id(), *n)).collect();
        let (mut seen, mut next) = (BTreeSet::from([*first]), vec![*first]);
        while let Some(n) = next.pop() {
            for peer in self.engine(n).table().iter() {
                if let Some(n) = by_id.get(&peer.peer_id())
                    && seen.insert(*n)
                {
                    next.push(*n);
                }
            }
        }
        seen.len()
    }
}
