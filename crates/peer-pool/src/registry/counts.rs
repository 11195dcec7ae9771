//! Slots: how many there are of each kind.

use std::collections::BTreeMap;

use super::Candidate;
use crate::Direction;

/// A dial that holds an outbound slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dial(u64);

/// Who waits for a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialKind {
    /// The application does.
    Asked,
    /// Nobody: a peer that is kept connected, or one that discovery found.
    Background,
}

#[derive(Debug, Clone)]
pub(super) struct Counts<P> {
    inbound: usize,
    outbound: usize,
    prefixes: BTreeMap<P, usize>,
    /// Dials that have no connection yet that holds their slot.
    dials: BTreeMap<Dial, DialKind>,
    asked: usize,
    next_dial: u64,
}

impl<P> Default for Counts<P> {
    fn default() -> Self {
        Self { inbound: 0, outbound: 0, prefixes: BTreeMap::new(), dials: BTreeMap::new(), asked: 0, next_dial: 0 }
    }
}

impl<P: Ord + Copy> Counts<P> {
    pub(super) fn begin_dial(&mut self, kind: DialKind, limit: usize) -> Option<Dial> {
        let rivals = match kind {
            DialKind::Asked => self.asked,
            DialKind::Background => self.dials.len(),
        };
        if self.outbound + rivals >= limit {
            return None;
        }
        let dial = Dial(self.next_dial);
        self.next_dial += 1;
        self.dials.insert(dial, kind);
        self.asked += usize::from(kind == DialKind::Asked);
        Some(dial)
    }

    pub(super) fn end_dial(&mut self, dial: Dial) {
        if self.dials.remove(&dial) == Some(DialKind::Asked) {
            self.asked -= 1;
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
