//! Values to bytes and back: postcard, read strictly.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Encodes `value` in the [postcard format](https://postcard.jamesmunns.com/wire-format).
///
/// # Errors
/// [`Error::Encode`] when `value`'s own `Serialize` fails, or when it is a sequence of unknown length.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    postcard::to_allocvec(value).map(Bytes::from).map_err(|error| Error::Encode(error.to_string()))
}

/// Decodes one value that takes up all of `bytes`.
///
/// # Errors
/// [`Error::Decode`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| DecodeError::Value(error.to_string()))?;
    if !rest.is_empty() {
        return Err(DecodeError::TrailingBytes(rest.len()).into());
    }
    Ok(value)
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
    #[error("a number is not in its shortest encoding")]
    NonCanonical,
    /// The type does not take the value.
    #[error("{0}")]
    Value(String),
}
