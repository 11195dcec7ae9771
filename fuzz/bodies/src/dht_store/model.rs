//! A store as one plain list.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::prefix::is_local;
use p2p_identity::{PeerRecord, Prefix};
use p2p_kademlia::store::{ITEM_OVERHEAD, MAX_SPONSORS, Republish};
use p2p_kademlia::{Key, Refused, Source, StoreConfig, Stored, StoredValue};
use p2p_net::PeerAddr;

pub(super) const LOCAL: Key = Key::from_bytes([0; 32]);

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// With the time at which it is to be republished.
    Value(StoredValue, Instant),
    Provider(PeerRecord, Option<Prefix>),
}

#[derive(Debug, Clone)]
struct Item {
    key: Key,
    closeness: usize,
    what: What,
    /// Later ones have higher numbers.
    number: u64,
    expires: Instant,
    cost: usize,
    sponsors: Vec<Prefix>,
}

impl Item {
    /// The lowest goes first.
    fn rank(&self) -> (usize, Instant, u64) {
        (self.closeness, self.expires, self.number)
    }

    fn provider(&self) -> Option<PeerId> {
        match &self.what {
            What::Provider(record, _) => Some(record.peer_id()),
            What::Value(..) => None,
        }
    }

    fn prefix(&self) -> Option<Prefix> {
        match self.what {
            What::Provider(_, prefix) => prefix,
            What::Value(..) => None,
        }
    }
}

pub(super) struct Model {
    config: StoreConfig,
    list: Vec<Item>,
    numbers: u64,
}

impl Model {
    pub(super) fn new(config: StoreConfig) -> Self {
        Self { config, list: Vec::new(), numbers: 0 }
    }

    /// Whether a mutable value's signature decides what becomes of it.
    pub(super) fn is_checked(&mut self, now: Instant, value: &StoredValue) -> bool {
        self.expire(now);
        let there = self.value(&value.key()).and_then(|there| there.seq());
        value.seq().is_some_and(|seq| there.is_none_or(|there| seq > there))
    }

    pub(super) fn put(
        &mut self,
        now: Instant,
        value: StoredValue,
        ttl: Duration,
        expected: Option<u64>,
        from: Source,
        is_signed: bool,
    ) -> Result<Stored, Refused> {
        self.expire(now);
        if ttl.is_zero() {
            return Err(Refused::Expired);
        }
        let (key, prefix) = (value.key(), self.prefix(from.ip));
        let (expires, due) = (now + ttl.min(self.config.value_ttl), self.republish_at(now, &key));
        let at = self.list.iter().position(|item| item.key == key && item.provider().is_none());
        if let Some(at) = at {
            let there = self.value(&key).expect("it was found");
            if *there == value {
                return Ok(self.renew(at, expires, due, prefix));
            }
            let (Some(current), Some(seq)) = (there.seq(), value.seq()) else { return Err(Refused::InvalidValue) };
            if seq < current {
                return Err(Refused::Older { current });
            }
            if seq == current {
                return Err(Refused::Conflict);
            }
            if expected.is_some_and(|expected| expected != current) {
                return Err(Refused::Unexpected { current });
            }
        }
        if !is_signed {
            return Err(Refused::InvalidValue);
        }
        let cost = ITEM_OVERHEAD + value.payload_len();
        let before = self.insert(at, key, What::Value(value, due), expires, cost, prefix)?;
        let Some(before) = before else { return Ok(Stored::Added) };
        // Who vouched for the old one does for the new one.
        let last = self.list.len() - 1;
        if before.sponsors.is_empty() {
            self.list[last].sponsors.clear();
        }
        before.sponsors.iter().for_each(|sponsor| self.sponsor(last, *sponsor));
        Ok(Stored::Replaced)
    }

    pub(super) fn put_provider(
        &mut self,
        now: Instant,
        key: Key,
        record: PeerRecord,
        ttl: Duration,
        from: Source,
        is_signed: bool,
    ) -> Result<(), Refused> {
        self.expire(now);
        if record.peer_id() != from.peer {
            return Err(Refused::NotYours);
        }
        let at = self.list.iter().position(|item| item.key == key && item.provider() == Some(from.peer));
        if let Some(What::Provider(current, _)) = at.map(|at| &self.list[at].what)
            && current.seq() > record.seq()
        {
            return Err(Refused::Older { current: current.seq() });
        }
        if !is_signed {
            return Err(Refused::InvalidRecord);
        }
        if ttl.is_zero() {
            at.map(|at| self.list.remove(at));
            return Ok(());
        }
        let prefix = self.prefix(from.ip);
        let addrs = record.addrs().len() + record.discovery_addrs().len();
        let cost = ITEM_OVERHEAD + record.as_bytes().len() + addrs * size_of::<PeerAddr>();
        let crowded_out = self.crowded_out(&key, from.peer, cost, prefix)?;
        let expires = now + ttl.min(self.config.provider_ttl);
        self.insert(at, key, What::Provider(record, prefix), expires, cost, prefix)?;
        self.list.retain(|item| !crowded_out.contains(&item.number));
        Ok(())
    }

