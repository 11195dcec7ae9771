//! Values to bytes and back: [postcard](https://postcard.jamesmunns.com/wire-format), read strictly.
//!
//! Reading refuses what postcard's own reader lets pass: bytes after the value, numbers that are longer than they need
//! to be, sequences that claim more elements than there are bytes, and nesting deep enough to exhaust the
//! stack. So each value has one encoding as far as the format goes (a map with its keys in another order, say, is up
//! to the type).

mod strict;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use strict::MAX_DEPTH;

/// Values whose encoding is not longer than this are encoded on the stack first.
const SHORT: usize = 256;

/// Encodes `value` in the postcard format.
///
/// # Errors
/// [`Error::Encode`] when `value`'s own `Serialize` fails, or when it is a sequence of unknown length.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    // Most values are short: they take one allocation, of their length.
    let mut short = [0; SHORT];
    match postcard::to_slice(value, &mut short) {
        Ok(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        Err(postcard::Error::SerializeBufferFull) => long(value),
        Err(error) => Err(Error::Encode(error.to_string())),
    }
}

#[cold]
fn long<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    let room = Vec::with_capacity(2 * SHORT);
    postcard::to_extend(value, room).map(Bytes::from).map_err(|error| Error::Encode(error.to_string()))
}

/// Decodes one value that takes up all of `bytes`, in its one encoding: see the [module](self).
///
/// ```
/// use p2p_identity::{decode, encode};
///
/// let bytes = encode(&("hello", 300_u32))?;
/// assert_eq!(decode::<(String, u32)>(&bytes)?, ("hello".into(), 300));
/// assert!(decode::<u32>(&[0x81, 0x00]).is_err(), "1 in two bytes");
/// assert!(decode::<u32>(&[0x01, 0x00]).is_err(), "a byte too many");
/// # Ok::<(), p2p_identity::Error>(())
/// ```
///
/// # Errors
/// [`Error::Decode`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    Ok(decode_borrowed(bytes)?)
}

/// As [`decode`], for values that borrow from `bytes`.
pub(crate) fn decode_borrowed<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    let (value, rest) = decode_prefix(bytes)?;
    if !rest.is_empty() {
        return Err(DecodeError::TrailingBytes(rest.len()));
    }
    Ok(value)
}

/// Decodes a value from the beginning of `bytes` and gives back what follows it.
pub(crate) fn decode_prefix<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<(T, &'de [u8]), DecodeError> {
    let mut reader = strict::Reader::new(bytes);
    let value = T::deserialize(&mut reader)?;
    Ok((value, reader.rest()))
}

/// Why bytes are not the encoding of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("the bytes end before the value does")]
    Truncated,
    /// This many bytes follow the value.
    #[error("{0} bytes follow the value")]
    TrailingBytes(usize),
    /// A number has more bytes than it needs, or more bits than its type.
    #[error("a number is not in its shortest encoding, or too large for its type")]
    Number,
    /// A flag (a `bool`, or whether there is a value) is neither 0 nor 1.
    #[error("a flag is neither 0 nor 1")]
    Flag,
    /// Text is not UTF-8, or a character is not one character.
    #[error("text is not UTF-8")]
    Text,
    /// Values are nested deeper than [`MAX_DEPTH`].
    #[error("values are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The type does not take the value.
    #[error("{0}")]
    Value(String),
}

impl serde::de::Error for DecodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        // The message may quote a stranger's text.
        Self::Value(crate::disconnect::clean(&message.to_string(), crate::disconnect::MAX_REASON_LEN))
    }
}

#[cfg(test)]
mod tests;
