//! What a node keeps for others: values under their keys, and who provides what.
//!
//! [`Store`] decides what is kept, for how long and at whose expense; it is told the time and does no I/O. What a stranger can
//! make it keep is bounded three times: by key, by address prefix, and in all. Beyond a bound, what is farthest from the
//! node's own position goes first, and of what is about as far, what expires soonest. A flood from a few addresses therefore
//! pushes out its own records, and nobody else's.

mod config;
mod ledger;
mod providers;
mod refused;
mod value;
mod values;

pub use config::{ITEM_OVERHEAD, MAX_SPONSORS, PROVIDER_TTL, REPUBLISH_INTERVAL, StoreConfig, VALUE_TTL};
pub use refused::Refused;
pub use value::{InvalidValue, MAX_SALT_LEN, MAX_VALUE_LEN, StoredValue};

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::prefix::is_local;
use p2p_identity::{PeerRecord, Prefix};

use crate::Key;
use ledger::{Item, Ledger};
use providers::Providers;
use values::Values;

/// Who asked to keep something: the proven peer, and the address that it is connected from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Its id, proven by the connection's handshake.
    pub peer: PeerId,
    /// Its address: what is kept is charged to its prefix.
    pub ip: IpAddr,
}

/// What became of a value that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// There was none under its key.
    Added,
    /// It took the place of an older one.
    Replaced,
    /// It was there already, and may now stay longer.
    Renewed,
}

/// A value that other nodes should have too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Republish {
    /// The value.
    pub value: StoredValue,
    /// How long it has left; goes with it.
    pub ttl: Duration,
}

/// The values and provider records that a node keeps.
#[derive(Debug)]
pub struct Store {
    local: Key,
    config: StoreConfig,
    ledger: Ledger,
    values: Values,
    providers: Providers,
}

impl Store {
    /// An empty store of the node at position `local`.
    pub fn new(local: Key, config: StoreConfig) -> Self {
        let ledger = Ledger::new(local, config.max_bytes, config.prefix_bytes);
        Self { local, config, ledger, values: Values::default(), providers: Providers::default() }
    }

    /// Keeps a value for `ttl`, at most [`value_ttl`](StoreConfig::value_ttl).
    ///
    /// A value that is there already is renewed: it stays for the longer of both times, and its signature is not checked
    /// again. Otherwise a mutable value must have a higher sequence number than the one that is there, and that one must have
    /// the number `expected_seq`, if one is given.
    ///
    /// # Errors
    /// [`Refused::Expired`], [`InvalidValue`](Refused::InvalidValue), [`Older`](Refused::Older),
    /// [`Conflict`](Refused::Conflict), [`Unexpected`](Refused::Unexpected), and [`Quota`](Refused::Quota) or
    /// [`Full`](Refused::Full) when everything that could make room is closer or stays longer. Nothing has changed then.
    pub fn put(
        &mut self,
        now: Instant,
        value: StoredValue,
        ttl: Duration,
        expected_seq: Option<u64>,
        from: Source,
    ) -> Result<Stored, Refused> {
        self.expire(now);
        let expires = now + ttl.min(self.config.value_ttl);
        if expires <= now {
            return Err(Refused::Expired);
        }
        let key = value.key();
        let prefix = self.prefix(from.ip);
        let replaced = match self.values.get(&key) {
            None => None,
            Some(entry) if entry.value == value => {
                self.renew(now, &key, expires, prefix);
                return Ok(Stored::Renewed);
            }
            Some(entry) => Some(entry.check_successor(&value, expected_seq)?),
        };
        value.verify().map_err(|_| Refused::InvalidValue)?;
        let before = replaced.map(|slot| self.ledger.take(slot));
        let cost = ITEM_OVERHEAD + value.payload_len();
        match self.ledger.insert(Item::Value(key), expires, cost, prefix) {
            Ok((slot, evicted)) => {
                self.values.insert(key, value, slot, self.republish_at(now, &key));
                self.forget(evicted);
                // Who vouched for the old value does for the new one, so that nobody can take a value over by being the
                // first to pass its next version on, and then have it evicted.
                if let Some(before) = before {
                    self.ledger.inherit(slot, &before);
                    return Ok(Stored::Replaced);
                }
                Ok(Stored::Added)
            }
            Err(refused) => {
                if let Some(before) = before {
                    self.ledger.restore(before);
                }
                Err(refused)
            }
        }
    }

    /// The value under a key, if there is one whose time is not over.
    pub fn get(&self, now: Instant, key: &Key) -> Option<&StoredValue> {
        let entry = self.values.get(key)?;
        (self.ledger.expires(entry.slot)? > now).then_some(&entry.value)
    }

