//! What everything costs, who vouches for it, when it expires, and what goes first when there is no more room.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use p2p_core::PeerId;
use p2p_identity::Prefix;

use super::{MAX_SPONSORS, Refused};
use crate::Key;

/// A record, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Value(Key),
    Provider(Key, PeerId),
}

impl Item {
    fn key(&self) -> &Key {
        match self {
            Self::Value(key) | Self::Provider(key, _) => key,
        }
    }
}

/// A record, by number: later ones have higher ones, and none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u64);

/// What goes first when there is no more room: what is farthest from the node's own position, counted in common leading
/// bits; of what is about as far, what expires first; then what is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    closeness: usize,
    expires: Instant,
    slot: Slot,
}

/// An entry of the ledger, as it is handed out by [`Ledger::take`].
#[derive(Debug)]
pub(super) struct Account {
    item: Item,
    rank: Rank,
    cost: usize,
    /// The prefixes it is charged to, each with its full cost; it stays for as long as one of them has room for it. None: it is
    /// charged to nobody, and only the bound over all holds.
    sponsors: Vec<Prefix>,
}

/// What is charged to a prefix.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    ranks: BTreeSet<Rank>,
}

/// The books of a store. All of its records are here, and in no index is anything else.
#[derive(Debug)]
pub(super) struct Ledger {
    local: Key,
    max_bytes: usize,
    prefix_bytes: usize,
    bytes: usize,
    next_slot: u64,
    accounts: BTreeMap<Slot, Account>,
    by_rank: BTreeSet<Rank>,
    by_expiry: BTreeSet<(Instant, Slot)>,
    shares: BTreeMap<Prefix, Share>,
}

impl Ledger {
    pub(super) fn new(local: Key, max_bytes: usize, prefix_bytes: usize) -> Self {
        Self {
            local,
            max_bytes,
            prefix_bytes,
            bytes: 0,
            next_slot: 0,
            accounts: BTreeMap::new(),
            by_rank: BTreeSet::new(),
            by_expiry: BTreeSet::new(),
            shares: BTreeMap::new(),
        }
    }

    /// Enters a record, charged to `sponsor`, and names those that went to make room.
    ///
    /// # Errors
    /// [`Refused::Quota`] and [`Refused::Full`] when what would have to go is worth more. Nothing has changed then.
    pub(super) fn insert(
        &mut self,
        item: Item,
        expires: Instant,
        cost: usize,
        sponsor: Option<Prefix>,
    ) -> Result<(Slot, Vec<Item>), Refused> {
        let slot = Slot(self.next_slot);
        let rank = Rank { closeness: self.local.common_prefix_len(item.key()), expires, slot };
        let unsponsored = self.room_in_share(cost, &rank, sponsor)?;
        let evicted = self.room(cost, &rank, sponsor, &unsponsored)?;
        self.next_slot += 1;
        let mut gone = Vec::new();
        for slot in unsponsored {
            if let Some(sponsor) = sponsor {
                gone.extend(self.unsponsor(slot, &sponsor));
            }
        }
        gone.extend(evicted.into_iter().filter_map(|slot| self.discard(slot)));
        self.restore(Account { item, rank, cost, sponsors: sponsor.into_iter().collect() });
        Ok((slot, gone))
    }

    /// What the sponsor can no longer pay for beside a record of this rank.
    fn room_in_share(&self, cost: usize, rank: &Rank, sponsor: Option<Prefix>) -> Result<Vec<Slot>, Refused> {
        let Some(sponsor) = sponsor else { return Ok(Vec::new()) };
        let share = self.shares.get(&sponsor);
        let (bytes, ranks) = (share.map_or(0, |share| share.bytes), share.into_iter().flat_map(|share| &share.ranks));
        self.victims((bytes + cost).saturating_sub(self.prefix_bytes), rank, ranks).ok_or(Refused::Quota)
    }

    /// What has to go altogether beside a record of this rank, when `unsponsored` have lost their sponsor.
    fn room(
        &self,
        cost: usize,
        rank: &Rank,
        sponsor: Option<Prefix>,
        unsponsored: &[Slot],
    ) -> Result<Vec<Slot>, Refused> {
        let mut going = BTreeSet::new();
        let mut freed = 0;
        for account in unsponsored.iter().filter_map(|slot| self.accounts.get(slot)) {
            if account.sponsors.iter().all(|other| Some(*other) == sponsor) {
                freed += account.cost;
                going.insert(account.rank);
            }
        }
        let missing = (self.bytes + cost).saturating_sub(self.max_bytes + freed);
        let staying = self.by_rank.iter().filter(|rank| !going.contains(rank));
        self.victims(missing, rank, staying).ok_or(Refused::Full)
    }

