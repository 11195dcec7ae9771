//! Finding every node near a key, not only the closest ones.

use std::collections::BTreeMap;
use std::time::Instant;

use super::candidates::Subtree;
use super::{Lookup, LookupConfig, LookupStats, RttEstimator};
use crate::key::BITS;
use crate::{Contact, Distance, Key};

/// How many bits deeper than the region's own prefix parts are searched. One that deep has one or two honest nodes; if it
/// has as many as a lookup finds, somebody chose their positions.
const DEEPEST: usize = 4;

/// Finds the live nodes within a distance of a key.
///
/// A lookup finds the `k` closest to its target, so whoever puts `k` nodes closer to a key than any honest node hides all
/// honest ones from it. This one then goes on with lookups of positions beside the key: where a lookup of `t` ended
/// within the region, those parts of the region which it did not reach (the siblings of `t`'s subtrees) are looked up
/// on their own, at the position in them that is opposite to `t`. These do not ask those of a part in which a lookup found
/// more nodes than chance puts there: they would be the closest known, and name nobody else. Without a crowd that is
/// one lookup, or two.
///
/// To be driven like a [`Lookup`]; only that [`next`](Self::next) also names what to ask for.
#[derive(Debug, Clone)]
pub struct RegionLookup<C> {
    local: Key,
    center: Key,
    radius: Distance,
    config: LookupConfig,
    seeds: Vec<C>,
    found: BTreeMap<Distance, C>,
    current: Lookup<C>,
    /// The part that `current` is about.
    part: Subtree,
    /// Parts that are still to be searched.
    parts: Vec<Subtree>,
    crowds: Vec<Subtree>,
    started: Instant,
    done: LookupStats,
    finished: bool,
}

impl<C: Contact> RegionLookup<C> {
    /// Finds those within `radius` of `center`, with [`LookupConfig::region_queries`] questions at most, and in
    /// [`LookupConfig::max_time`]. The rest as for [`Lookup::new`].
    pub fn new(
        local: Key,
        center: Key,
        radius: Distance,
        seeds: impl IntoIterator<Item = C>,
        config: LookupConfig,
        rtt: RttEstimator,
        now: Instant,
    ) -> Self {
        let seeds: Vec<C> = seeds.into_iter().collect();
        let first = LookupConfig { max_queries: config.max_queries.min(config.region_queries), ..config.clone() };
        let current = Lookup::new(local, center, seeds.iter().cloned(), first, rtt, now);
        Self {
            local,
            center,
            radius,
            config,
            seeds,
            found: BTreeMap::new(),
            current,
            part: Subtree { of: center, bits: radius.leading_zeros() },
            parts: Vec::new(),
            crowds: Vec::new(),
            started: now,
            done: LookupStats::default(),
            finished: false,
        }
    }

    /// Whom to ask now, and for the contacts closest to which key. Call it again until it is `None`.
    pub fn next(&mut self, now: Instant) -> Option<(C, Key)> {
        while !self.finished {
            if let Some(contact) = self.current.next(now) {
                return Some((contact, self.current.target()));
            }
            if !self.current.is_finished() {
                return None;
            }
            self.advance(now);
        }
        None
    }

    /// See [`Lookup::on_connected`].
    pub fn on_connected(&mut self, now: Instant, to: &Key) {
        self.current.on_connected(now, to);
    }

    /// See [`Lookup::on_answer`]. `target` is what `from` was asked for.
    pub fn on_answer(&mut self, now: Instant, from: &Key, target: &Key, contacts: impl IntoIterator<Item = C>) -> bool {
        // A part ends without waiting for everyone, and who is late may be asked again in the next one.
        *target == self.current.target() && self.current.on_answer(now, from, contacts)
    }

    /// See [`Lookup::on_failure`]. `target` is what `from` was asked for.
    pub fn on_failure(&mut self, from: &Key, target: &Key) {
        if *target == self.current.target() {
            self.current.on_failure(from);
        }
    }

    /// See [`Lookup::on_invalid`].
    pub fn on_invalid(&mut self, contact: &Key) {
        self.current.on_invalid(contact);
    }

