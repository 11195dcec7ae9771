//! A hint of what a peer advertises, in 16 bytes.

use std::fmt;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// A Bloom filter (Bloom 1970) of 128 bits and two hashes: whether an item *may* have been put in. With ten items
/// it errs for about one item in fifty that was not.
///
/// The bits of an item are the low seven bits of the first and of the second byte of its SHA-256; bit `n` is bit
/// `n % 8` of byte `n / 8`.
///
/// ```
/// use p2p_identity::Bloom;
///
/// let mut items = Bloom::default();
/// items.insert(b"/chat/1");
/// assert!(items.may_contain(b"/chat/1"));
/// assert!(!items.may_contain(b"/files/1"));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bloom([u8; 16]);

impl Bloom {
    /// A filter of these bits.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bits.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Puts an item in.
    pub fn insert(&mut self, item: &[u8]) {
        for bit in bits(item) {
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// `false`: the item was not put in. `true`: it may have been.
    pub fn may_contain(&self, item: &[u8]) -> bool {
        bits(item).into_iter().all(|bit| self.0[bit / 8] & 1 << (bit % 8) != 0)
    }

    /// Whether nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 16]
    }
}

fn bits(item: &[u8]) -> [usize; 2] {
    let hash = digest(&SHA256, item);
    let hash = hash.as_ref();
    [usize::from(hash[0] & 0x7f), usize::from(hash[1] & 0x7f)]
}

impl<T: AsRef<[u8]>> FromIterator<T> for Bloom {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut bloom = Self::default();
        items.into_iter().for_each(|item| bloom.insert(item.as_ref()));
        bloom
    }
}

impl fmt::Debug for Bloom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bloom({:032x})", u128::from_le_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_the_specification() {
        // SHA-256("abc") = ba 78 16 bf ..: bits 0x3a and 0x78.
        let bloom: Bloom = ["abc"].into_iter().collect();
        let mut expected = [0; 16];
        expected[0x3a / 8] |= 1 << (0x3a % 8);
        expected[0x78 / 8] |= 1 << (0x78 % 8);
        assert_eq!(bloom.as_bytes(), &expected);
    }

    #[test]
    fn nothing_is_missed_and_little_is_made_up() {
        let bloom: Bloom = (0..10).map(|n| format!("in-{n}")).collect();
        assert!((0..10).all(|n| bloom.may_contain(format!("in-{n}").as_bytes())));
        let wrong = (0..10_000).filter(|n| bloom.may_contain(format!("out-{n}").as_bytes())).count();
        assert!((50..500).contains(&wrong), "{wrong} of 10,000");
        assert!(Bloom::default().is_empty() && !bloom.is_empty());
    }
}