    /// Remembers for `ttl`, at most [`provider_ttl`](StoreConfig::provider_ttl), that the peer of `record` provides `key`.
    /// A `ttl` of zero takes that back.
    ///
    /// # Errors
    /// [`Refused::NotYours`] when the record is not the asker's own, [`InvalidRecord`](Refused::InvalidRecord),
    /// [`Older`](Refused::Older) when a newer record of that peer is there, [`Quota`](Refused::Quota) and
    /// [`Full`](Refused::Full). Nothing has changed then.
    pub fn put_provider(
        &mut self,
        now: Instant,
        key: Key,
        record: PeerRecord,
        ttl: Duration,
        from: Source,
    ) -> Result<(), Refused> {
        self.expire(now);
        if record.peer_id() != from.peer {
            return Err(Refused::NotYours);
        }
        let current = self.providers.get(&key, &from.peer);
        if let Some(newer) = current.map(|current| current.record.seq()).filter(|seq| *seq > record.seq()) {
            return Err(Refused::Older { current: newer });
        }
        // What is there has been checked when it came, and most of what comes is there.
        if current.is_none_or(|current| current.record != record) {
            record.verify().map_err(|_| Refused::InvalidRecord)?;
        }
        let before = current.map(|current| current.slot);
        let before = before.map(|slot| self.ledger.take(slot));
        if ttl.is_zero() {
            self.providers.remove(&key, &from.peer);
            return Ok(());
        }
        let expires = now + ttl.min(self.config.provider_ttl);
        let (prefix, cost) = (self.prefix(from.ip), providers::cost(&record));
        let room = self.providers.room_for(&key, &from.peer, cost, prefix, &self.config);
        let inserted = room.and_then(|crowded_out| {
            let inserted = self.ledger.insert(Item::Provider(key, from.peer), expires, cost, prefix)?;
            Ok((crowded_out, inserted))
        });
        match inserted {
            Ok((crowded_out, (slot, evicted))) => {
                self.providers.insert(key, record, slot, cost, prefix);
                self.forget(evicted);
                for peer in crowded_out {
                    if let Some(provider) = self.providers.remove(&key, &peer) {
                        self.ledger.discard(provider.slot);
                    }
                }
                Ok(())
            }
            Err(refused) => {
                if let Some(before) = before {
                    self.ledger.restore(before);
                }
                Err(refused)
            }
        }
    }

    /// At most `max` providers of a key whose time is not over: from as many address prefixes as there are, and of each prefix
    /// those first that said so last.
    pub fn providers(&self, now: Instant, key: &Key, max: usize) -> Vec<PeerRecord> {
        self.providers.of(key, max, |provider| self.ledger.expires(provider.slot).is_some_and(|expires| expires > now))
    }

    /// Forgets everything whose time is over. Returns how much that was.
    pub fn expire(&mut self, now: Instant) -> usize {
        let expired = self.ledger.expire(now);
        let count = expired.len();
        self.forget(expired);
        count
    }

    /// The next value that should be given to the nodes that are now closest to its key, if this node is among them; ask
    /// until there is none. Each value is due once in an interval, and not in one in which it was received: then
    /// somebody else has just done it.
    pub fn due_republish(&mut self, now: Instant) -> Option<Republish> {
        self.expire(now);
        let key = self.values.due(now)?;
        self.values.schedule(&key, self.republish_at(now, &key));
        let entry = self.values.get(&key)?;
        let ttl = self.ledger.expires(entry.slot)?.saturating_duration_since(now);
        Some(Republish { value: entry.value.clone(), ttl })
    }

    /// When [`expire`](Self::expire) or [`due_republish`](Self::due_republish) has something to do next.
    pub fn next_due(&self) -> Option<Instant> {
        self.ledger.next_expiry().into_iter().chain(self.values.next_due()).min()
    }

    /// How many values there are.
    pub fn values_len(&self) -> usize {
        self.values.len()
    }

    /// How many provider records there are.
    pub fn providers_len(&self) -> usize {
        self.providers.len()
    }

    /// What all of it counts for, in bytes: at most [`max_bytes`](StoreConfig::max_bytes).
    pub fn bytes(&self) -> usize {
        self.ledger.bytes()
    }

    /// What is charged to the prefix of an address, in bytes: at most [`prefix_bytes`](StoreConfig::prefix_bytes).
    pub fn bytes_of(&self, ip: IpAddr) -> usize {
        self.ledger.bytes_of(&Prefix::of(ip))
    }

    fn renew(&mut self, now: Instant, key: &Key, expires: Instant, prefix: Option<Prefix>) {
        let Some(slot) = self.values.get(key).map(|entry| entry.slot) else { return };
        let before = self.ledger.expires(slot);
        self.ledger.extend(slot, expires);
        self.ledger.sponsor(slot, prefix);
        // Whoever gives it a short life has not done the work of republishing it.
        if before.is_none_or(|before| expires + self.config.republish_interval >= before) {
            self.values.schedule(key, self.republish_at(now, key));
        }
    }

    /// When a value that was received now is due to be republished. All holders receive it at the same time; each has
    /// a wait of its own, between three and five quarters of the interval, so that the first one spares the others the work.
    fn republish_at(&self, now: Instant, key: &Key) -> Instant {
        let distance = self.local.distance(key);
        let wait = self.config.republish_interval;
        let spread = f64::from(distance.as_bytes()[31]) / 256.0;
        now + wait.mul_f64(0.75 + spread / 2.0)
    }

    fn forget(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Value(key) => self.values.remove(&key),
                Item::Provider(key, peer) => _ = self.providers.remove(&key, &peer),
            }
        }
    }

    /// The prefix that pays; `None` when nobody's share is looked at.
    fn prefix(&self, ip: IpAddr) -> Option<Prefix> {
        (self.config.quotas && (self.config.limit_local || !is_local(ip))).then(|| Prefix::of(ip))
    }
}