    /// See [`Lookup::deadline`].
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.finished { None } else { self.current.deadline(now) }
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The key around which is looked.
    pub fn center(&self) -> Key {
        self.center
    }

    /// The result: those that answered within the region, closest first. At least the `k` closest, if there are that
    /// many: a region that was estimated too small hides nobody.
    pub fn found(&self) -> impl Iterator<Item = &C> {
        let in_region = self.found.range(..=self.radius).count();
        self.found.values().take(in_region.max(self.config.k))
    }

    /// What it took so far: sums, and how the closest one was reached.
    pub fn stats(&self) -> LookupStats {
        let current = if self.finished { LookupStats::default() } else { self.current.stats() };
        LookupStats {
            queries: self.done.queries + current.queries,
            answers: self.done.answers + current.answers,
            failures: self.done.failures + current.failures,
            hops: if self.done.hops > 0 { self.done.hops } else { current.hops },
            closest_after: self.done.closest_after.or(current.closest_after),
            truncated: self.done.truncated || current.truncated,
        }
    }

    /// What the round trips took.
    pub fn rtt(&self) -> RttEstimator {
        self.current.rtt()
    }

    /// Takes what the current part found, and begins the next one.
    fn advance(&mut self, now: Instant) {
        self.split();
        self.done = self.stats();
        for contact in self.current.answered() {
            self.found.insert(self.center.distance(&contact.key()), contact.clone());
        }
        let time_left = (self.started + self.config.max_time).saturating_duration_since(now);
        let queries_left = self.config.region_queries.saturating_sub(self.done.queries);
        let Some(part) = self.parts.pop() else {
            self.finished = true;
            return;
        };
        if time_left.is_zero() || queries_left < self.config.paths {
            self.finished = true;
            self.done.truncated = true;
            return;
        }
        let config = LookupConfig {
            max_time: time_left,
            max_queries: self.config.max_queries.min(queries_left),
            ..self.config.clone()
        };
        let is_crowd = |contact: &&C| self.crowds.iter().any(|crowd| crowd.contains(&contact.key()));
        let seeds = self.seeds.iter().chain(self.found.values()).filter(|contact| !is_crowd(contact)).cloned();
        let lookup = Lookup::new(self.local, part.of, seeds, config, self.current.rtt(), now);
        self.current = lookup.avoiding(&self.crowds);
        self.part = part;
    }

    /// Which parts of the current part its lookup did not reach: of everyone closer to its target than the last of its
    /// result it has heard, of the others perhaps not.
    fn split(&mut self) {
        let target = self.current.target();
        let Some(last) = self.current.closest().nth(self.config.k.saturating_sub(1)) else { return };
        let reached = last.key().common_prefix_len(&target).min(BITS - 1);
        let deepest = (self.radius.leading_zeros() + DEEPEST).min(BITS - 1);
        if reached >= deepest {
            self.crowds.push(Subtree { of: target, bits: deepest });
        }
        for bit in self.part.bits..=reached.min(deepest - 1) {
            let sibling = Subtree { of: opposite(&target, bit), bits: bit + 1 };
            if nearest_in(&self.center, &sibling) <= self.radius {
                self.parts.push(sibling);
            }
        }
    }
}

/// The key that has the first `depth` bits in common with `key`, and no other bit.
fn opposite(key: &Key, depth: usize) -> Key {
    let mut bytes = *key.as_bytes();
    (depth..BITS).for_each(|bit| bytes[bit / 8] ^= 0x80 >> (bit % 8));
    Key::from_bytes(bytes)
}

/// How close to `center` a key of the subtree can be.
fn nearest_in(center: &Key, subtree: &Subtree) -> Distance {
    let mut nearest = *subtree.of.as_bytes();
    for bit in subtree.bits..BITS {
        let mask = 0x80 >> (bit % 8);
        nearest[bit / 8] = nearest[bit / 8] & !mask | center.as_bytes()[bit / 8] & mask;
    }
    center.distance(&Key::from_bytes(nearest))
}
