//! What keeps a table alive: which contact is to be checked, which bucket refreshed, and when.

use std::time::{Duration, Instant};

use super::Table;
use super::bucket::Bucket;
use super::entry::{Entry, due, later};
use super::words::Words;
use crate::{Contact, Key};

/// Where an entry is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Member(usize, usize),
    Replacement(usize, usize),
}

impl<C: Contact> Table<C> {
    /// The contact that is to be asked now whether it is alive: one not heard for a check interval, one that failed a moment
    /// ago, or a replacement for which there is a place. Tell [`on_alive`](Self::on_alive) or
    /// [`on_failed`](Self::on_failed) how it went; without a word it is named again after the retry interval.
    ///
    /// Call it until it says `None`, or as often as there is capacity for checks.
    pub fn due_check(&mut self, now: Instant) -> Option<C> {
        let (_, place) = self.checks(now).filter(|(at, _)| *at <= now).min_by_key(|(at, _)| *at)?;
        let entry = match place {
            Place::Member(index, at) => self.buckets[index].member_mut(at),
            Place::Replacement(index, at) => self.buckets[index].replacement_mut(at),
        };
        entry.check_at = later(now, self.config.retry_interval);
        Some(entry.contact.clone())
    }

    /// A position to look up now, drawn at random from the range of a bucket that had no lookup for the refresh
    /// interval, or never had one. Counts as that lookup.
    ///
    /// Only buckets up to the last with a contact are refreshed; the ones after it are so close to us that a lookup in that
    /// one finds everybody there. So calling it until it says `None`, with a lookup each time, also fills a new table.
    pub fn due_refresh(&mut self, now: Instant, random: &mut dyn FnMut() -> u64) -> Option<Key> {
        let (_, index) = self.refreshes(now).filter(|(at, _)| *at <= now).min_by_key(|(at, _)| *at)?;
        self.buckets[index].refreshed = Some(now);
        Some(self.in_bucket(index, random))
    }

    /// A lookup for this position begins: the bucket it is in needs no refresh for a while.
    pub fn on_lookup(&mut self, now: Instant, target: &Key) {
        if let Some(index) = self.index(target)
            && let Some(bucket) = self.buckets.get_mut(index)
        {
            bucket.refreshed = Some(now);
        }
    }

    /// When [`due_check`](Self::due_check) or [`due_refresh`](Self::due_refresh) has something to say next: `now` or
    /// earlier if it has already, `None` while the table is empty. Any other call may make it earlier.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let checks = self.checks(now).map(|(at, _)| at);
        checks.chain(self.refreshes(now).map(|(at, _)| at)).min()
    }

    /// Makes that contact due which is to be checked next of those that have not failed. A failure is held against who failed
    /// only if somebody else answers, and on a quiet node nobody might for a check interval.
    pub(super) fn call_witness(&mut self, now: Instant) {
        let members = self.buckets.iter_mut().flat_map(Bucket::members_mut);
        if let Some(witness) = members.filter(|entry| entry.failures == 0).min_by_key(|entry| entry.check_at) {
            witness.check_at = witness.check_at.min(now);
        }
    }

    fn checks(&self, now: Instant) -> impl Iterator<Item = (Instant, Place)> + '_ {
        let longest = self.config.check_interval.max(self.config.retry_interval);
        self.buckets.iter().enumerate().flat_map(move |(index, bucket)| {
            let members = bucket.members().iter().enumerate();
            let members = members.map(move |(at, entry)| (entry.check_at, Place::Member(index, at)));
            let waiting = self.wanted(bucket, now).map(move |(due, at)| (due, Place::Replacement(index, at)));
            members.chain(waiting).map(move |(at, place)| (due(at, now, longest), place))
        })
    }

    /// The replacements that would get a place if they answered, and when to ask them.
    fn wanted<'a>(&self, bucket: &'a Bucket<C>, now: Instant) -> impl Iterator<Item = (Instant, usize)> + use<'a, C> {
        let mut wanted: Vec<(Instant, usize)> = Vec::new();
        if !bucket.replacements().is_empty() {
            let vacancies = bucket.vacancies(&self.config);
            let order = bucket.preferred(&self.config);
            let order = order.into_iter().map(|at| (at, &bucket.replacements()[at]));
            let order = order.filter(|(_, entry)| self.table_has_room(entry.prefix));
            if vacancies > 0 {
                wanted.extend(order.take(vacancies).map(|(at, entry)| (entry.check_at, at)));
            } else {
                let settled = |entry: &Entry<C>| later(entry.last, self.config.check_interval);
                let makes_room = |key: &Key| bucket.makes_room_for(key, true, now, &self.config).is_some();
                let mut order = order.filter(|(_, entry)| makes_room(&entry.contact.key()));
                wanted.extend(order.next().map(|(at, entry)| (entry.check_at.max(settled(entry)), at)));
            }
        }
        wanted.into_iter()
    }

    fn refreshes(&self, now: Instant) -> impl Iterator<Item = (Instant, usize)> + '_ {
        let every: Duration = self.config.bucket_refresh;
        let used = self.occupied.last().map_or(0, |last| last + 1);
        self.buckets[..used].iter().enumerate().map(move |(index, bucket)| {
            let at = bucket.refreshed.map_or(now, |refreshed| due(later(refreshed, every), now, every));
            (at, index)
        })
    }

    /// A random position whose first difference from ours is bit `index`.
    fn in_bucket(&self, index: usize, random: &mut dyn FnMut() -> u64) -> Key {
        let mut position = self.local;
        for (word, bits) in position.0.iter_mut().enumerate() {
            // Of this word, the bits from `index` on.
            let mask = match (index + 1).saturating_sub(word * 64) {
                beyond @ 0..64 => u64::MAX >> beyond,
                _ => 0,
            };
            *bits = *bits & !mask | random() & mask;
        }
        let mut bit = Words::NONE;
        bit.set(index, true);
        position.zip(bit, |a, b| a ^ b).to_key()
    }
}
