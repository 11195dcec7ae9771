//! Who gets in, who waits and who leaves.

use std::net::IpAddr;
use std::time::Instant;

use p2p_identity::Prefix;

use super::Table;
use super::bucket::Bucket;
use super::entry::{Entry, Failure, later};
use crate::{Contact, Key};

/// What became of a contact that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insert {
    /// It has got a place.
    Added,
    /// It has got the place of this one: a dead contact, or one of a crowded sub-prefix, which now waits as a replacement.
    Replaced(Key),
    /// It had a place already.
    Known,
    /// The bucket is full: it waits as a replacement.
    Waiting,
    /// The bucket is full, and enough others wait.
    Full,
    /// The prefix of its address has no room. If it was in the table, with an address elsewhere, it no longer is.
    PrefixFull,
    /// It is ourselves.
    Own,
}

impl<C: Contact> Table<C> {
    /// A contact answered a question that *we* asked, at the address `ip` (`None`: it has none, as in a simulation).
    /// Call this for nothing else: whoever is told of, or speaks first, must not get in.
    ///
    /// The contact's newer record is taken; its signature must have been verified.
    pub fn on_alive(&mut self, now: Instant, contact: C, ip: Option<IpAddr>) -> Insert {
        self.answers += 1;
        let key = contact.key();
        let Some(index) = self.index(&key) else { return Insert::Own };
        let prefix = self.config.counted(ip);
        if let Some(at) = self.bucket(index).and_then(|bucket| bucket.position(&key)) {
            return self.member_answered(now, (index, at), contact, prefix);
        }
        let check_at = later(now, self.config.check_interval);
        let waited = self.buckets.get_mut(index).and_then(|bucket| bucket.take_replacement(&key));
        if !self.has_room(index, prefix) {
            return Insert::PrefixFull;
        }
        let heard = self.answers;
        let entry = match waited {
            Some(mut entry) => {
                entry.answered(now, check_at, heard);
                entry.renew(contact);
                Entry { prefix, ..entry }
            }
            None => Entry { contact, prefix, since: now, last: now, check_at, failures: 0, heard },
        };
        self.place(now, index, entry)
    }

    /// A contact did not answer a question of ours. Gives it back if it left the table: it is dead, and others are not.
    /// Whether others are alive is found out at once: another contact becomes due for a check.
    pub fn on_failed(&mut self, now: Instant, key: &Key) -> Option<C> {
        let index = self.index(key)?;
        let bucket = self.buckets.get_mut(index)?;
        let Some(at) = bucket.position(key) else {
            // Who waits for a place and does not answer is of no use.
            bucket.take_replacement(key);
            return None;
        };
        match bucket.member_mut(at).failed(now, &self.config, self.answers) {
            Failure::Same => None,
            Failure::Another => {
                self.call_witness(now);
                None
            }
            Failure::Last => Some(self.take(index, at).contact),
        }
    }

    /// Takes a newer record of a contact that is there, or waits; its signature must have been verified. Says whether it
    /// did: the contact is known, its sequence number is higher and, if its address changed, there is room in the prefix.
    ///
    /// With another address it is checked soon, and counts for that address once it answers there.
    pub fn update(&mut self, contact: C) -> bool {
        let key = contact.key();
        let Some(index) = self.index(&key) else { return false };
        let Some(entry) = self.bucket(index).and_then(|bucket| bucket.entry(&key)) else { return false };
        if contact.seq() <= entry.contact.seq() {
            return false;
        }
        let moved = contact.ip().map(|ip| ip.to_canonical()) != entry.ip();
        let prefix = self.config.counted(contact.ip());
        if moved && prefix != entry.prefix && !self.has_room(index, prefix) {
            return false;
        }
        let soon = later(entry.last, self.config.retry_interval);
        if let Some(entry) = self.buckets[index].entry_mut(&key) {
            entry.contact = contact;
            entry.check_at = if moved { entry.check_at.min(soon) } else { entry.check_at };
        }
        true
    }

    /// Forgets a contact, be it there or waiting: it is banned, or not what we look for.
    pub fn remove(&mut self, key: &Key) -> Option<C> {
        let index = self.index(key)?;
        match self.bucket(index)?.position(key) {
            Some(at) => Some(self.take(index, at).contact),
            None => self.buckets[index].take_replacement(key).map(|entry| entry.contact),
        }
    }

    fn member_answered(
        &mut self,
        now: Instant,
        (index, at): (usize, usize),
        contact: C,
        prefix: Option<Prefix>,
    ) -> Insert {
        if prefix != self.buckets[index].members()[at].prefix && !self.has_room(index, prefix) {
            self.take(index, at);
            return Insert::PrefixFull;
        }
        let check_at = later(now, self.config.check_interval);
        let entry = self.buckets[index].member_mut(at);
        entry.answered(now, check_at, self.answers);
        entry.prefix = prefix;
        entry.renew(contact);
        Insert::Known
    }

    /// Gives a contact that is not there a place, or lets it wait.
    fn place(&mut self, now: Instant, index: usize, entry: Entry<C>) -> Insert {
        while self.buckets.len() <= index {
            self.buckets.push(Bucket::new(self.buckets.len()));
        }
        let (bucket, config) = (&self.buckets[index], &self.config);
        if bucket.members().len() < config.k {
            self.put(index, entry);
            return Insert::Added;
        }
        if let Some(at) = bucket.dead(config) {
            let dead = self.take(index, at);
            self.put(index, entry);
            return Insert::Replaced(dead.contact.key());
        }
        let (key, settled) = (entry.contact.key(), entry.is_settled(now, config));
        if let Some(at) = bucket.makes_room_for(&key, settled, now, config) {
            let displaced = self.take(index, at);
            let displaced_key = displaced.contact.key();
            self.put(index, entry);
            self.wait(now, index, displaced);
            return Insert::Replaced(displaced_key);
        }
        if self.wait(now, index, entry) { Insert::Waiting } else { Insert::Full }
    }

    fn wait(&mut self, now: Instant, index: usize, mut entry: Entry<C>) -> bool {
        // As soon as there is a place.
        entry.check_at = now;
        self.buckets[index].wait(now, entry, &self.config)
    }

    fn put(&mut self, index: usize, entry: Entry<C>) {
        self.buckets[index].push(entry);
        self.occupied.set(index, true);
        self.len += 1;
    }

    fn take(&mut self, index: usize, at: usize) -> Entry<C> {
        let entry = self.buckets[index].remove(at);
        self.occupied.set(index, !self.buckets[index].members().is_empty());
        self.len -= 1;
        entry
    }

    /// Whether one more of a prefix may be in a bucket.
    fn has_room(&self, index: usize, prefix: Option<Prefix>) -> bool {
        let in_bucket = |prefix| self.bucket(index).map_or(0, |bucket| bucket.count_with_replacements(prefix));
        prefix.is_none_or(|prefix| in_bucket(prefix) < self.config.per_bucket_prefix) && self.table_has_room(prefix)
    }

    pub(super) fn table_has_room(&self, prefix: Option<Prefix>) -> bool {
        let in_table = |prefix| self.buckets.iter().map(|bucket| bucket.count(prefix)).sum::<usize>();
        prefix.is_none_or(|prefix| in_table(prefix) < self.config.per_table_prefix)
    }
}
