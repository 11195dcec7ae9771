//! What can be stored: bytes under their own hash, and bytes that their publisher signed and can replace.

use std::fmt;

use bytes::Bytes;
use p2p_identity::keypair::SIGNATURE_LEN;
use p2p_identity::{Domain, Error, KeyError, KeyPair, PublicKey};
use serde::{Deserialize, Serialize};

use crate::Key;
use crate::message::bounded;

/// The longest value, in bytes.
pub const MAX_VALUE_LEN: usize = 1000;

/// The longest salt of a mutable value, in bytes.
pub const MAX_SALT_LEN: usize = 64;

const DOMAIN: Domain = Domain::new("p2p/1 dht mutable value");

/// A value as it is stored and passed on.
///
/// A mutable one follows the idea of [BEP 44](https://www.bittorrent.org/beps/bep_0044.html): whoever holds the secret
/// key of `publisher` can replace it by one with a higher `seq`, and nobody else can.
///
/// ```
/// use p2p_identity::KeyPair;
/// use p2p_kademlia::{Key, StoredValue};
///
/// let hello = StoredValue::immutable("hello")?;
/// assert_eq!(hello.key(), Key::of_value(b"hello"));
///
/// let me = KeyPair::from_seed([1; 32]);
/// let first = StoredValue::sign(&me, "status", 1, "away")?;
/// let second = StoredValue::sign(&me, "status", 2, "back")?;
/// assert_eq!(first.key(), second.key());
/// assert!(second.supersedes(&first));
/// second.verify()?;
/// # Ok::<(), p2p_kademlia::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredValue {
    /// Bytes whose key is their SHA-256.
    Immutable(
        #[serde(
            serialize_with = "bounded::write_bytes::<_, MAX_VALUE_LEN>",
            deserialize_with = "bounded::read_bytes::<_, MAX_VALUE_LEN>"
        )]
        Bytes,
    ),
    /// Bytes whose key is that of their publisher and salt.
    Mutable {
        /// Who may replace it.
        publisher: PublicKey,
        /// Tells the values of one publisher apart. At most [`MAX_SALT_LEN`] bytes.
        #[serde(
            serialize_with = "bounded::write_bytes::<_, MAX_SALT_LEN>",
            deserialize_with = "bounded::read_bytes::<_, MAX_SALT_LEN>"
        )]
        salt: Bytes,
        /// Which of two values is newer.
        seq: u64,
        /// The value.
        #[serde(
            serialize_with = "bounded::write_bytes::<_, MAX_VALUE_LEN>",
            deserialize_with = "bounded::read_bytes::<_, MAX_VALUE_LEN>"
        )]
        value: Bytes,
        /// The publisher's, over the salt with its length before it, the sequence number, and the value.
        #[serde(with = "bounded::signature")]
        signature: [u8; SIGNATURE_LEN],
    },
}

impl StoredValue {
    /// A value under its own hash.
    ///
    /// # Errors
    /// [`InvalidValue::TooLong`].
    pub fn immutable(value: impl Into<Bytes>) -> Result<Self, InvalidValue> {
        let value = value.into();
        check_lengths(&[], &value)?;
        Ok(Self::Immutable(value))
    }

    /// A value of one's own that can be replaced. `seq` must be higher than in any signed before with this key and salt.
    ///
    /// # Errors
    /// [`InvalidValue::TooLong`] and [`InvalidValue::SaltTooLong`].
    pub fn sign(
        key_pair: &KeyPair,
        salt: impl Into<Bytes>,
        seq: u64,
        value: impl Into<Bytes>,
    ) -> Result<Self, InvalidValue> {
        let (salt, value) = (salt.into(), value.into());
        check_lengths(&salt, &value)?;
        let signature = key_pair.sign_for(DOMAIN, &[&[salt.len() as u8], &salt, &seq.to_be_bytes(), &value]);
        Ok(Self::Mutable { publisher: key_pair.public(), salt, seq, value, signature })
    }

