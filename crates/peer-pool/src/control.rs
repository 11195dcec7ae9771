//! What two peers say to each other on the control stream. No I/O.

use std::time::Instant;

use bytes::Bytes;
use p2p_core::TokenBucket;
use p2p_identity::{ProtocolId, Result, decode, encode};
use serde::{Deserialize, Serialize};

/// Stands before every control message.
const FORMAT: u8 = 1;

/// The longest control message, in bytes.
pub const MAX_CONTROL_MESSAGE: usize = 1 << 10;

/// Pings that are answered at once, and per second from then on. The shortest sensible interval is far longer.
const PING_BURST: u32 = 32;
const PINGS_PER_SECOND: u32 = 20;

/// Useless messages (pings above the rate, pongs nobody asked for) before the peer is breaking the rules, and how many
/// are forgiven per second.
const USELESS_BURST: u32 = 256;
const USELESS_PER_SECOND: u32 = 1;

/// Streams that come to nothing (there is no place for them, no header in time, no protocol any longer) before the peer is
/// breaking the rules, and how many are forgiven per second.
const IDLE_STREAMS_BURST: u32 = 1024;
const IDLE_STREAMS_PER_SECOND: u32 = 64;

/// A message on the control stream. The list grows only at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlMessage {
    /// Answer with the same number.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// The sender leaves: it has finished all its message streams.
    Goodbye {
        /// As in `DisconnectReason::close_code`.
        code: u32,
        /// As in `DisconnectReason::close_reason`.
        reason: String,
    },
    /// All that was sent before the good-bye has been received.
    GoodbyeAck,
    /// From the peer with the smaller id: of the connections between us, this one stays.
    Stay,
    /// The sender's side of the protocol has ended; its message stream ends after what was sent.
    Ended(ProtocolId),
}

impl ControlMessage {
    /// The bytes to send.
    ///
    /// # Errors
    /// None in practice: every value has an encoding.
    pub fn to_bytes(&self) -> Result<Bytes> {
        encode(&(FORMAT, self))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Violation> {
        match bytes.split_first() {
            Some((&FORMAT, message)) => decode(message).map_err(|error| Violation(format!("control message: {error}"))),
            Some((format, _)) => Err(Violation(format!("control message of unknown format {format}"))),
            None => Err(Violation("empty control message".into())),
        }
    }
}

/// The remote broke the rules of the control stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// Reads control messages and bounds what the remote can make of them.
#[derive(Debug)]
pub struct Control {
    answered: TokenBucket,
    useless: TokenBucket,
    idle_streams: TokenBucket,
    /// The remote is the one that may say [`ControlMessage::Stay`].
    remote_is_arbiter: bool,
}

impl Control {
    /// For a connection that begins now.
    pub fn new(remote_is_arbiter: bool, now: Instant) -> Self {
        Self {
            answered: TokenBucket::new(PING_BURST, PINGS_PER_SECOND, now),
            useless: TokenBucket::new(USELESS_BURST, USELESS_PER_SECOND, now),
            idle_streams: TokenBucket::new(IDLE_STREAMS_BURST, IDLE_STREAMS_PER_SECOND, now),
            remote_is_arbiter,
        }
    }

    /// Reads a message; `None` for one that is to be ignored.
    ///
    /// # Errors
    /// [`Violation`]: the connection has to be closed.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<Option<ControlMessage>, Violation> {
        if bytes.len() > MAX_CONTROL_MESSAGE {
            return Err(Violation(format!("control message of {} bytes", bytes.len())));
        }
        let message = ControlMessage::from_bytes(bytes)?;
        match &message {
            ControlMessage::Ping(_) if !self.answered.take(now) => {
                self.useless(now, "too many pings")?;
                Ok(None)
            }
            ControlMessage::Stay if !self.remote_is_arbiter => {
                Err(Violation("it is not for this peer to say Stay".into()))
            }
            _ => Ok(Some(message)),
        }
    }

    /// Counts a message that was good for nothing, such as a pong nobody asked for.
    ///
    /// # Errors
    /// [`Violation`] when there are too many.
    pub fn useless(&mut self, now: Instant, what: &str) -> Result<(), Violation> {
        if self.useless.take(now) { Ok(()) } else { Err(Violation(what.into())) }
    }

    /// Counts a stream of the remote that came to nothing.
    ///
    /// # Errors
    /// [`Violation`] when there are too many.
    pub fn idle_stream(&mut self, now: Instant) -> Result<(), Violation> {
        if self.idle_streams.take(now) {
            Ok(())
        } else {
            Err(Violation("too many streams that come to nothing".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let now = crate::clock::now();
        let mut control = Control::new(true, now);
        for message in [
            ControlMessage::Ping(u64::MAX),
            ControlMessage::Pong(0),
            ControlMessage::Goodbye { code: 7, reason: "é".repeat(128) },
            ControlMessage::GoodbyeAck,
            ControlMessage::Stay,
            ControlMessage::Ended("/x/1".parse().unwrap()),
        ] {
            let bytes = message.to_bytes().unwrap();
            assert!(bytes.len() <= MAX_CONTROL_MESSAGE);
            assert_eq!(control.receive(now, &bytes), Ok(Some(message)));
        }
    }

    #[test]
    fn the_wire_format_is_what_it_was() {
        assert_eq!(&ControlMessage::Ping(300).to_bytes().unwrap()[..], [1, 0, 0xac, 2]);
        assert_eq!(&ControlMessage::GoodbyeAck.to_bytes().unwrap()[..], [1, 3]);
    }

    #[test]
    fn a_flood_of_pings_is_answered_in_part_and_then_ends_the_connection() {
        let now = crate::clock::now();
        let mut control = Control::new(true, now);
        let ping = ControlMessage::Ping(1).to_bytes().unwrap();
        let answers: Vec<_> = (0..PING_BURST + USELESS_BURST + 1).map(|_| control.receive(now, &ping)).collect();
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Some(_)))).count(), PING_BURST as usize);
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
        let later = now + Duration::from_secs(1);
        assert!(matches!(control.receive(later, &ping), Ok(Some(_))));
    }

    #[test]
    fn streams_that_come_to_nothing_are_rationed() {
        let now = crate::clock::now();
        let mut control = Control::new(true, now);
        let borne = (0..10 * IDLE_STREAMS_BURST).take_while(|_| control.idle_stream(now).is_ok()).count();
        assert_eq!(borne, IDLE_STREAMS_BURST as usize);
        let later = now + Duration::from_secs(1);
        assert!((0..IDLE_STREAMS_PER_SECOND).all(|_| control.idle_stream(later).is_ok()));
        assert!(control.idle_stream(later).is_err());
    }

    #[test]
    fn only_the_arbiter_says_stay() {
        let now = crate::clock::now();
        assert!(Control::new(false, now).receive(now, &ControlMessage::Stay.to_bytes().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_a_violation(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let now = crate::clock::now();
            if let Ok(Some(message)) = Control::new(true, now).receive(now, &bytes) {
                prop_assert_eq!(message.to_bytes().unwrap(), bytes);
            }
        }
    }
}