    pub(super) fn get(&self, now: Instant, key: &Key) -> Option<&StoredValue> {
        let item = self.list.iter().find(|item| item.key == *key && item.provider().is_none());
        item.filter(|item| item.expires > now).and_then(|item| self.value(&item.key))
    }

    pub(super) fn providers(&self, now: Instant, key: &Key, max: usize) -> Vec<PeerRecord> {
        let mut live: Vec<&Item> = self.list.iter().filter(|item| item.key == *key && item.expires > now).collect();
        live.sort_by_key(|item| Reverse(item.number));
        let mut turns: BTreeMap<Prefix, usize> = BTreeMap::new();
        let mut turn = |item: &Item| {
            item.prefix().map_or(0, |prefix| {
                let turn = turns.entry(prefix).or_default();
                *turn += 1;
                *turn
            })
        };
        let records = live.into_iter().filter_map(|item| match &item.what {
            What::Provider(record, _) => Some((turn(item), record.clone())),
            What::Value(..) => None,
        });
        let mut records: Vec<(usize, PeerRecord)> = records.collect();
        records.sort_by_key(|(turn, _)| *turn);
        records.into_iter().take(max).map(|(_, record)| record).collect()
    }

    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let before = self.list.len();
        self.list.retain(|item| item.expires > now);
        before - self.list.len()
    }

    pub(super) fn due_republish(&mut self, now: Instant) -> Option<Republish> {
        self.expire(now);
        let due = self.list.iter().filter_map(|item| match item.what {
            What::Value(_, due) if due <= now => Some((due, item.key)),
            _ => None,
        });
        let (_, key) = due.min()?;
        let again = self.republish_at(now, &key);
        let item = self.list.iter_mut().find(|item| item.key == key && item.provider().is_none())?;
        let What::Value(value, due) = &mut item.what else { return None };
        *due = again;
        Some(Republish { value: value.clone(), ttl: item.expires - now })
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self.list.iter().map(|item| match item.what {
            What::Value(_, due) => due.min(item.expires),
            What::Provider(..) => item.expires,
        });
        due.min()
    }

    /// How many values and provider records there are, and what all of it counts for.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let providers = self.list.iter().filter(|item| item.provider().is_some()).count();
        (self.list.len() - providers, providers, self.list.iter().map(|item| item.cost).sum())
    }

    pub(super) fn bytes_of(&self, prefix: Prefix) -> usize {
        self.list.iter().filter(|item| item.sponsors.contains(&prefix)).map(|item| item.cost).sum()
    }

    /// What the provider records of a key count for, and how many of them each prefix has at most.
    pub(super) fn of_key(&self, key: &Key) -> (usize, usize) {
        let mut counts: BTreeMap<Prefix, usize> = BTreeMap::new();
        let of_key = || self.list.iter().filter(|item| item.key == *key && item.provider().is_some());
        of_key().filter_map(Item::prefix).for_each(|prefix| *counts.entry(prefix).or_default() += 1);
        (of_key().map(|item| item.cost).sum(), counts.into_values().max().unwrap_or(0))
    }

    fn value(&self, key: &Key) -> Option<&StoredValue> {
        self.list.iter().filter(|item| item.key == *key).find_map(|item| match &item.what {
            What::Value(value, _) => Some(value),
            What::Provider(..) => None,
        })
    }

    fn prefix(&self, ip: IpAddr) -> Option<Prefix> {
        (self.config.quotas && (self.config.limit_local || !is_local(ip))).then(|| Prefix::of(ip))
    }

    fn republish_at(&self, now: Instant, key: &Key) -> Instant {
        let spread = f64::from(LOCAL.distance(key).as_bytes()[31]) / 256.0;
        now + self.config.republish_interval.mul_f64(0.75 + spread / 2.0)
    }

    fn renew(&mut self, at: usize, expires: Instant, due: Instant, prefix: Option<Prefix>) -> Stored {
        let item = &mut self.list[at];
        if expires + self.config.republish_interval >= item.expires
            && let What::Value(_, at) = &mut item.what
        {
            *at = due;
        }
        item.expires = item.expires.max(expires);
        match prefix {
            Some(prefix) => self.sponsor(at, prefix),
            None => item.sponsors.clear(),
        }
        Stored::Renewed
    }

    /// One more vouches for an item, if somebody has to and it has room.
    fn sponsor(&mut self, at: usize, sponsor: Prefix) {
        let item = &self.list[at];
        let (cost, none) = (item.cost, item.sponsors.is_empty());
        if none || item.sponsors.contains(&sponsor) || self.bytes_of(sponsor) + cost > self.config.prefix_bytes {
            return;
        }
        let mut sponsors = [&item.sponsors[..], &[sponsor]].concat();
        if sponsors.len() > MAX_SPONSORS {
            // What they pay for this one is the same for each, but for the newcomer, which pays for it only now.
            let others = |prefix: &Prefix| self.bytes_of(*prefix) - if *prefix == sponsor { 0 } else { cost };
            let fullest = sponsors[1..].iter().map(others).max();
            let last = sponsors.iter().rposition(|prefix| Some(others(prefix)) == fullest);
            last.map(|at| sponsors.remove(at));
        }
        self.list[at].sponsors = sponsors;
    }

    /// Puts an item in, in place of the one at `at`, which it gives back; everything stays as it is if there is no room.
    fn insert(
        &mut self,
        at: Option<usize>,
        key: Key,
        what: What,
        expires: Instant,
        cost: usize,
        sponsor: Option<Prefix>,
    ) -> Result<Option<Item>, Refused> {
        let (closeness, sponsors) = (LOCAL.common_prefix_len(&key), sponsor.into_iter().collect());
        let new = Item { key, closeness, what, number: self.numbers, expires, cost, sponsors };
        let mut list = self.list.clone();
        let before = at.map(|at| list.remove(at));
        if let Some(sponsor) = sponsor {
            let pays = |item: &&Item| item.sponsors.contains(&sponsor);
            let going = going(list.iter().filter(pays), self.config.prefix_bytes, &new).ok_or(Refused::Quota)?;
            let leaves = |item: &Item| going.contains(&item.number);
            list.iter_mut().filter(|item| leaves(item)).for_each(|item| item.sponsors.retain(|it| *it != sponsor));
            list.retain(|item| !leaves(item) || !item.sponsors.is_empty());
        }
        let going = going(list.iter(), self.config.max_bytes, &new).ok_or(Refused::Full)?;
        list.retain(|item| !going.contains(&item.number));
        list.push(new);
        self.list = list;
        self.numbers += 1;
        Ok(before)
    }

    /// Who makes room for one more provider of a key.
    fn crowded_out(&self, key: &Key, peer: PeerId, cost: usize, prefix: Option<Prefix>) -> Result<Vec<u64>, Refused> {
        let StoreConfig { key_bytes, key_prefix_providers, .. } = self.config;
        if cost > key_bytes || (prefix.is_some() && key_prefix_providers == 0) {
            return Err(Refused::Quota);
        }
        let is_other = |item: &&Item| item.key == *key && item.provider().is_some_and(|other| other != peer);
        let mut others: Vec<&Item> = self.list.iter().filter(is_other).collect();
        others.sort_by_key(|item| item.number);
        let mut crowded_out = Vec::new();
        let count = |others: &[&Item], prefix| others.iter().filter(|item| item.prefix() == prefix).count();
        if prefix.is_some() && count(&others, prefix) >= key_prefix_providers {
            let oldest = others.iter().position(|item| item.prefix() == prefix);
            crowded_out.extend(oldest.map(|at| others.remove(at).number));
        }
        while cost + others.iter().map(|item| item.cost).sum::<usize>() > key_bytes {
            let most = others.iter().map(|item| count(&others, item.prefix())).max();
            let oldest = others.iter().position(|item| Some(count(&others, item.prefix())) == most);
            crowded_out.extend(oldest.map(|at| others.remove(at).number));
        }
        Ok(crowded_out)
    }
}

/// Those that go so that all that stay and `new` are within `most`: the lowest, if they are all below it.
fn going<'a>(list: impl Iterator<Item = &'a Item>, most: usize, new: &Item) -> Option<Vec<u64>> {
    let mut list: Vec<&Item> = list.collect();
    list.sort_by_key(|item| item.rank());
    let mut bytes = new.cost + list.iter().map(|item| item.cost).sum::<usize>();
    let mut going = Vec::new();
    for item in list.into_iter().take_while(|item| item.rank() < new.rank()) {
        if bytes <= most {
            break;
        }
        bytes -= item.cost;
        going.push(item.number);
    }
    (bytes <= most).then_some(going)
}
