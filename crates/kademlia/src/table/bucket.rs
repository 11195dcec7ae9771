//! The contacts that differ from us first in the same bit.

use std::time::Instant;

use p2p_identity::Prefix;

use super::balance::Shares;
use super::config::{MAX_K, TableConfig};
use super::entry::Entry;
use super::words::Words;
use crate::{Contact, Key};

/// A replacement not heard for so many check intervals leaves before others do.
const STALE: u32 = 2;

#[derive(Debug, Clone)]
pub(super) struct Bucket<C> {
    /// How many leading bits the keys in it have in common.
    shared: usize,
    /// Of each member, the 32 bits after the common ones. They lie together because queries compare nothing else.
    tails: [u32; MAX_K],
    /// In the order in which they joined.
    members: Vec<Entry<C>>,
    /// In the order in which they last answered, or lost their place.
    replacements: Vec<Entry<C>>,
    /// When a lookup in its range began last.
    pub(super) refreshed: Option<Instant>,
}

impl<C: Contact> Bucket<C> {
    pub(super) fn new(index: usize) -> Self {
        Self { shared: index + 1, tails: [0; MAX_K], members: Vec::new(), replacements: Vec::new(), refreshed: None }
    }

    pub(super) fn members(&self) -> &[Entry<C>] {
        &self.members
    }

    pub(super) fn members_mut(&mut self) -> &mut [Entry<C>] {
        &mut self.members
    }

    pub(super) fn replacements(&self) -> &[Entry<C>] {
        &self.replacements
    }

    pub(super) fn member_mut(&mut self, at: usize) -> &mut Entry<C> {
        &mut self.members[at]
    }

    pub(super) fn replacement_mut(&mut self, at: usize) -> &mut Entry<C> {
        &mut self.replacements[at]
    }

    /// A member or replacement.
    pub(super) fn entry(&self, key: &Key) -> Option<&Entry<C>> {
        match self.position(key) {
            Some(at) => self.members.get(at),
            None => self.replacements.get(self.replacement(key)?),
        }
    }

    pub(super) fn entry_mut(&mut self, key: &Key) -> Option<&mut Entry<C>> {
        match self.position(key) {
            Some(at) => self.members.get_mut(at),
            None => self.replacement(key).and_then(|at| self.replacements.get_mut(at)),
        }
    }

    /// The 32 bits of a key that tell the members apart.
    pub(super) fn tail(&self, key: &Words) -> u32 {
        key.bits_from(self.shared)
    }

    pub(super) fn tails(&self) -> &[u32; MAX_K] {
        &self.tails
    }

    pub(super) fn position(&self, key: &Key) -> Option<usize> {
        let tail = self.tail(&Words::of_key(key));
        (0..self.members.len()).find(|at| self.tails[*at] == tail && self.members[*at].contact.key() == *key)
    }

    /// Contacts and replacements that count for a prefix.
    pub(super) fn count_with_replacements(&self, prefix: Prefix) -> usize {
        self.members.iter().chain(&self.replacements).filter(|entry| entry.prefix == Some(prefix)).count()
    }

    pub(super) fn count(&self, prefix: Prefix) -> usize {
        self.members.iter().filter(|entry| entry.prefix == Some(prefix)).count()
    }

    /// Adds a member; the caller has seen that there is room.
    pub(super) fn push(&mut self, entry: Entry<C>) {
        self.tails[self.members.len()] = self.tail(&Words::of_key(&entry.contact.key()));
        push_exact(&mut self.members, entry, MAX_K);
    }

    pub(super) fn remove(&mut self, at: usize) -> Entry<C> {
        self.tails.copy_within(at + 1.., at);
        self.members.remove(at)
    }

    pub(super) fn dead(&self, config: &TableConfig) -> Option<usize> {
        self.members.iter().position(|entry| entry.is_dead(config))
    }

    /// Places that nobody has or somebody dead.
    pub(super) fn vacancies(&self, config: &TableConfig) -> usize {
        config.k - self.members.iter().filter(|entry| !entry.is_dead(config)).count()
    }

    /// The member whose place a newcomer gets in a full bucket because that evens out its sub-prefixes.
    pub(super) fn makes_room_for(&self, key: &Key, settled: bool, now: Instant, config: &TableConfig) -> Option<usize> {
        let shares = Shares::new(config);
        let at = shares.surplus(&self.tails[..self.members.len()], self.tail(&Words::of_key(key)))?;
        (settled || !self.members[at].is_settled(now, config)).then_some(at)
    }

    fn replacement(&self, key: &Key) -> Option<usize> {
        self.replacements.iter().position(|entry| entry.contact.key() == *key)
    }

    pub(super) fn take_replacement(&mut self, key: &Key) -> Option<Entry<C>> {
        self.replacement(key).map(|at| self.replacements.remove(at))
    }

    /// Lets a contact wait for a place. When too many wait, one of those that crowd a sub-prefix leaves: whoever was not heard
    /// for long or, if all were, the last to come. So nobody flushes out those who are about to have stayed long enough to
    /// even out the bucket. Whether the contact itself may wait.
    pub(super) fn wait(&mut self, now: Instant, entry: Entry<C>, config: &TableConfig) -> bool {
        let key = entry.contact.key();
        push_exact(&mut self.replacements, entry, config.replacements + 1);
        while self.replacements.len() > config.replacements {
            let shares = Shares::new(config);
            let crowd = shares.most_crowded(self.replacements.iter().map(|entry| self.tail_of(entry)));
            let crowd = self.replacements.iter().enumerate().filter(|(_, e)| shares.index(self.tail_of(e)) == crowd);
            let stale = |entry: &Entry<C>| now.saturating_duration_since(entry.last) >= STALE * config.check_interval;
            let leaves = match crowd.clone().find(|(_, entry)| stale(entry)) {
                Some((at, _)) => at,
                None => crowd.max_by_key(|(_, entry)| entry.since).map_or(0, |(at, _)| at),
            };
            self.replacements.remove(leaves);
        }
        self.replacement(&key).is_some()
    }

    /// The replacements in the order in which they should get a place: those of sub-prefixes with few members first, of
    /// these the one heard last.
    pub(super) fn preferred(&self, config: &TableConfig) -> Vec<usize> {
        let shares = Shares::new(config);
        let counts = shares.counts(self.tails[..self.members.len()].iter().copied());
        let mut order: Vec<usize> = (0..self.replacements.len()).rev().collect();
        order.sort_by_key(|at| counts[shares.index(self.tail_of(&self.replacements[*at]))]);
        order
    }

    fn tail_of(&self, entry: &Entry<C>) -> u32 {
        self.tail(&Words::of_key(&entry.contact.key()))
    }
}

/// Entries are large and buckets many: grows by a few at a time instead of by half, and not beyond `most`.
fn push_exact<T>(list: &mut Vec<T>, item: T, most: usize) {
    if list.len() == list.capacity() {
        list.reserve_exact(most.saturating_sub(list.len()).clamp(1, 4));
    }
    list.push(item);
}
