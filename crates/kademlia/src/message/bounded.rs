//! Fields of messages that refuse to be longer than they may, before anything is allocated for them.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes at most `MAX` bytes.
pub(crate) fn write_bytes<S: Serializer, const MAX: usize>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    if bytes.len() > MAX {
        return Err(S::Error::custom(format_args!("{} bytes exceed the limit of {MAX}", bytes.len())));
    }
    serializer.serialize_bytes(bytes)
}

/// Reads at most `MAX` bytes. They are copied, so that they do not keep the whole message alive.
pub(crate) fn read_bytes<'de, D: Deserializer<'de>, const MAX: usize>(deserializer: D) -> Result<Bytes, D::Error> {
    struct Limited<const MAX: usize>;

    impl<const MAX: usize> Visitor<'_> for Limited<MAX> {
        type Value = Bytes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX} bytes")
        }

        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
            if bytes.len() > MAX {
                Err(E::invalid_length(bytes.len(), &self))
            } else {
                Ok(Bytes::copy_from_slice(bytes))
            }
        }
    }

    deserializer.deserialize_bytes(Limited::<MAX>)
}

/// Writes at most `MAX` elements.
pub(crate) fn write_seq<T: Serialize, S: Serializer, const MAX: usize>(
    elements: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if elements.len() > MAX {
        return Err(S::Error::custom(format_args!("{} elements exceed the limit of {MAX}", elements.len())));
    }
    serializer.collect_seq(elements)
}

/// Reads at most `MAX` elements.
pub(crate) fn read_seq<'de, T: Deserialize<'de>, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Limited<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Limited<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut read = Vec::with_capacity(elements.size_hint().unwrap_or(0).min(MAX));
            while let Some(element) = elements.next_element()? {
                if read.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                read.push(element);
            }
            Ok(read)
        }
    }

    deserializer.deserialize_seq(Limited::<T, MAX>(PhantomData))
}

/// The 64 bytes of a signature, with nothing before them.
pub(crate) mod signature {
    use p2p_identity::keypair::SIGNATURE_LEN;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Arrays beyond 32 elements are not serde's, so it is two halves.
    type Halves = ([u8; 32], [u8; 32]);

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; SIGNATURE_LEN], serializer: S) -> Result<S::Ok, S::Error> {
        let mut halves: Halves = Default::default();
        halves.0.copy_from_slice(&bytes[..32]);
        halves.1.copy_from_slice(&bytes[32..]);
        halves.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; SIGNATURE_LEN], D::Error> {
        let (first, last) = Halves::deserialize(deserializer)?;
        let mut bytes = [0; SIGNATURE_LEN];
        bytes[..32].copy_from_slice(&first);
        bytes[32..].copy_from_slice(&last);
        Ok(bytes)
    }
}
