//! What nodes of the DHT say to each other, as bytes.
//!
//! Requests and responses travel on streams of authenticated connections: `format [1] ‖ postcard`, read strictly (see
//! [`p2p_identity::codec`]) and within bounds. Datagrams have a fixed form and one length, so that an answer is never
//! larger than what it answers. Enums grow only at the end; structures get new fields only with a new format byte.

pub(crate) mod bounded;
mod datagram;
mod limiter;
mod request;
mod response;

pub use datagram::{DATAGRAM_LEN, Datagram, InvalidDatagram, NONCE_LEN, Ping, Pong};
pub use limiter::{DatagramLimiter, DatagramLimits};
pub use request::{MAX_REQUEST_LEN, PADDING_LEN, Padding, Request};
pub use response::{Closer, DialBackOutcome, MAX_CONTACTS, MAX_NEAR, MAX_PROVIDERS, MAX_RESPONSE_LEN, Response};

use bytes::Bytes;
use p2p_identity::{DecodeError, Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The form of messages written here.
const FORMAT: u8 = 1;

fn encode(message: &impl Serialize, max: usize) -> Result<Bytes> {
    let bytes: Bytes = [&[FORMAT], &p2p_identity::encode(message)?[..]].concat().into();
    if bytes.len() > max { Err(Error::MessageTooLarge { len: bytes.len(), max }) } else { Ok(bytes) }
}

fn decode<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T> {
    p2p_identity::decode(body(bytes, max)?)
}

/// What follows the format byte.
fn body(bytes: &[u8], max: usize) -> Result<&[u8]> {
    if bytes.len() > max {
        return Err(Error::MessageTooLarge { len: bytes.len(), max });
    }
    match bytes.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        Some((other, _)) => Err(DecodeError::Value(format!("unknown format {other}")).into()),
        None => Err(DecodeError::Truncated.into()),
    }
}
