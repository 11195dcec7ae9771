//! The first message on every stream but the control stream: what the stream is for. No I/O.

use bytes::Bytes;
use p2p_identity::{ProtocolId, Result, decode, encode};
pub use p2p_net::stream_code;
use serde::{Deserialize, Serialize};

/// Stands before every header.
const FORMAT: u8 = 1;

/// The longest header, in bytes.
pub const MAX_HEADER: usize = 3 + ProtocolId::MAX_LEN;

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamKind {
    /// The protocol's messages; there is one such stream for each protocol, opened by the dialer.
    Messages,
    /// Bytes, as the protocol likes.
    Raw,
}

/// What a stream is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Whose it is.
    pub protocol: ProtocolId,
    /// What it carries.
    pub kind: StreamKind,
}

impl Header {
    /// The message to send.
    ///
    /// # Errors
    /// None in practice: every value has an encoding.
    pub fn to_bytes(&self) -> Result<Bytes> {
        encode(&(FORMAT, self))
    }

    /// Reads a message.
    ///
    /// # Errors
    /// `Error::Decode`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (format, header): (u8, Self) = decode(bytes)?;
        if format != FORMAT {
            return Err(p2p_identity::DecodeError::Value(format!("stream header of unknown format {format}")).into());
        }
        Ok(header)
    }

    /// The message with the length that stands before it on a stream (RFC 9000 §16), for a stream that goes on with
    /// other bytes than messages.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes).
    pub fn to_framed(&self) -> Result<Bytes> {
        let header = self.to_bytes()?;
        // Up to 63 in one byte, up to 16,383 in two: a header has 67 at most.
        let len = header.len() as u16;
        let mut framed = Vec::with_capacity(2 + header.len());
        match u8::try_from(len) {
            Ok(len @ 0..64) => framed.push(len),
            _ => framed.extend_from_slice(&(len | 0x4000).to_be_bytes()),
        }
        framed.extend_from_slice(&header);
        Ok(framed.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_survives_the_wire(id in "[!-~]{1,64}", raw in any::<bool>()) {
            let kind = if raw { StreamKind::Raw } else { StreamKind::Messages };
            let header = Header { protocol: id.parse().unwrap(), kind };
            let bytes = header.to_bytes().unwrap();
            prop_assert!(bytes.len() <= MAX_HEADER);
            prop_assert_eq!(Header::from_bytes(&bytes).unwrap(), header.clone());
            let framed = header.to_framed().unwrap();
            let prefix = framed.len() - bytes.len();
            prop_assert_eq!(prefix, if bytes.len() < 64 { 1 } else { 2 });
            prop_assert_eq!(&framed[prefix..], &bytes[..]);
        }

        #[test]
        fn any_bytes_are_a_header_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(header) = Header::from_bytes(&bytes) {
                prop_assert_eq!(header.to_bytes().unwrap(), bytes);
            }
        }
    }
}
