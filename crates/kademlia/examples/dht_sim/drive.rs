//! Drives one lookup in virtual time: every question takes a round trip of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use p2p_kademlia::{Key, Lookup, LookupConfig, RegionLookup, RttEstimator};

use crate::random::Random;
use crate::world::{K, Peer, World, start};

/// What a node says to a question.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Contacts(Vec<Peer>),
    /// Nothing: it is dead.
    Nothing,
}

/// Whether there are connections already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Warm,
    /// Each question first takes a round trip to connect; the question rides with the handshake's last message.
    Cold,
}

/// A lookup of either kind.
pub(crate) trait Query {
    fn next(&mut self, now: Instant) -> Option<(Peer, Key)>;
    fn on_connected(&mut self, now: Instant, to: &Key);
    fn on_answer(&mut self, now: Instant, from: &Key, target: &Key, contacts: Vec<Peer>) -> bool;
    fn deadline(&self, now: Instant) -> Option<Instant>;
    fn is_finished(&self) -> bool;
}

impl Query for Lookup<Peer> {
    fn next(&mut self, now: Instant) -> Option<(Peer, Key)> {
        Lookup::next(self, now).map(|peer| (peer, self.target()))
    }

    fn on_connected(&mut self, now: Instant, to: &Key) {
        Lookup::on_connected(self, now, to);
    }

    fn on_answer(&mut self, now: Instant, from: &Key, _: &Key, contacts: Vec<Peer>) -> bool {
        Lookup::on_answer(self, now, from, contacts)
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        Lookup::deadline(self, now)
    }

    fn is_finished(&self) -> bool {
        Lookup::is_finished(self)
    }
}

impl Query for RegionLookup<Peer> {
    fn next(&mut self, now: Instant) -> Option<(Peer, Key)> {
        RegionLookup::next(self, now)
    }

    fn on_connected(&mut self, now: Instant, to: &Key) {
        RegionLookup::on_connected(self, now, to);
    }

    fn on_answer(&mut self, now: Instant, from: &Key, target: &Key, contacts: Vec<Peer>) -> bool {
        RegionLookup::on_answer(self, now, from, target, contacts)
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        RegionLookup::deadline(self, now)
    }

    fn is_finished(&self) -> bool {
        RegionLookup::is_finished(self)
    }
}

/// What came of a lookup.
#[derive(Debug)]
pub(crate) struct Trace {
    /// Who answered in time, and when first.
    pub(crate) answered: BTreeMap<Key, Duration>,
    pub(crate) elapsed: Duration,
}

#[derive(Debug)]
enum Event {
    Connected(Key),
    Answer { from: Key, target: Key, contacts: Vec<Peer> },
}

/// Drives `query` to its end.
pub(crate) fn drive(
    query: &mut impl Query,
    links: Links,
    random: &mut Random,
    mut reply: impl FnMut(&Key, &Key) -> Reply,
) -> Trace {
    let begin = start();
    let (mut now, mut count, mut answered) = (begin, 0u64, BTreeMap::new());
    let mut events: BTreeMap<(Instant, u64), Event> = BTreeMap::new();
    while !query.is_finished() {
        while let Some((peer, target)) = query.next(now) {
            // Nobody is there to connect to, and nobody says so.
            let Reply::Contacts(contacts) = reply(&peer.key, &target) else { continue };
            let rtt = random.rtt();
            let connected = match links {
                Links::Warm => now,
                Links::Cold => now + rtt,
            };
            if connected == now {
                query.on_connected(now, &peer.key);
            } else {
                count += 1;
                events.insert((connected, count), Event::Connected(peer.key));
            }
            count += 1;
            events.insert((connected + rtt, count), Event::Answer { from: peer.key, target, contacts });
        }
        let Some(deadline) = query.deadline(now) else { break };
        match events.first_entry().filter(|event| event.key().0 <= deadline) {
            None => now = now.max(deadline),
            Some(event) => {
                now = event.key().0;
                match event.remove() {
                    Event::Connected(to) => query.on_connected(now, &to),
                    Event::Answer { from, target, contacts } => {
                        if query.on_answer(now, &from, &target, contacts) {
                            answered.entry(from).or_insert(now - begin);
                        }
                    }
                }
            }
        }
    }
    Trace { answered, elapsed: now - begin }
}

/// A lookup by the node at `local`, which begins with its own table.
pub(crate) fn lookup(world: &World, local: Key, target: Key, config: &LookupConfig) -> Lookup<Peer> {
    Lookup::new(local, target, seeds(world, local, target, config), config.clone(), RttEstimator::default(), start())
}

/// What a node takes from its table to begin with.
pub(crate) fn seeds(world: &World, local: Key, target: Key, config: &LookupConfig) -> Vec<Peer> {
    let count = K.max(config.paths * config.width);
    world.at_table(&local, |table| table.closest(&target, count).copied().collect())
}
