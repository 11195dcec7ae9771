//! Who must make room for an inbound newcomer: what is promised, counted anew from all connections.

use std::collections::BTreeMap;

use super::*;
use crate::registry::crowd::WEIGHTS;
use crate::registry::room::MAX_WAITING;

/// What is to become of a newcomer.
#[derive(Debug)]
pub(super) enum Newcomer {
    /// Nobody goes for it: there is room, or a place that it shares.
    Fits,
    /// One of these, which wait for their remote for too long, goes first.
    DropsStuck(Vec<ConnectionId>),
    /// This one of a crowd goes first.
    Evicts(ConnectionId),
    /// There is no room.
    TooMany,
}

fn is_inbound(entry: &Entry<u8>) -> bool {
    entry.candidate.direction.is_inbound()
}

fn waits(entry: &Entry<u8>) -> bool {
    matches!(entry.phase, Phase::Accepted | Phase::Complete)
}

/// The sum of `weight * n^2` over the ranges of all widths.
fn crowding(ranges: &[u8]) -> i64 {
    let of_width = |(width, weight): (usize, &i64)| {
        let mut counts = BTreeMap::<u8, i64>::new();
        ranges.iter().for_each(|range| *counts.entry(range.at_width(width)).or_default() += 1);
        weight * counts.values().map(|count| count * count).sum::<i64>()
    };
    WEIGHTS.iter().enumerate().map(of_width).sum()
}

impl Newcomer {
    pub(super) fn expected(registry: &Registry<u8>, now: Instant, new: &Candidate<u8>) -> Self {
        let inbound: Vec<&Entry<u8>> = registry.entries.values().filter(|entry| is_inbound(entry)).collect();
        let held: Vec<&Entry<u8>> = inbound.iter().copied().filter(|entry| entry.counted).collect();
        let known = |entry: &&&Entry<u8>| {
            entry.candidate.peer == new.peer && (new.proven || entry.candidate.prefix == new.prefix)
        };
        let shares = inbound.iter().filter(known).any(|entry| entry.phase != Phase::Leaving);
        if (shares && held.iter().any(|entry| known(&entry))) || held.len() < limits().inbound {
            return Self::Fits;
        }
        let ranges: Vec<u8> = held.iter().filter_map(|entry| entry.candidate.prefix).collect();
        // One that is exempt is as alone as can be.
        let alone = if new.prefix.is_none() { WEIGHTS.iter().sum() } else { 0 };
        let relief = |there: u8| {
            let mut others = ranges.clone();
            if let Some(at) = others.iter().position(|range| *range == there) {
                others.swap_remove(at);
            }
            others.extend(new.prefix);
            crowding(&ranges) - crowding(&others) - alone
        };
        let age = |entry: &Entry<u8>| now.saturating_duration_since(entry.since);
        let stuck = held.iter().filter(|entry| {
            waits(entry)
                && age(entry) >= limits().grace
                && entry.candidate.prefix.is_none_or(|range| relief(range) >= 0)
        });
        let (proven, unproven): (Vec<&Entry<u8>>, Vec<&Entry<u8>>) =
            stuck.copied().partition(|entry| entry.candidate.proven);
        let first = if unproven.is_empty() { proven } else { unproven };
        if !first.is_empty() {
            return Self::DropsStuck(first.iter().map(|entry| entry.candidate.id).collect());
        }
        let leaving = inbound.iter().filter(|entry| entry.phase == Phase::Leaving && !entry.counted).count();
        let goes = |entry: &&&Entry<u8>| waits(entry) || (entry.phase == Phase::Live && leaving < limits().inbound);
        let is_useful = |entry: &Entry<u8>| {
            let named = entry.standing.claim && entry.candidate.proven;
            named || entry.standing.used.is_some_and(|used| now.saturating_duration_since(used) < USEFUL)
        };
        let rank = |entry: &&Entry<u8>| {
            let relief = relief(entry.candidate.prefix.filter(|_| !is_useful(entry))?);
            let gives_way = relief > 0 || (relief == 0 && age(entry) >= USEFUL) || (new.claim && new.proven);
            gives_way.then_some((relief, entry.since, entry.candidate.id))
        };
        held.iter().filter(goes).filter_map(rank).max().map_or(Self::TooMany, |(.., id)| Self::Evicts(id))
    }

    /// Whether that has become of it. Whoever goes may leave its place to another connection of its peer, so that more than one goes.
    pub(super) fn check(&self, verdict: &Result<(), RejectReason>, effects: &[Effect]) {
        let first = effects.iter().find(|effect| !matches!(effect, Effect::Probe(_)));
        match (verdict, self, first) {
            (Err(RejectReason::SelfDial | RejectReason::AlreadyConnected) | Ok(()), Self::Fits, None) => {}
            (Err(RejectReason::SelfDial | RejectReason::AlreadyConnected), _, None) => {}
            (_, Self::DropsStuck(stuck), Some(Effect::Drop(id, RejectReason::Timeout))) if stuck.contains(id) => {}
            (_, Self::Evicts(goes), Some(Effect::Evict(id) | Effect::Drop(id, RejectReason::SlotsFull)))
                if goes == id => {}
            (Err(RejectReason::SlotsFull), Self::TooMany, None) => {}
            _ => panic!("{verdict:?} with {effects:?}, not {self:?}"),
        }
    }
}

/// Every inbound connection has a place, or shares one that it would have shared when it came, and not with too many.
pub(super) fn check_places(registry: &Registry<u8>) {
    let Registry { entries, by_peer, .. } = registry;
    for ids in by_peer.values() {
        let inbound: Vec<&Entry<u8>> = ids.iter().map(|id| &entries[id]).filter(|entry| is_inbound(entry)).collect();
        let holds = |entry: &Entry<u8>, like: &Candidate<u8>| {
            entry.counted && (like.proven || entry.candidate.prefix == like.prefix)
        };
        for entry in inbound.iter().filter(|entry| entry.phase != Phase::Leaving) {
            assert!(inbound.iter().any(|other| holds(other, &entry.candidate)), "it has no place: {entry:?}");
            let like = |other: &&&Entry<u8>| {
                waits(other) && !other.candidate.proven && other.candidate.prefix == entry.candidate.prefix
            };
            assert!(inbound.iter().filter(like).count() <= MAX_WAITING, "too many share a place");
        }
    }
    let counted = entries.values().filter(|entry| entry.counted && is_inbound(entry));
    let mut crowds = crate::registry::crowd::Crowds::default();
    counted.filter_map(|entry| entry.candidate.prefix).for_each(|range| crowds.add(range));
    assert!(crowds == *registry.counts.crowds(), "ranges are counted wrongly");
    assert!(registry.counts.taken(Class::Inbound) <= limits().inbound, "more places than there are");
}
