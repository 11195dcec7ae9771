//! Slots: how many there are of each kind.

use std::collections::BTreeSet;

use super::crowd::{Crowds, Range};
use super::{Candidate, SlotLimits};
use crate::Direction;

/// A dial that holds an outbound slot, and why it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dial(u64, DialKind);

/// Why somebody is dialed. Dials of one kind do not delay those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Asked, Self::Found, Self::Kept, Self::Again];

    /// Whether the dial holds a slot while it is under way. Of peers that are to be kept connected there may be
    /// thousands that never answer: those take a slot when they do.
    fn holds_slot(self) -> bool {
        matches!(self, Self::Asked | Self::Found)
    }
}

/// What a connection takes a place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Inbound,
    /// An outbound slot, for the application or for discovery.
    Asked,
    Found,
    /// Beside the outbound slots.
    Kept,
}

/// Places that are taken from the same stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Inbound,
    Outbound,
    Kept,
}

impl Place {
    pub(super) fn of<P>(candidate: &Candidate<P>) -> Self {
        match (candidate.direction, candidate.dial) {
            (Direction::Inbound, _) => Self::Inbound,
            (Direction::Outbound, None | Some(Dial(_, DialKind::Asked))) => Self::Asked,
            (Direction::Outbound, Some(Dial(_, DialKind::Found))) => Self::Found,
            (Direction::Outbound, Some(Dial(_, DialKind::Kept | DialKind::Again))) => Self::Kept,
        }
    }

    pub(super) fn class(self) -> Class {
        match self {
            Self::Inbound => Class::Inbound,
            Self::Asked | Self::Found => Class::Outbound,
            Self::Kept => Class::Kept,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Counts<P> {
    /// Connections in each [`Place`].
    places: [usize; 4],
    /// Inbound ones, by where they come from.
    crowds: Crowds<P>,
    /// Dials that have no connection yet that holds their slot.
    dials: BTreeSet<Dial>,
    /// How many of each kind.
    by_kind: [usize; DialKind::COUNT],
    next_dial: u64,
}

impl<P> Default for Counts<P> {
    fn default() -> Self {
        Self {
            places: [0; 4],
            crowds: Crowds::default(),
            dials: BTreeSet::new(),
            by_kind: [0; DialKind::COUNT],
            next_dial: 0,
        }
    }
}

impl<P: Range> Counts<P> {
    /// Whether a dial of this kind gets a slot now. Peers that were found are evicted for those the application asks for.
    pub(super) fn may_dial(&self, kind: DialKind, limits: &SlotLimits) -> bool {
        let under_way = if kind.holds_slot() { self.by_kind[kind as usize] } else { 0 };
        match kind {
            DialKind::Asked => self.places[Place::Asked as usize] + under_way < limits.outbound,
            DialKind::Found => self.taken(Class::Outbound) + under_way < limits.outbound,
            DialKind::Kept | DialKind::Again => self.taken(Class::Kept) < limits.kept,
        }
    }

    pub(super) fn begin_dial(&mut self, kind: DialKind, limits: &SlotLimits) -> Option<Dial> {
        if !self.may_dial(kind, limits) {
            return None;
        }
        let dial = Dial(self.next_dial, kind);
        self.next_dial += 1;
        self.dials.insert(dial);
        self.by_kind[kind as usize] += 1;
        Some(dial)
    }

    pub(super) fn end_dial(&mut self, dial: Dial) {
        if self.dials.remove(&dial) {
            self.by_kind[dial.1 as usize] -= 1;
        }
    }

    pub(super) fn add(&mut self, candidate: &Candidate<P>) {
        self.places[Place::of(candidate) as usize] += 1;
        if let Some(prefix) = counted_prefix(candidate) {
            self.crowds.add(prefix);
        }
        // The connection holds the slot from here on.
        if let Some(dial) = candidate.dial {
            self.end_dial(dial);
        }
    }

    pub(super) fn remove(&mut self, candidate: &Candidate<P>) {
        self.places[Place::of(candidate) as usize] -= 1;
        if let Some(prefix) = counted_prefix(candidate) {
            self.crowds.remove(prefix);
        }
    }

    /// Places held by connections.
    pub(super) fn taken(&self, class: Class) -> usize {
        let held = |place: Place| self.places[place as usize];
        match class {
            Class::Inbound => held(Place::Inbound),
            Class::Outbound => held(Place::Asked) + held(Place::Found),
            Class::Kept => held(Place::Kept),
        }
    }

    pub(super) fn crowds(&self) -> &Crowds<P> {
        &self.crowds
    }
}

fn counted_prefix<P: Copy>(candidate: &Candidate<P>) -> Option<P> {
    candidate.prefix.filter(|_| candidate.direction == Direction::Inbound)
}
