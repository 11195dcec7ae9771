//! A lookup of either kind.

use std::time::Instant;

use super::Peer;
use crate::{Contact, Key, Lookup, LookupStats, RegionLookup, RttEstimator};

/// The search of an operation: for the closest nodes, or for all of a region.
pub(super) enum Search {
    Closest(Box<Lookup<Peer>>),
    Region(Box<RegionLookup<Peer>>),
}

macro_rules! each {
    ($on:expr, $search:ident => $do:expr) => {
        match $on {
            Search::Closest($search) => $do,
            Search::Region($search) => $do,
        }
    };
}

impl Search {
    /// Whom to ask now, and for which target.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Peer, Key)> {
        match self {
            Self::Closest(search) => search.next(now).map(|peer| (peer, search.target())),
            Self::Region(search) => search.next(now),
        }
    }

    pub(super) fn on_connected(&mut self, now: Instant, to: &Key) {
        each!(self, search => search.on_connected(now, to));
    }

    pub(super) fn on_answer(&mut self, now: Instant, from: &Key, target: &Key, contacts: Vec<Peer>) -> bool {
        match self {
            Self::Closest(search) => search.on_answer(now, from, contacts),
            Self::Region(search) => search.on_answer(now, from, target, contacts),
        }
    }

    pub(super) fn on_failure(&mut self, from: &Key, target: &Key) {
        match self {
            Self::Closest(search) => search.on_failure(from),
            Self::Region(search) => search.on_failure(from, target),
        }
    }

    pub(super) fn on_invalid(&mut self, contact: &Key) {
        each!(self, search => search.on_invalid(contact));
    }

    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        each!(self, search => search.deadline(now))
    }

    pub(super) fn is_finished(&self) -> bool {
        each!(self, search => search.is_finished())
    }

    pub(super) fn stats(&self) -> LookupStats {
        each!(self, search => search.stats())
    }

    pub(super) fn rtt(&self) -> RttEstimator {
        each!(self, search => search.rtt())
    }

    /// Those that answered and count, closest first.
    pub(super) fn found(&self) -> Vec<Peer> {
        match self {
            Self::Closest(search) => search.closest().cloned().collect(),
            Self::Region(search) => search.found().cloned().collect(),
        }
    }

    /// The target, or the middle of the region.
    pub(super) fn center(&self) -> Key {
        match self {
            Self::Closest(search) => search.target(),
            Self::Region(search) => search.center(),
        }
    }

    pub(super) fn is_region(&self) -> bool {
        matches!(self, Self::Region(_))
    }
}

/// The positions of contacts.
pub(super) fn keys(peers: &[Peer]) -> impl Iterator<Item = Key> + '_ {
    peers.iter().map(Contact::key)
}
