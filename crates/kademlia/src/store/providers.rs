//! Who provides what.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use p2p_core::PeerId;
use p2p_identity::{PeerRecord, Prefix};
use p2p_net::PeerAddr;

use super::ledger::Slot;
use super::{ITEM_OVERHEAD, Refused, StoreConfig};
use crate::Key;

/// The provider records that are kept, by key. What they cost in all and when they expire is in the ledger.
#[derive(Debug, Default)]
pub(super) struct Providers {
    keys: BTreeMap<Key, BTreeMap<PeerId, Provider>>,
    len: usize,
}

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) record: PeerRecord,
    /// Later ones have higher numbers.
    pub(super) slot: Slot,
    cost: usize,
    prefix: Option<Prefix>,
}

/// What a provider record counts for: its bytes as they are kept, and its addresses as they are read.
pub(super) fn cost(record: &PeerRecord) -> usize {
    let addrs = record.addrs().len() + record.discovery_addrs().len();
    ITEM_OVERHEAD + record.as_bytes().len() + addrs * size_of::<PeerAddr>()
}

impl Providers {
    pub(super) fn get(&self, key: &Key, peer: &PeerId) -> Option<&Provider> {
        self.keys.get(key)?.get(peer)
    }

    /// Who has to go from the key so that `peer` can have a record of `cost` there: one of its own prefix if that has as many
    /// as it may, and those of the prefix with the most until the bytes suffice; the one that was renewed longest ago first.
    /// So a crowd of one prefix is in nobody else's way.
    pub(super) fn room_for(
        &self,
        key: &Key,
        peer: &PeerId,
        cost: usize,
        prefix: Option<Prefix>,
        config: &StoreConfig,
    ) -> Result<Vec<PeerId>, Refused> {
        let mut crowded_out = Vec::new();
        if cost > config.key_bytes || (prefix.is_some() && config.key_prefix_providers == 0) {
            return Err(Refused::Quota);
        }
        let Some(present) = self.keys.get(key) else { return Ok(crowded_out) };
        let mut present: Vec<_> = present.iter().filter(|(other, _)| *other != peer).collect();
        present.sort_unstable_by_key(|(_, provider)| provider.slot);
        let count = |present: &[(&PeerId, &Provider)], prefix| {
            present.iter().filter(|(_, provider)| provider.prefix == prefix).count()
        };
        if prefix.is_some()
            && count(&present, prefix) >= config.key_prefix_providers
            && let Some(oldest) = present.iter().position(|(_, provider)| provider.prefix == prefix)
        {
            crowded_out.push(*present.remove(oldest).0);
        }
        let mut bytes = cost + present.iter().map(|(_, provider)| provider.cost).sum::<usize>();
        while bytes > config.key_bytes {
            let crowd =
                |(at, (_, provider)): &(usize, &(&PeerId, &Provider))| (count(&present, provider.prefix), Reverse(*at));
            let Some(at) = present.iter().enumerate().max_by_key(crowd).map(|(at, _)| at) else { break };
            let (peer, provider) = present.remove(at);
            bytes -= provider.cost;
            crowded_out.push(*peer);
        }
        Ok(crowded_out)
    }

    /// Puts a record in, in place of any that the same peer has there.
    pub(super) fn insert(&mut self, key: Key, record: PeerRecord, slot: Slot, cost: usize, prefix: Option<Prefix>) {
        let provider = Provider { record, slot, cost, prefix };
        let before = self.keys.entry(key).or_default().insert(provider.record.peer_id(), provider);
        self.len += usize::from(before.is_none());
    }

    pub(super) fn remove(&mut self, key: &Key, peer: &PeerId) -> Option<Provider> {
        let of_key = self.keys.get_mut(key)?;
        let removed = of_key.remove(peer)?;
        if of_key.is_empty() {
            self.keys.remove(key);
        }
        self.len -= 1;
        Some(removed)
    }

    /// At most `max` records of a key, in turn from each prefix, the one that was renewed last first.
    pub(super) fn of(&self, key: &Key, max: usize, live: impl Fn(&Provider) -> bool) -> Vec<PeerRecord> {
        let mut live: Vec<_> = self.keys.get(key).into_iter().flat_map(BTreeMap::values).filter(|p| live(p)).collect();
        live.sort_unstable_by_key(|provider| Reverse(provider.slot));
        let mut turns: BTreeMap<Option<Prefix>, usize> = BTreeMap::new();
        let mut ranked: Vec<_> = live
            .into_iter()
            .map(|provider| {
                let turn = turns.entry(provider.prefix).or_default();
                // Where prefixes do not count, all have the first turn.
                *turn += usize::from(provider.prefix.is_some());
                (*turn, provider)
            })
            .collect();
        ranked.sort_by_key(|(turn, _)| *turn);
        ranked.into_iter().take(max).map(|(_, provider)| provider.record.clone()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}
