//! What a node answers.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use p2p_identity::{PeerRecord, Result};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bounded::{read_seq, write_seq};
use super::{Request, body, encode};
use crate::{Refused, StoredValue};

/// The most contacts in a response: k of the paper.
pub const MAX_CONTACTS: usize = 20;

/// The most providers in a response.
pub const MAX_PROVIDERS: usize = 20;

/// The most records in a [`Response::Near`].
pub const MAX_NEAR: usize = 8;

/// The longest response, in bytes: one with as many contacts and providers as it may have, all with the longest records.
pub const MAX_RESPONSE_LEN: usize = 96 << 10;

const _: () = assert!(
    (MAX_CONTACTS + MAX_PROVIDERS) * (p2p_identity::record::MAX_RECORD_LEN + 2) + 2048 <= MAX_RESPONSE_LEN,
    "a response with everything at its bound is one that may be sent"
);

/// What a node answers to a [`Request`]. It grows only at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Response {
    /// To `FindNode`.
    Contacts(Closer),
    /// To `GetValue`.
    Value {
        /// What is stored, if anything.
        value: Option<StoredValue>,
        /// Whom to ask next: others may have a newer value.
        closer: Closer,
    },
    /// To `GetProviders`.
    Providers {
        /// Who provides it: at most [`MAX_PROVIDERS`].
        #[serde(
            serialize_with = "write_seq::<_, _, MAX_PROVIDERS>",
            deserialize_with = "read_seq::<_, _, MAX_PROVIDERS>"
        )]
        providers: Vec<PeerRecord>,
        /// Whom to ask next: others may know more.
        closer: Closer,
    },
    /// To `PutValue` and `PutProvider`: it is kept.
    Stored,
    /// To anything.
    Refused(Refused),
    /// To `GetRecord`.
    Record(PeerRecord),
    /// To `DialBack` and `TryElsewhere`, when it has been tried.
    DialBack(DialBackOutcome),
    /// To `Near`: the records of some of the others, at most [`MAX_NEAR`].
    Near(
        #[serde(serialize_with = "write_seq::<_, _, MAX_NEAR>", deserialize_with = "read_seq::<_, _, MAX_NEAR>")]
        Vec<PeerRecord>,
    ),
}

/// Where [`Response::Refused`] stands in the enum.
const REFUSED: u8 = 4;

/// Contacts, and what every answer with contacts says beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closer {
    /// The contacts closest to what was asked for that the responder knows: at most [`MAX_CONTACTS`]. Their signatures
    /// have not been checked.
    #[serde(serialize_with = "write_seq::<_, _, MAX_CONTACTS>", deserialize_with = "read_seq::<_, _, MAX_CONTACTS>")]
    pub contacts: Vec<PeerRecord>,
    /// The sequence number of the responder's own record: when it is higher than the asker knows, the asker gets the record.
    /// 0 when it has none.
    pub seq: u64,
    /// The address that the responder saw the asker at.
    #[serde(serialize_with = "write_address", deserialize_with = "read_address")]
    pub observed: Option<SocketAddr>,
}

/// How dialing the asker back went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DialBackOutcome {
    /// The asker answered, and proved who it is, at an address of its record.
    Reached,
    /// It did not, at any address that was tried.
    Unreachable,
}

impl Response {
    /// Its bytes. At most [`MAX_RESPONSE_LEN`].
    ///
    /// # Errors
    /// [`Error::Encode`](p2p_identity::Error::Encode) when a part exceeds its bound.
    pub fn encode(&self) -> Result<Bytes> {
        encode(self, MAX_RESPONSE_LEN)
    }

    /// Reads a response. A reason for a refusal that this version does not know is [`Refused::Other`], whatever
    /// follows it.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`](p2p_identity::Error::MessageTooLarge) and
    /// [`Error::Decode`](p2p_identity::Error::Decode). Signatures are not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let body = body(bytes, MAX_RESPONSE_LEN)?;
        match *body {
            // There will never be so many reasons that one needs a second byte.
            [REFUSED, reason @ 0..0x80, ..] if u32::from(reason) >= Refused::FIRST_UNKNOWN => {
                Ok(Self::Refused(Refused::Other(reason.into())))
            }
            _ => p2p_identity::decode(body),
        }
    }

    /// Whether it is an answer to `request` at all.
    pub fn answers(&self, request: &Request) -> bool {
        matches!(
            (self, request),
            (Self::Refused(_), _)
                | (Self::Contacts(_), Request::FindNode { .. })
                | (Self::Value { .. }, Request::GetValue { .. })
                | (Self::Providers { .. }, Request::GetProviders { .. })
                | (Self::Stored, Request::PutValue { .. } | Request::PutProvider { .. })
                | (Self::Record(_), Request::GetRecord)
                | (Self::DialBack(_), Request::DialBack { .. } | Request::TryElsewhere { .. })
                | (Self::Near(_), Request::Near { .. })
        )
    }

    /// The contacts in it, if it is of a kind that has them.
    pub fn closer(&self) -> Option<&Closer> {
        match self {
            Self::Contacts(closer) | Self::Value { closer, .. } | Self::Providers { closer, .. } => Some(closer),
            _ => None,
        }
    }
}

impl From<Refused> for Response {
    fn from(reason: Refused) -> Self {
        Self::Refused(reason)
    }
}

/// An address: which kind, its bytes, its port.
#[derive(Serialize, Deserialize)]
enum WireAddress {
    V4([u8; 4], u16),
    V6([u8; 16], u16),
}

fn write_address<S: Serializer>(address: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    let wire = address.map(|address| match address.ip().to_canonical() {
        IpAddr::V4(ip) => WireAddress::V4(ip.octets(), address.port()),
        IpAddr::V6(ip) => WireAddress::V6(ip.octets(), address.port()),
    });
    wire.serialize(serializer)
}

fn read_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let (ip, port): (IpAddr, u16) = match Option::<WireAddress>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(WireAddress::V4(ip, port)) => (ip.into(), port),
        Some(WireAddress::V6(ip, port)) => (ip.into(), port),
    };
    if ip != ip.to_canonical() {
        return Err(D::Error::custom("an IPv4 address in IPv6 form"));
    }
    Ok(Some(SocketAddr::new(ip, port)))
}
