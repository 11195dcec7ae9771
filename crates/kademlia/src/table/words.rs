//! Sets of bucket indices, and keys as words that such sets can be cut with.

use crate::Key;
use crate::key::BITS;

const WORDS: usize = BITS / 64;

/// 256 bits. As a key: its number. As a set: bucket 0 is the most significant bit, so that the set of buckets in which
/// two keys differ is simply their XOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Words(pub(super) [u64; WORDS]);

impl Words {
    pub(super) const NONE: Self = Self([0; WORDS]);

    pub(super) fn of_key(key: &Key) -> Self {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(key.as_bytes().as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        Self(words)
    }

    pub(super) fn to_key(self) -> Key {
        let mut bytes = [0; BITS / 8];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *bytes = word.to_be_bytes();
        }
        Key::from_bytes(bytes)
    }

    pub(super) fn zip(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let mut words = self.0;
        words.iter_mut().zip(other.0).for_each(|(a, b)| *a = combine(*a, b));
        Self(words)
    }

    /// The index of the most significant bit that is set.
    pub(super) fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.0[word].leading_zeros() as usize)
    }

    /// The index of the least significant bit that is set.
    pub(super) fn last(&self) -> Option<usize> {
        let word = self.0.iter().rposition(|word| *word != 0)?;
        Some(word * 64 + 63 - self.0[word].trailing_zeros() as usize)
    }

    pub(super) fn set(&mut self, index: usize, to: bool) {
        let bit = 1 << (63 - index % 64);
        if to { self.0[index / 64] |= bit } else { self.0[index / 64] &= !bit }
    }

    /// The 32 bits from `index` on; zeros after the last.
    pub(super) fn bits_from(&self, index: usize) -> u32 {
        let word = |at: usize| self.0.get(at).copied().unwrap_or(0);
        let both = u128::from(word(index / 64)) << 64 | u128::from(word(index / 64 + 1));
        (both << (index % 64) >> 96) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_are_the_bits_of_a_key(bytes: [u8; 32], index in 0..=BITS) {
            let key = Key::from_bytes(bytes);
            let words = Words::of_key(&key);
            prop_assert_eq!(words.to_key(), key);
            let bit = |at: usize| at < BITS && bytes[at / 8] & (0x80 >> (at % 8)) != 0;
            let bits = (0..32).fold(0u32, |bits, n| bits << 1 | u32::from(bit(index + n)));
            prop_assert_eq!(words.bits_from(index), bits);
        }

        #[test]
        fn a_set_has_what_was_put_in(indices in prop::collection::btree_set(0..BITS, 0..9), out in 0..BITS) {
            let mut set = Words::NONE;
            indices.iter().for_each(|index| set.set(*index, true));
            prop_assert_eq!(set.first(), indices.first().copied());
            prop_assert_eq!(set.last(), indices.last().copied());
            set.set(out, false);
            prop_assert_eq!(set.first(), indices.iter().find(|index| **index != out).copied());
        }
    }
}
