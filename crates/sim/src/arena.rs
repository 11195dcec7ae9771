//! Things found by number, whose numbers do not come back: an id of something gone finds nothing.

use slab::Slab;

/// The number of a thing in an [`Arena`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    index: u32,
    serial: u32,
}

#[derive(Debug)]
pub(crate) struct Arena<T> {
    slots: Slab<(u32, T)>,
    serial: u32,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { slots: Slab::new(), serial: 0 }
    }
}

impl<T> Arena<T> {
    pub(crate) fn insert(&mut self, value: T) -> Id {
        self.insert_with(|_| value)
    }

    /// Inserts what is made of its own number.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Id) -> T) -> Id {
        self.serial = self.serial.wrapping_add(1);
        let entry = self.slots.vacant_entry();
        let id = Id { index: entry.key() as u32, serial: self.serial };
        entry.insert((id.serial, make(id)));
        id
    }

    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        self.slots.get(id.index as usize).filter(|slot| slot.0 == id.serial).map(|slot| &slot.1)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.slots.get_mut(id.index as usize).filter(|slot| slot.0 == id.serial).map(|slot| &mut slot.1)
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        self.slots.try_remove(id.index as usize).map(|slot| slot.1)
    }

    /// All of them, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots.iter().map(|(index, (serial, value))| (Id { index: index as u32, serial: *serial }, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Id, &mut T)> {
        self.slots.iter_mut().map(|(index, (serial, value))| (Id { index: index as u32, serial: *serial }, value))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_number_finds_nothing() {
        let mut arena = Arena::default();
        let first = arena.insert('a');
        assert_eq!(arena.remove(first), Some('a'));
        let second = arena.insert('b');
        assert_eq!(first.index, second.index, "the slot is used again");
        assert!(arena.get(first).is_none() && arena.get_mut(first).is_none() && arena.remove(first).is_none());
        assert_eq!(arena.get(second), Some(&'b'));
        assert_eq!(arena.iter().count(), 1);
    }
}
