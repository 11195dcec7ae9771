//! The values, and when each is to be republished.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::ledger::Slot;
use super::{Refused, StoredValue};
use crate::Key;

/// The values that are kept. What they cost and when they expire is in the ledger.
#[derive(Debug, Default)]
pub(super) struct Values {
    entries: BTreeMap<Key, Entry>,
    by_due: BTreeSet<(Instant, Key)>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: StoredValue,
    pub(super) slot: Slot,
    /// When it is to be republished.
    due: Instant,
}

impl Entry {
    /// Whether `next` may take its place, which is then that of the slot.
    pub(super) fn check_successor(&self, next: &StoredValue, expected_seq: Option<u64>) -> Result<Slot, Refused> {
        // Of an immutable value there is no other one under its key: whatever is there was checked against it.
        let (Some(current), Some(seq)) = (self.value.seq(), next.seq()) else { return Err(Refused::InvalidValue) };
        if seq < current {
            return Err(Refused::Older { current });
        }
        if seq == current {
            // Also when only the signature differs: its owner can make many for the same value.
            return Err(Refused::Conflict);
        }
        match expected_seq {
            Some(expected) if expected != current => Err(Refused::Unexpected { current }),
            _ => Ok(self.slot),
        }
    }
}

impl Values {
    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Puts a value in, in place of any that is there.
    pub(super) fn insert(&mut self, key: Key, value: StoredValue, slot: Slot, due: Instant) {
        self.remove(&key);
        self.by_due.insert((due, key));
        self.entries.insert(key, Entry { value, slot, due });
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_due.remove(&(entry.due, *key));
        }
    }

    /// Sets when a value is to be republished.
    pub(super) fn schedule(&mut self, key: &Key, due: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.by_due.remove(&(entry.due, *key));
            self.by_due.insert((due, *key));
            entry.due = due;
        }
    }

    /// One that is to be republished by now.
    pub(super) fn due(&self, now: Instant) -> Option<Key> {
        self.by_due.first().filter(|(due, _)| *due <= now).map(|(_, key)| *key)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_due.first().map(|(due, _)| *due)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
