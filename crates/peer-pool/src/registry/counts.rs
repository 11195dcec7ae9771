//! Slots: how many there are of each kind.

use std::collections::BTreeMap;

use super::Candidate;
use crate::Direction;

/// A dial that holds an outbound slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dial(u64);

/// Why somebody is dialed. Dials of one kind do not delay those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialKind {
    /// The application waits for it.
    Asked,
    /// Discovery has found the peer.
    Found,
    /// The peer is to be kept connected, and has not been yet.
    Kept,
    /// The peer is to be kept connected, and was before.
    Again,
}

impl DialKind {
    /// How many kinds there are.
    pub const COUNT: usize = 4;

    /// Whether the dial holds a slot while it is under way. Of peers that are to be kept connected there may be
    /// thousands that never answer: those take a slot when they do.
    fn holds_slot(self) -> bool {
        matches!(self, Self::Asked | Self::Found)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Counts<P> {
    inbound: usize,
    outbound: usize,
    prefixes: BTreeMap<P, usize>,
    /// Dials that have no connection yet that holds their slot.
    dials: BTreeMap<Dial, DialKind>,
    /// How many of each kind.
    by_kind: [usize; DialKind::COUNT],
    next_dial: u64,
}

impl<P> Default for Counts<P> {
    fn default() -> Self {
        Self {
            inbound: 0,
            outbound: 0,
            prefixes: BTreeMap::new(),
            dials: BTreeMap::new(),
            by_kind: [0; DialKind::COUNT],
            next_dial: 0,
        }
    }
}

impl<P: Ord + Copy> Counts<P> {
    /// Whether a dial of this kind gets a slot now.
    pub(super) fn may_dial(&self, kind: DialKind, limit: usize) -> bool {
        let under_way = if kind.holds_slot() { self.by_kind[kind as usize] } else { 0 };
        self.outbound + under_way < limit
    }

    pub(super) fn begin_dial(&mut self, kind: DialKind, limit: usize) -> Option<Dial> {
        if !self.may_dial(kind, limit) {
            return None;
        }
        let dial = Dial(self.next_dial);
        self.next_dial += 1;
        self.dials.insert(dial, kind);
        self.by_kind[kind as usize] += 1;
        Some(dial)
    }

    pub(super) fn end_dial(&mut self, dial: Dial) {
        if let Some(kind) = self.dials.remove(&dial) {
            self.by_kind[kind as usize] -= 1;
        }
    }

    pub(super) fn add(&mut self, candidate: &Candidate<P>) {
        match candidate.direction {
            Direction::Inbound => {
                self.inbound += 1;
                if let Some(prefix) = candidate.prefix {
                    *self.prefixes.entry(prefix).or_default() += 1;
                }
            }
            Direction::Outbound => {
                self.outbound += 1;
                // The connection holds the slot from here on.
                if let Some(dial) = candidate.dial {
                    self.end_dial(dial);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, candidate: &Candidate<P>) {
        match candidate.direction {
            Direction::Inbound => {
                self.inbound -= 1;
                let Some(prefix) = candidate.prefix else { return };
                if let Some(count) = self.prefixes.get_mut(&prefix) {
                    *count -= 1;
                    if *count == 0 {
                        self.prefixes.remove(&prefix);
                    }
                }
            }
            Direction::Outbound => self.outbound -= 1,
        }
    }

    /// Slots held by connections.
    pub(super) fn taken(&self, direction: Direction) -> usize {
        match direction {
            Direction::Inbound => self.inbound,
            Direction::Outbound => self.outbound,
        }
    }

    pub(super) fn of_prefix(&self, prefix: P) -> usize {
        self.prefixes.get(&prefix).copied().unwrap_or(0)
    }
}
