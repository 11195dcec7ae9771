//! Positions in the space of keys, and how far apart they are.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use p2p_core::PeerId;
use p2p_identity::PublicKey;
use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

/// Bits of a key.
pub const BITS: usize = 256;

const PEER_DOMAIN: &[u8] = b"p2p/1 dht position\0";
const MUTABLE_DOMAIN: &[u8] = b"p2p/1 dht mutable value\0";

/// A position in the key space: a value's, a provided item's or a node's. 32 bytes, compared as one big-endian number.
///
/// ```
/// use p2p_kademlia::Key;
///
/// let key = Key::of_value(b"hello");
/// assert_eq!(key.distance(&key).leading_zeros(), 256);
/// assert_eq!(key.to_string().parse(), Ok(key));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key([u8; 32]);

impl Key {
    /// The position with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The position's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of an immutable value: its SHA-256.
    pub fn of_value(value: &[u8]) -> Self {
        Self(sha256(&[value]))
    }

    /// The position of a node. Nodes of different networks are spread differently, and nobody can choose a position
    /// without searching for a key pair that has it.
    pub fn of_peer(network: &str, peer_id: &PeerId) -> Self {
        // The last part has a fixed length, so no byte can move from one part to the other.
        Self(sha256(&[PEER_DOMAIN, network.as_bytes(), peer_id.as_bytes()]))
    }

    /// The key of a mutable value: that of its publisher and a salt of the publisher's choice.
    pub fn of_mutable(publisher: &PublicKey, salt: &[u8]) -> Self {
        Self(sha256(&[MUTABLE_DOMAIN, publisher.as_bytes(), salt]))
    }

    /// How far `other` is (XOR).
    pub fn distance(&self, other: &Self) -> Distance {
        let mut bytes = self.0;
        bytes.iter_mut().zip(other.0).for_each(|(a, b)| *a ^= b);
        Distance(bytes)
    }

    /// How many leading bits it has in common with `other`: 256 when they are the same.
    pub fn common_prefix_len(&self, other: &Self) -> usize {
        self.distance(other).leading_zeros()
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let hash = match parts {
        [one] => digest(&SHA256, one),
        _ => {
            let mut context = Context::new(&SHA256);
            parts.iter().for_each(|part| context.update(part));
            context.finish()
        }
    };
    hash.as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}..)", HEXLOWER.encode(&self.0[..4]))
    }
}

/// 64 lower-case hexadecimal digits.
impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidKey)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidKey)?))
    }
}

/// Text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 64 lower-case hexadecimal digits")]
pub struct InvalidKey;

/// How far two keys are apart: their XOR as one big-endian number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; 32]);

impl Distance {
    /// The largest distance there is.
    pub const MAX: Self = Self([0xff; 32]);

    /// The number's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// How many bits before the first that is set: 256 for no distance at all.
    pub fn leading_zeros(&self) -> usize {
        let (zeros, rest) = self.0.split_at(self.0.iter().take_while(|byte| **byte == 0).count());
        zeros.len() * 8 + rest.first().map_or(0, |byte| byte.leading_zeros() as usize)
    }

    /// As a fraction of the whole space, between 0 and 1.
    pub fn fraction(&self) -> f64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) as f64 / 2f64.powi(64)
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distance({}..)", HEXLOWER.encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_key_of_a_value_is_its_hash() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Key::of_value(b"abc").to_string(), abc);
        for wrong in ["", "ba78", &abc[1..], &abc.to_uppercase(), &format!("{abc}0")] {
            assert_eq!(wrong.parse::<Key>(), Err(InvalidKey), "{wrong}");
        }
    }

    #[test]
    fn positions_depend_on_the_network() {
        let peer_id = p2p_identity::KeyPair::from_seed([7; 32]).peer_id();
        assert_ne!(Key::of_peer("a", &peer_id), Key::of_peer("b", &peer_id));
        assert_ne!(Key::of_mutable(&peer_id.into(), b""), Key::of_mutable(&peer_id.into(), b"x"));
    }

    proptest! {
        #[test]
        fn the_distance_is_a_metric(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let [a, b, c] = [a, b, c].map(Key::from_bytes);
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert_eq!(a.distance(&b).leading_zeros() == BITS, a == b);
            // Unidirectional: the distance determines the other end.
            prop_assert_eq!(a.distance(&b) == a.distance(&c), b == c);
            // Ultrametric in the length of common prefixes.
            prop_assert!(a.common_prefix_len(&c) >= a.common_prefix_len(&b).min(b.common_prefix_len(&c)));
        }

        #[test]
        fn leading_zeros_count_bits(bit in 0..BITS, noise: [u8; 32]) {
            let mut other = [0; 32];
            for n in bit..BITS {
                let set = n == bit || noise[n / 8] & (0x80 >> (n % 8)) != 0;
                other[n / 8] |= u8::from(set) << (7 - n % 8);
            }
            let (zero, other) = (Key::from_bytes([0; 32]), Key::from_bytes(other));
            prop_assert_eq!(zero.common_prefix_len(&other), bit);
        }
    }
}