    /// The first of `ranks` that cost `missing` together, if all of them rank below `newcomer`.
    fn victims<'a>(
        &self,
        mut missing: usize,
        newcomer: &Rank,
        ranks: impl IntoIterator<Item = &'a Rank>,
    ) -> Option<Vec<Slot>> {
        let mut victims = Vec::new();
        let mut ranks = ranks.into_iter();
        while missing > 0 {
            let rank = ranks.next().filter(|rank| *rank < newcomer)?;
            missing = missing.saturating_sub(self.accounts.get(&rank.slot)?.cost);
            victims.push(rank.slot);
        }
        Some(victims)
    }

    /// Takes a record out, to be put back or replaced.
    ///
    /// # Panics
    /// When there is none of this number: the store keeps numbers of what is here only.
    pub(super) fn take(&mut self, slot: Slot) -> Account {
        let account = self.accounts.remove(&slot).expect("the store drops the number of a record with the record");
        self.bytes -= account.cost;
        self.by_rank.remove(&account.rank);
        self.by_expiry.remove(&(account.rank.expires, slot));
        account.sponsors.iter().for_each(|sponsor| self.credit(sponsor, &account));
        account
    }

    /// Puts back what was taken out, when nothing else has changed since.
    pub(super) fn restore(&mut self, account: Account) {
        self.bytes += account.cost;
        self.by_rank.insert(account.rank);
        self.by_expiry.insert((account.rank.expires, account.rank.slot));
        account.sponsors.iter().for_each(|sponsor| self.charge(*sponsor, &account));
        self.accounts.insert(account.rank.slot, account);
    }

    /// Removes a record.
    pub(super) fn discard(&mut self, slot: Slot) -> Option<Item> {
        self.accounts.contains_key(&slot).then(|| self.take(slot).item)
    }

    /// One more prefix vouches for a record, if it has room for it. Where as many do as may, the fullest one is replaced by
    /// a less full one, but never the one that was first: otherwise a few prefixes could first take a record over and then
    /// drop it. `None` vouches without limit.
    pub(super) fn sponsor(&mut self, slot: Slot, sponsor: Option<Prefix>) {
        let Some(account) = self.accounts.get(&slot) else { return };
        if account.sponsors.is_empty() || sponsor.is_some_and(|sponsor| account.sponsors.contains(&sponsor)) {
            return;
        }
        let mut account = self.take(slot);
        match sponsor {
            None => account.sponsors.clear(),
            Some(sponsor) if self.bytes_of(&sponsor) + account.cost <= self.prefix_bytes => {
                account.sponsors.push(sponsor);
                if account.sponsors.len() > MAX_SPONSORS {
                    let fullest = |at: &usize| self.bytes_of(&account.sponsors[*at]);
                    if let Some(fullest) = (1..account.sponsors.len()).max_by_key(fullest) {
                        account.sponsors.remove(fullest);
                    }
                }
            }
            Some(_) => {}
        }
        self.restore(account);
    }

    /// Those who vouched for what a record replaced vouch for it too.
    pub(super) fn inherit(&mut self, slot: Slot, before: &Account) {
        if before.sponsors.is_empty() {
            self.sponsor(slot, None);
        }
        before.sponsors.iter().for_each(|sponsor| self.sponsor(slot, Some(*sponsor)));
    }

    /// A prefix no longer vouches for a record; names it if it has to go for want of another.
    fn unsponsor(&mut self, slot: Slot, sponsor: &Prefix) -> Option<Item> {
        let mut account = self.take(slot);
        account.sponsors.retain(|other| other != sponsor);
        if account.sponsors.is_empty() {
            return Some(account.item);
        }
        self.restore(account);
        None
    }

    /// A record stays at least until then.
    pub(super) fn extend(&mut self, slot: Slot, expires: Instant) {
        let mut account = self.take(slot);
        account.rank.expires = account.rank.expires.max(expires);
        self.restore(account);
    }

    /// When a record's time is over.
    pub(super) fn expires(&self, slot: Slot) -> Option<Instant> {
        self.accounts.get(&slot).map(|account| account.rank.expires)
    }

    /// Removes the records whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Item> {
        let expired: Vec<_> =
            self.by_expiry.iter().take_while(|(expires, _)| *expires <= now).map(|(_, slot)| *slot).collect();
        expired.into_iter().filter_map(|slot| self.discard(slot)).collect()
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.by_expiry.first().map(|(expires, _)| *expires)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn bytes_of(&self, prefix: &Prefix) -> usize {
        self.shares.get(prefix).map_or(0, |share| share.bytes)
    }

    fn charge(&mut self, sponsor: Prefix, account: &Account) {
        let share = self.shares.entry(sponsor).or_default();
        share.bytes += account.cost;
        share.ranks.insert(account.rank);
    }

    fn credit(&mut self, sponsor: &Prefix, account: &Account) {
        let Some(share) = self.shares.get_mut(sponsor) else { return };
        share.bytes -= account.cost;
        share.ranks.remove(&account.rank);
        if share.ranks.is_empty() {
            self.shares.remove(sponsor);
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
