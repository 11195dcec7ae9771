//! Random numbers that are the same in each run: for tests, benchmarks and simulations, each of which includes this file.
#![allow(dead_code, reason = "nobody needs all of it")]

use super::Key;

/// SplitMix64 (Steele, Lea and Flood 2014): small, and good enough for drawing ids and delays.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    pub(crate) fn key(&mut self) -> Key {
        let words = [self.next(), self.next(), self.next(), self.next()];
        Key::from_bytes(std::array::from_fn(|n| words[n / 8].to_be_bytes()[n % 8]))
    }

    /// A key that has the first `bits` bits in common with `key`: what somebody finds who searches for it.
    pub(crate) fn key_near(&mut self, key: &Key, bits: usize) -> Key {
        let mut bytes = *self.key().as_bytes();
        for bit in 0..bits {
            let mask = 0x80 >> (bit % 8);
            bytes[bit / 8] = bytes[bit / 8] & !mask | key.as_bytes()[bit / 8] & mask;
        }
        Key::from_bytes(bytes)
    }
}
