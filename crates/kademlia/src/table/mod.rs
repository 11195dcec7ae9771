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
//!    been there for long are likely to stay, and a flood pushes nobody out. Not of the replacements either: one that was
//!    heard in the last two check intervals makes no room for a newcomer.
//! 4. **Balance.** The one exception. A bucket of 20 is divided by the next 3 bits into 8 sub-prefixes. If the newcomer's has
//!    at least two contacts less than the most crowded one, it takes the place of the one that joined that crowd last, which
//!    waits among the replacements. So a tight cluster of ids ground for one spot ends with 2 or 3 places of 20 even if it was
//!    there first. The replacements, too, are those that even out their sub-prefixes.
//!
//!    It is of no use for pushing contacts out. Each exchange makes the bucket more even and is never undone by another, so
//!    an attacker with all the keys and addresses it wants takes about as many places as the bucket is uneven (3 of those
//!    of 20 random contacts, on average) and then none. The two oldest contacts of each sub-prefix never leave for balance. And
//!    a contact that has been there for a check interval only makes room for one that has been answering for as long
//!    itself: the newcomer waits, is checked when that time is over, and comes in if it answers again.
//! 5. **The dead leave** after 3 failures in a row, at least the retry interval apart. While nobody at all answers they
//!    stay: then it is more likely that we are cut off than that everybody died, and the paper's advice is not to throw the
//!    table away. So that a quiet node knows which it is, each failure makes another contact due for a check, and the
//!    failure of that one the next, until one answers. A replacement is checked before it gets a place that has become
//!    free.
//! 6. **Nobody is told**: a newer record ([`Table::update`]) changes what is known of a contact, not who is in.

mod admission;
mod balance;
mod bucket;
mod closest;
mod config;
mod entry;
mod upkeep;
mod words;

use std::fmt;
use std::time::Instant;

use crate::{Contact, Key};

use self::bucket::Bucket;
use self::entry::Entry;
use self::words::Words;

pub use self::admission::Insert;
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
