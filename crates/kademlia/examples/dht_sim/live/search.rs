//! The lookups of the nodes.

use std::time::Instant;

use p2p_kademlia::{Key, Lookup, LookupConfig};

use super::{Event, GIVE_UP, Live, Purpose, SEEDS, Search};
use crate::world::{K, Peer};

impl Live {
    pub(super) fn begin(&mut self, owner: usize, target: Key, purpose: Purpose, more: Vec<Peer>) {
        let node = &mut self.nodes[owner];
        let config = LookupConfig::default();
        let seeds: Vec<Peer> = match purpose {
            // From afar, as if it joined anew: who is not known to the neighbors is perhaps known to others.
            Purpose::Seed => {
                let known: Vec<Peer> = node.table.iter().copied().collect();
                let drawn = self.random.sample(known.len(), SEEDS);
                drawn.into_iter().map(|one| known[one]).chain(more).collect()
            }
            _ => node.table.closest(&target, K.max(config.paths * config.width)).copied().collect(),
        };
        let lookup = Lookup::new(node.peer.key, target, seeds, config, node.rtt, self.now);
        if !matches!(purpose, Purpose::Probe { .. }) {
            node.table.on_lookup(self.now, &target);
        }
        self.count += 1;
        let search = self.count;
        self.searches.insert(search, Search { owner, purpose, lookup, wake: None });
        self.pump(search);
    }

    /// Asks whom the lookup names, and ends it when it is over.
    pub(super) fn pump(&mut self, id: u64) {
        let now = self.now;
        let Some(mut search) = self.searches.remove(&id) else { return };
        while let Some(peer) = search.lookup.next(now) {
            let from = self.by_key[&peer.key];
            if self.reaches(search.owner, from, now) {
                search.lookup.on_connected(now, &peer.key);
                let rtt = self.random.rtt();
                self.schedule(now + rtt, Event::Answer { search: id, from, sent: now, arrived: now + rtt / 2 });
            } else {
                self.schedule(now + GIVE_UP, Event::Failure { search: id, from });
            }
        }
        if search.lookup.is_finished() {
            return self.end(&search);
        }
        if let Some(deadline) = search.lookup.deadline(now).map(|deadline| deadline.max(now))
            && search.wake.is_none_or(|wake| wake <= now || deadline < wake)
        {
            search.wake = Some(deadline);
            self.schedule(deadline, Event::Wake { search: id });
        }
        self.searches.insert(id, search);
    }

    pub(super) fn answered(&mut self, id: u64, from: usize, sent: Instant, arrived: Instant) {
        let Some(mut search) = self.searches.remove(&id) else { return };
        if !self.reaches(search.owner, from, arrived) {
            self.searches.insert(id, search);
            return self.schedule(sent + GIVE_UP, Event::Failure { search: id, from });
        }
        let contacts: Vec<Peer> = self.nodes[from].table.closest(&search.lookup.target(), K).copied().collect();
        let peer = self.nodes[from].peer;
        if !matches!(search.purpose, Purpose::Probe { .. }) {
            self.nodes[search.owner].table.on_alive(self.now, peer, None);
            self.consider(from, search.owner);
        }
        search.lookup.on_answer(self.now, &peer.key, contacts);
        self.searches.insert(id, search);
        self.pump(id);
    }

    pub(super) fn failed(&mut self, id: u64, from: usize) {
        let key = self.nodes[from].peer.key;
        let Some(search) = self.searches.get_mut(&id) else { return };
        search.lookup.on_failure(&key);
        let (owner, purpose) = (search.owner, search.purpose);
        if !matches!(purpose, Purpose::Probe { .. }) {
            self.nodes[owner].table.on_failed(self.now, &key);
        }
        self.pump(id);
    }

    fn end(&mut self, search: &Search) {
        let (now, owner) = (self.now, search.owner);
        let node = &mut self.nodes[owner];
        node.rtt = search.lookup.rtt();
        match search.purpose {
            Purpose::Refresh => node.refreshes -= 1,
            Purpose::Seed if node.table.is_empty() => node.seed_at = now,
            Purpose::Seed => _ = node.joined.get_or_insert(now),
            Purpose::Probe { begun } => {
                let target = search.lookup.target();
                let was_there = |other: &&usize| {
                    **other != owner && self.nodes[**other].joined.is_some_and(|joined| joined <= begun)
                };
                let there = self.alive.iter().filter(was_there).map(|other| self.nodes[*other].peer.key);
                let mut expected: Vec<Key> = there.collect();
                expected.sort_unstable_by_key(|key| target.distance(key));
                expected.truncate(K);
                let answered: Vec<Key> = search.lookup.answered().map(|peer| peer.key).collect();
                self.found.probes += 1;
                self.found.closest += usize::from(expected.first().is_none_or(|best| answered.contains(best)));
                let recalled = expected.iter().filter(|key| answered.contains(key)).count();
                self.found.recall.push(recalled as f64 / expected.len().max(1) as f64);
            }
        }
    }
}