    /// Where it is stored.
    pub fn key(&self) -> Key {
        match self {
            Self::Immutable(value) => Key::of_value(value),
            Self::Mutable { publisher, salt, .. } => Key::of_mutable(publisher, salt),
        }
    }

    /// The bytes that it is about.
    pub fn value(&self) -> &Bytes {
        match self {
            Self::Immutable(value) | Self::Mutable { value, .. } => value,
        }
    }

    /// Its sequence number, if it is mutable.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Self::Immutable(_) => None,
            Self::Mutable { seq, .. } => Some(*seq),
        }
    }

    /// Bytes that it carries: value and salt.
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Immutable(value) => value.len(),
            Self::Mutable { salt, value, .. } => salt.len() + value.len(),
        }
    }

    /// Checks the lengths, and the publisher's signature: about 50 µs for a mutable value, next to nothing for an
    /// immutable one, which can be nobody else's.
    ///
    /// # Errors
    /// [`InvalidValue`].
    pub fn verify(&self) -> Result<(), InvalidValue> {
        let Self::Mutable { publisher, salt, seq, value, signature } = self else {
            return check_lengths(&[], self.value());
        };
        check_lengths(salt, value)?;
        let parts: [&[u8]; 4] = [&[salt.len() as u8], salt, &seq.to_be_bytes(), value];
        publisher.verify_for(DOMAIN, &parts, signature).map_err(|_| InvalidValue::Signature)
    }

    /// As [`verify`](Self::verify), and that it belongs under `key`: what to do with a value that somebody answered with.
    ///
    /// # Errors
    /// [`InvalidValue`].
    pub fn verify_under(&self, key: &Key) -> Result<(), InvalidValue> {
        if self.key() != *key { Err(InvalidValue::OtherKey) } else { self.verify() }
    }

    /// Whether a reader who sees both takes this one. Only for values of the same key. The higher sequence number
    /// wins; of two with the same number, which only a careless publisher makes, the larger bytes, so that all readers
    /// choose alike.
    pub fn supersedes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mutable { seq, value, .. }, Self::Mutable { seq: than, value: that, .. }) => {
                (seq, value) > (than, that)
            }
            _ => false,
        }
    }
}

fn check_lengths(salt: &[u8], value: &[u8]) -> Result<(), InvalidValue> {
    if value.len() > MAX_VALUE_LEN {
        Err(InvalidValue::TooLong(value.len()))
    } else if salt.len() > MAX_SALT_LEN {
        Err(InvalidValue::SaltTooLong(salt.len()))
    } else {
        Ok(())
    }
}

impl fmt::Debug for StoredValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Immutable(value) => write!(f, "Immutable({} bytes)", value.len()),
            Self::Mutable { publisher, seq, value, .. } => {
                write!(f, "Mutable({publisher:?}, seq {seq}, {} bytes)", value.len())
            }
        }
    }
}

/// Why a value cannot be stored or believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidValue {
    /// It has more than [`MAX_VALUE_LEN`] bytes.
    #[error("a value has at most {MAX_VALUE_LEN} bytes, not {0}")]
    TooLong(usize),
    /// Its salt has more than [`MAX_SALT_LEN`] bytes.
    #[error("a salt has at most {MAX_SALT_LEN} bytes, not {0}")]
    SaltTooLong(usize),
    /// Its publisher has not signed it.
    #[error("the value's signature is not its publisher's")]
    Signature,
    /// It belongs under another key.
    #[error("the value belongs under another key")]
    OtherKey,
}

impl From<InvalidValue> for Error {
    fn from(error: InvalidValue) -> Self {
        match error {
            InvalidValue::TooLong(len) => Self::MessageTooLarge { len, max: MAX_VALUE_LEN },
            InvalidValue::SaltTooLong(_) => Self::config("salt", error.to_string()),
            InvalidValue::Signature | InvalidValue::OtherKey => KeyError::Signature.into(),
        }
    }
}
