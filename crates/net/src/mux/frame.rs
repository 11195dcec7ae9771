//! Frames of the multiplexer: an eight-byte header and a payload.
//!
//! ```text
//! kind: u8 | length of the payload: u24 | stream: u32 | payload
//! ```
//! All numbers are big-endian. Streams that the dialer opens are odd, the listener's are even and start at 2; both
//! count upwards. The stream of a frame that concerns the connection (`CLOSE`, `PING`, `PONG`, `ACCEPTED`) is 0.

use crate::error::MAX_REASON_LEN;

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 8;

/// Bytes that each side may send on a new stream before the first `WINDOW` frame.
pub(super) const INITIAL_CREDIT: u32 = 64 << 10;

/// Bytes of stream data that a side may send in all before the remote's `ACCEPTED`: the longest message of a handshake
/// and what frames it.
pub(crate) const EARLY_BYTES: u32 = (16 << 10) + 256;

/// The most payload in one data frame: 64 KiB and the length in front of a message of that size.
pub(super) const MAX_DATA: usize = (64 << 10) + 8;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Bytes of a stream.
    Data = 0,
    /// The last bytes of a stream.
    DataFin = 1,
    /// A new stream. No payload.
    Open = 2,
    /// The sender of this frame accepts so many more bytes on the stream (u32).
    Window = 3,
    /// The sender of this frame gives up sending on the stream, with a code (u32).
    Reset = 4,
    /// The sender of this frame reads no more of the stream, with a code (u32).
    Stop = 5,
    /// The stream that was opened is refused. No payload.
    Refuse = 6,
    /// The connection ends, with a code (u32) and a reason (UTF-8).
    Close = 7,
    /// To be returned at once as a `PONG` with the same number (u32).
    Ping = 8,
    /// The answer to a `PING`, with its number (u32).
    Pong = 9,
    /// The sender of this frame has accepted the remote: the bounds of [`EARLY_BYTES`] end. No payload.
    Accepted = 10,
    /// The sender of this frame has read the stream to its end. No payload.
    Read = 11,
}

impl Kind {
    /// Whether frames of this kind concern the whole connection.
    fn is_of_connection(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong | Self::Accepted)
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) len: u32,
    pub(super) stream: u32,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.len.to_be_bytes());
        bytes[0] = self.kind as u8;
        bytes[4..].copy_from_slice(&self.stream.to_be_bytes());
        bytes
    }

    /// Whether it stands before bytes of a stream.
    pub(super) fn is_data(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::DataFin)
    }

    /// Reads a header, refusing kinds that do not exist and lengths that do not fit the kind.
    pub(super) fn decode(bytes: [u8; HEADER_LEN]) -> Result<Self, Violation> {
        let [kind, l2, l1, l0, s3, s2, s1, s0] = bytes;
        let len = u32::from_be_bytes([0, l2, l1, l0]);
        let stream = u32::from_be_bytes([s3, s2, s1, s0]);
        let (kind, valid) = match kind {
            0 => (Kind::Data, len as usize <= MAX_DATA),
            1 => (Kind::DataFin, len as usize <= MAX_DATA),
            2 => (Kind::Open, len == 0),
            3 => (Kind::Window, len == 4),
            4 => (Kind::Reset, len == 4),
            5 => (Kind::Stop, len == 4),
            6 => (Kind::Refuse, len == 0),
            7 => (Kind::Close, (4..=4 + MAX_REASON_LEN as u32).contains(&len)),
            8 => (Kind::Ping, len == 4),
            9 => (Kind::Pong, len == 4),
            10 => (Kind::Accepted, len == 0),
            11 => (Kind::Read, len == 0),
            _ => return Err(Violation("a frame of an unknown kind")),
        };
        if !valid {
            return Err(Violation("a frame whose length does not fit its kind"));
        }
        if (stream == 0) != kind.is_of_connection() {
            return Err(Violation("a frame on a stream that cannot exist"));
        }
        Ok(Self { kind, len, stream })
    }
}

/// What the remote did wrong. The connection ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation(pub(super) &'static str);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes: [u8; HEADER_LEN], kind in 0u8..12, len in 0u16..300) {
            let mut likely = bytes;
            likely[0] = kind;
            likely[1] = 0;
            likely[2..4].copy_from_slice(&len.to_be_bytes());
            for bytes in [bytes, likely] {
                if let Ok(header) = Header::decode(bytes) {
                    prop_assert_eq!(header.encode(), bytes);
                }
            }
        }
    }

    #[test]
    fn refuses_what_no_side_sends() {
        let header = |kind: u8, len: u32, stream: u32| {
            let mut bytes = Header { kind: Kind::Data, len, stream }.encode();
            bytes[0] = kind;
            Header::decode(bytes)
        };
        assert!(header(0, MAX_DATA as u32, 1).is_ok());
        assert!(header(0, MAX_DATA as u32 + 1, 1).is_err());
        assert!(header(0, 1, 0).is_err());
        assert!(header(7, 4, 0).is_ok());
        assert!(header(7, 4, 1).is_err());
        assert!(header(7, 3, 0).is_err());
        assert!(header(7, 5 + MAX_REASON_LEN as u32, 0).is_err());
        assert!(header(2, 1, 1).is_err());
        assert!(header(3, 0, 1).is_err());
        assert!(header(8, 0, 1).is_err());
        assert!(header(11, 0, 1).is_ok());
        assert!(header(11, 0, 0).is_err());
        assert!(header(11, 1, 1).is_err());
        assert!(header(12, 0, 1).is_err());
    }
}
