//! The name of a protocol, and what kind of protocol it is.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Error;

/// The name of a protocol: 1 to [`MAX_LEN`](Self::MAX_LEN) printable ASCII characters without spaces, such as
/// `"/chat/1"`. Cheap to clone. Ordered by its bytes.
///
/// ```
/// use p2p_identity::ProtocolId;
///
/// let id: ProtocolId = "/chat/1".parse()?;
/// assert_eq!(id.as_str(), "/chat/1");
/// assert!("two words".parse::<ProtocolId>().is_err());
/// # Ok::<(), p2p_identity::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolId(Arc<str>);

/// Why text is not a [`ProtocolId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProtocolId {
    /// It has no character.
    #[error("a protocol id has at least one character")]
    Empty,
    /// It has more bytes than [`ProtocolId::MAX_LEN`]; the length is given.
    #[error("a protocol id has at most {max} characters, not {0}", max = ProtocolId::MAX_LEN)]
    TooLong(usize),
    /// A byte, given with its place, is a space, a control character or not ASCII.
    #[error("a protocol id is printable ASCII without spaces; byte {at} is {byte:#04x}")]
    Character {
        /// Index of the byte.
        at: usize,
        /// The byte.
        byte: u8,
    },
}

impl ProtocolId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 64;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(text: &str) -> Result<(), InvalidProtocolId> {
        if text.is_empty() {
            return Err(InvalidProtocolId::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(InvalidProtocolId::TooLong(text.len()));
        }
        match text.bytes().enumerate().find(|(_, byte)| !byte.is_ascii_graphic()) {
            Some((at, byte)) => Err(InvalidProtocolId::Character { at, byte }),
            None => Ok(()),
        }
    }
}

impl FromStr for ProtocolId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<&str> for ProtocolId {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<String> for ProtocolId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl Borrow<str> for ProtocolId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ProtocolId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for ProtocolId {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for ProtocolId {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Display for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// As its text.
impl serde::Serialize for ProtocolId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for ProtocolId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = ProtocolId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a protocol id")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ProtocolId, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// What a protocol means to the node that offers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ProtocolKind {
    /// A peer without a compatible version of it is refused, and its failure ends the connection.
    Mandatory,
    /// Used with those who have it; its failure ends that protocol with that peer.
    #[default]
    Optional,
    /// As `Optional`, but never advertised: only peers that connect learn of it.
    Hidden,
}

impl fmt::Display for ProtocolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mandatory => "mandatory",
            Self::Optional => "optional",
            Self::Hidden => "hidden",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bounds_hold() {
        for good in ["a", "/chat/1", "~!@#$%^&*()", &"x".repeat(64)] {
            assert_eq!(good.parse::<ProtocolId>().unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "tab\t", "ä", "nul\0", &"x".repeat(65)] {
            assert!(bad.parse::<ProtocolId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_id_survives_the_wire_and_bad_text_does_not(text in "\\PC{0,70}") {
            let wire = postcard::to_allocvec(&text).unwrap();
            let id = postcard::from_bytes::<ProtocolId>(&wire);
            let ok = (1..=64).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b));
            prop_assert_eq!(id.is_ok(), ok);
            if let Ok(id) = id {
                prop_assert_eq!(postcard::to_allocvec(&id).unwrap(), wire);
            }
        }
    }
}
