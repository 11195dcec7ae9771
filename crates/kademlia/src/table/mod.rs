//! The routing table: the contacts a node knows, dense near itself and sparse far away (Maymounkov & Mazières 2002).
//!
//! Bucket i holds up to k contacts whose keys have exactly the first i bits in common with ours. It knows no sockets, clock
//! or randomness: whoever owns it says what happened and asks what is due.
//!
//! # Who gets a place
//!
//! 1. **Only who answered us.** The one way in is [`Table::on_alive`], for a contact that answered a question of ours.
//! 2. **Caps.** At most 2 contacts of a bucket (its replacements included) and 10 of the table are from one IPv4 /24 or IPv6
//!    /48, by the address at which they *answered*, not by what their records say. Who answers from another prefix, in
//!    which there is no room, loses its place.
//! 3. **First come, first kept.** A full bucket stays as it is, and the newcomer waits among 8 replacements: those who have
//!    been there for long are likely to stay, and nobody can flush them out.
//! 4. **Balance.** The one exception. A bucket of 20 is divided by the next 3 bits into 8 sub-prefixes. If the newcomer's has
//!    at least two contacts less than the most crowded one, it takes the place of the one that joined that crowd last, which
//!    waits among the replacements. So a tight cluster of ids ground for one spot ends with 2 or 3 places of 20 even if it was
//!    there first.
//!
//!    It is of no use for pushing contacts out. Each exchange makes the bucket more even and is never undone by another, so
//!    an attacker with all the keys and addresses it wants makes as many as the bucket is uneven (of 20 random contacts 2
//!    to 3) and then none. The two oldest contacts of each sub-prefix never leave for balance. And a contact that has been
//!    there for a check interval only makes room for one that has been answering for as long itself: the newcomer waits, is
//!    checked when that time is over, and comes in if it answers again.
//! 5. **The dead leave** after 3 failures in a row, at least the retry interval apart. While nobody at all answers they
//!    stay: then it is more likely that we are cut off than that everybody died, and the paper's advice is not to throw the
//!    table away. A replacement is checked before it gets a place that has become free.
//! 6. **Nobody is told**: a newer record ([`Table::update`]) changes what is known of a contact, not who is in.

mod balance;
mod bucket;
mod closest;
mod config;
mod entry;
mod upkeep;
mod words;

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use p2p_identity::Prefix;

use crate::{Contact, Key};

use self::bucket::Bucket;
use self::entry::{Entry, later};
use self::words::Words;

pub use self::closest::Closest;
pub use self::config::{MAX_K, TableConfig};

/// A routing table. [The module](self) says who gets a place in it.
///
/// Every method is safe at any time and in any order, whatever the clock does: a time before that of an earlier call
/// makes things due, and nothing else.
#[derive(Clone)]
pub struct Table<C> {
    local: Words,
    config: TableConfig,
    /// Up to the last that ever had an entry.
    buckets: Vec<Bucket<C>>,
    /// Those that have a member.
    occupied: Words,
    len: usize,
    /// Answers from anybody.
    answers: u64,
}

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
    /// The bucket is full, and there are no replacements ([`TableConfig::replacements`] is 0).
    Full,
    /// The prefix of its address has no room. If it was in the table, with an address elsewhere, it no longer is.
    PrefixFull,
    /// It is ourselves.
    Own,
}

/// A contact's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Since when it is known: its first answer.
    pub since: Instant,
    /// When it last answered or, if it has failed since, when it last failed.
    pub last: Instant,
    /// How often it failed since it answered.
    pub failures: u32,
}

/// A bucket, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketInfo {
    /// How many leading bits its contacts have in common with us.
    pub index: usize,
    /// Contacts.
    pub len: usize,
    /// Contacts that wait for a place.
    pub replacements: usize,
    /// When a lookup in its range began last.
    pub refreshed: Option<Instant>,
}

impl<C: Contact> Table<C> {
    /// An empty table of the node at this position.
    pub fn new(local: Key, config: TableConfig) -> Self {
        Self {
            local: Words::of_key(&local),
            config: config.in_range(),
            buckets: Vec::new(),
            occupied: Words::NONE,
            len: 0,
            answers: 0,
        }
    }

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
    pub fn on_failed(&mut self, now: Instant, key: &Key) -> Option<C> {
        let index = self.index(key)?;
        let bucket = self.buckets.get_mut(index)?;
        let Some(at) = bucket.position(key) else {
            // Who waits for a place and does not answer is of no use.
            bucket.take_replacement(key);
            return None;
        };
        let leaves = bucket.member_mut(at).failed(now, &self.config, self.answers);
        leaves.then(|| self.take(index, at).contact)
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

    /// The `count` contacts closest to a position, nearest first, without allocation.
    #[inline]
    pub fn closest(&self, target: &Key, count: usize) -> Closest<'_, C> {
        Closest::new(self, target, count)
    }

    /// A contact.
    pub fn get(&self, key: &Key) -> Option<&C> {
        self.member(key).map(|entry| &entry.contact)
    }

    /// A contact's standing.
    pub fn standing(&self, key: &Key) -> Option<Standing> {
        let Entry { since, last, failures, .. } = self.member(key)?;
        Some(Standing { since: *since, last: *last, failures: u32::from(*failures) })
    }

    /// All contacts, the farthest bucket first, in each in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.buckets.iter().flat_map(Bucket::members).map(|entry| &entry.contact)
    }

    /// Contacts that wait for a place.
    pub fn replacements(&self) -> impl Iterator<Item = &C> {
        self.buckets.iter().flat_map(Bucket::replacements).map(|entry| &entry.contact)
    }

    /// How many contacts there are, those that wait for a place aside.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no contact.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The buckets that have somebody, the farthest first.
    pub fn buckets(&self) -> impl Iterator<Item = BucketInfo> {
        let infos = self.buckets.iter().enumerate().map(|(index, bucket)| BucketInfo {
            index,
            len: bucket.members().len(),
            replacements: bucket.replacements().len(),
            refreshed: bucket.refreshed,
        });
        infos.filter(|info| info.len + info.replacements > 0)
    }

    /// The position that the table is of.
    pub fn local(&self) -> Key {
        self.local.to_key()
    }

    /// The settings in force.
    pub fn config(&self) -> &TableConfig {
        &self.config
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
        self.buckets[index].wait(entry, &self.config)
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

    fn table_has_room(&self, prefix: Option<Prefix>) -> bool {
        let in_table = |prefix| self.buckets.iter().map(|bucket| bucket.count(prefix)).sum::<usize>();
        prefix.is_none_or(|prefix| in_table(prefix) < self.config.per_table_prefix)
    }

    /// The bucket of a key; `None` for our own.
    fn index(&self, key: &Key) -> Option<usize> {
        self.local.zip(Words::of_key(key), |a, b| a ^ b).first()
    }

    fn bucket(&self, index: usize) -> Option<&Bucket<C>> {
        self.buckets.get(index)
    }

    fn member(&self, key: &Key) -> Option<&Entry<C>> {
        let bucket = self.bucket(self.index(key)?)?;
        Some(&bucket.members()[bucket.position(key)?])
    }
}

impl<C: Contact> fmt::Debug for Table<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("local", &self.local()).field("len", &self.len).finish_non_exhaustive()
    }
}
