//! The name of a peer: its Ed25519 public key.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;

/// Who a peer is: the 32 bytes of its Ed25519 public key.
///
/// A value of this type is never a non-canonical encoding (RFC 8032 §5.1.3) nor one of the eight points of small order:
/// some verifiers accept those for a key nobody holds, so they are refused when the value is made and no later check can
/// forget them. That the bytes are a point on the curve is *not* checked: about half of all values are none, and no
/// signature verifies under those. Ordered by its bytes.
///
/// As text it is 52 characters of lower-case base32 (RFC 4648, no padding); other spellings of the same bytes are
/// refused.
///
/// ```
/// use p2p_core::PeerId;
///
/// let id = PeerId::from_bytes([9; 32])?;
/// let text = id.to_string();
/// assert_eq!(text.len(), 52);
/// assert_eq!(text.parse::<PeerId>()?, id);
/// assert!(text.to_uppercase().parse::<PeerId>().is_err());
/// assert!(PeerId::from_bytes([0; 32]).is_err(), "a point of small order");
/// # Ok::<(), p2p_core::InvalidPeerId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

/// Why bytes or text are not a [`PeerId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPeerId {
    /// The text has another length than 52 characters, or the bytes another than 32.
    #[error("a peer id is 52 characters of base32 (32 bytes)")]
    Length,
    /// A character outside `a-z2-7`, or trailing bits that are not zero.
    #[error("a peer id is canonical lower-case base32: a-z and 2-7")]
    Encoding,
    /// The y coordinate is not reduced modulo 2^255 − 19.
    #[error("the public key is not in its canonical encoding")]
    NonCanonical,
    /// The point has order 1, 2, 4 or 8: no secret key belongs to it alone.
    #[error("the public key is a point of small order")]
    SmallOrder,
}

/// The y coordinates of the eight points of small order, little-endian, sign bit cleared.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

impl PeerId {
    /// Characters of its text form.
    pub const TEXT_LEN: usize = 52;

    /// Takes the 32 bytes of a public key.
    ///
    /// # Errors
    /// [`InvalidPeerId::NonCanonical`] and [`InvalidPeerId::SmallOrder`].
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidPeerId> {
        let mut y = bytes;
        y[31] &= 0x7f;
        // p = 2^255 − 19 is ed ff .. ff 7f in little-endian.
        if y[31] == 0x7f && y[1..31].iter().all(|&b| b == 0xff) && y[0] >= 0xed {
            return Err(InvalidPeerId::NonCanonical);
        }
        if SMALL_ORDER_Y.contains(&y) {
            return Err(InvalidPeerId::SmallOrder);
        }
        Ok(Self(bytes))
    }

    /// The public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight characters, for logs and tables.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl TryFrom<&[u8]> for PeerId {
    type Error = InvalidPeerId;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidPeerId> {
        Self::from_bytes(bytes.try_into().map_err(|_| InvalidPeerId::Length)?)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.short())
    }
}

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(text: &str) -> Result<Self, InvalidPeerId> {
        if text.len() != Self::TEXT_LEN {
            return Err(InvalidPeerId::Length);
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidPeerId::Encoding);
        }
        let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| InvalidPeerId::Encoding)?;
        Self::try_from(bytes.as_slice())
    }
}

/// Text in formats for people, 32 bytes in binary ones.
#[cfg(feature = "serde")]
impl serde::Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            <std::borrow::Cow<'_, str>>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            Self::from_bytes(<[u8; 32]>::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}
