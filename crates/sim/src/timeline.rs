//! What is to happen, in the order of its time.

use std::collections::BTreeMap;

/// Virtual nanoseconds since the world began.
pub(crate) type Nanos = u64;

/// Names one entry: its time, then the order in which entries of one time were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) at: Nanos,
    order: u64,
}

/// Entries that are taken out in the order of their times. One that is removed leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Timeline<T> {
    entries: BTreeMap<Key, T>,
    next: u64,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), next: 0 }
    }
}

impl<T> Timeline<T> {
    pub(crate) fn insert(&mut self, at: Nanos, entry: T) -> Key {
        let key = Key { at, order: self.next };
        self.next += 1;
        self.entries.insert(key, entry);
        key
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.entries.get_mut(&key)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.entries.remove(&key)
    }

    /// When the next entry is due.
    pub(crate) fn next_at(&self) -> Option<Nanos> {
        self.entries.first_key_value().map(|(key, _)| key.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Nanos, T)> {
        self.entries.pop_first().map(|(key, entry)| (key.at, entry))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> BTreeMap<Key, T> {
        std::mem::take(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_by_time_and_then_by_age() {
        let mut timeline = Timeline::default();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            timeline.insert(at, name);
        }
        let gone = timeline.insert(2, "gone");
        assert_eq!(timeline.remove(gone), Some("gone"));
        assert_eq!(timeline.remove(gone), None);
        assert_eq!(timeline.next_at(), Some(1));
        let order: Vec<_> = std::iter::from_fn(|| timeline.pop()).collect();
        assert_eq!(order, [(1, "a"), (3, "b"), (5, "c"), (5, "d")]);
        assert_eq!(timeline.len(), 0);
    }
}
