//! The messages of the handshake as bytes, and their bounds.

use std::collections::BTreeMap;

use bytes::Bytes;
use p2p_core::PeerId;
use serde::{Deserialize, Serialize};

use super::{HandshakeParams, Offer, Purpose, RejectReason, Serial};
use crate::codec::{DecodeError, decode_borrowed};
use crate::keypair::SIGNATURE_LEN;
use crate::{PeerRecord, ProtocolId, ProtocolKind, Result, Version, WIRE_VERSION};

/// The longest message of a handshake, in bytes. A hello with everything at its bound is shorter.
pub const MAX_MESSAGE_LEN: usize = 16 << 10;

/// The longest name of a network, in bytes.
pub const MAX_NETWORK_LEN: usize = 64;

/// The most protocols in a hello.
pub const MAX_PROTOCOLS: usize = 64;

/// The longest payload of a hello, in bytes.
pub const MAX_PAYLOAD_LEN: usize = 1024;

/// Bytes of a nonce: too many for any two ever to be the same by chance.
pub const NONCE_LEN: usize = 32;

/// The form of messages written here.
const FORMAT: u8 = 1;

const HELLO: u8 = 0;
const ACCEPT: u8 = 1;
const REJECT: u8 = 2;

/// Fields are only ever added by a new `FORMAT`.
#[derive(Serialize, Deserialize)]
struct WireHello<'a> {
    wire_version: u16,
    network: &'a str,
    purpose: Purpose,
    peer_id: PeerId,
    boot_nonce: u64,
    nonce: [u8; NONCE_LEN],
    version: Version,
    /// In ascending order, each id once.
    protocols: Vec<(ProtocolId, Version, ProtocolKind)>,
    record: Option<PeerRecord>,
    payload: &'a [u8],
    serial: Serial,
}

/// What a hello says, within its bounds.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) wire_version: u16,
    pub(super) network: String,
    pub(super) purpose: Purpose,
    pub(super) peer_id: PeerId,
    pub(super) boot_nonce: u64,
    pub(super) nonce: [u8; NONCE_LEN],
    pub(super) version: Version,
    pub(super) protocols: BTreeMap<ProtocolId, Offer>,
    pub(super) record: Option<PeerRecord>,
    pub(super) payload: Bytes,
    pub(super) serial: Serial,
}

pub(super) enum Message {
    Hello(Box<Hello>),
    /// With a signature over plain tcp, without one where TLS has proven the identity.
    Accept(Option<[u8; SIGNATURE_LEN]>),
    Reject(RejectReason),
}

fn message(kind: u8, value: &impl Serialize) -> Result<Bytes> {
    Ok([&[FORMAT, kind], &crate::encode(value)?[..]].concat().into())
}

pub(super) fn hello(
    params: &HandshakeParams,
    purpose: Purpose,
    nonce: [u8; NONCE_LEN],
    payload: &[u8],
    serial: Serial,
) -> Result<Bytes> {
    let offers = params.protocols.iter().filter(|_| purpose == Purpose::Peer);
    let hello = WireHello {
        wire_version: WIRE_VERSION,
        network: &params.network,
        purpose,
        peer_id: params.key_pair.peer_id(),
        boot_nonce: params.boot_nonce,
        nonce,
        version: params.version.clone(),
        protocols: offers.map(|(id, offer)| (id.clone(), offer.version.clone(), offer.kind)).collect(),
        record: params.record.clone(),
        payload,
        serial,
    };
    message(HELLO, &hello)
}

pub(super) fn accept(signature: Option<[u8; SIGNATURE_LEN]>) -> Bytes {
    let mut bytes = vec![FORMAT, ACCEPT, u8::from(signature.is_some())];
    bytes.extend(signature.iter().flatten());
    bytes.into()
}

/// The message that tells the remote why it is refused.
pub fn reject_message(reason: &RejectReason) -> Bytes {
    message(REJECT, &reason.clone().cleaned())
        .expect("a reason has only numbers, texts and ids, whose encoding into memory cannot fail")
}

/// Reads a message. What is wrong with it is the reason to refuse its sender.
pub(super) fn decode(bytes: &[u8]) -> Result<Message, RejectReason> {
    if bytes.len() > MAX_MESSAGE_LEN {
        return Err(RejectReason::TooLarge { len: bytes.len() as u64, max: MAX_MESSAGE_LEN as u64 });
    }
    let malformed = |error: DecodeError| RejectReason::Malformed(error.to_string());
    match *bytes {
        [_, REJECT, ref reason @ ..] => {
            let reason = RejectReason::from_wire(reason).map_err(malformed)?;
            Ok(Message::Reject(reason.mirrored().cleaned()))
        }
        [format, ..] if format != FORMAT => {
            Err(RejectReason::WireVersion { ours: FORMAT.into(), theirs: format.into() })
        }
        [_, HELLO, ref hello @ ..] => {
            Ok(Message::Hello(Box::new(bounded(decode_borrowed(hello).map_err(malformed)?)?)))
        }
        [_, ACCEPT, 0] => Ok(Message::Accept(None)),
        [_, ACCEPT, 1, ref signature @ ..] => match signature.try_into() {
            Ok(signature) => Ok(Message::Accept(Some(signature))),
            Err(_) => Err(RejectReason::Malformed("a signature has 64 bytes".into())),
        },
        _ => Err(RejectReason::Malformed("an unknown message".into())),
    }
}

fn bounded(hello: WireHello<'_>) -> Result<Hello, RejectReason> {
    let malformed = |what: &str| Err(RejectReason::Malformed(what.into()));
    if hello.network.len() > MAX_NETWORK_LEN {
        return malformed("the network's name is too long");
    }
    if hello.protocols.len() > MAX_PROTOCOLS {
        return malformed("there are too many protocols");
    }
    if !hello.protocols.is_sorted_by(|(a, ..), (b, ..)| a < b) {
        return malformed("the protocols are not in order");
    }
    if hello.payload.len() > MAX_PAYLOAD_LEN {
        return malformed("the payload is too long");
    }
    if hello.record.as_ref().is_some_and(|record| record.peer_id() != hello.peer_id) {
        return malformed("the record is another peer's");
    }
    let protocols = hello.protocols.into_iter().map(|(id, version, kind)| (id, Offer { version, kind }));
    Ok(Hello {
        wire_version: hello.wire_version,
        network: hello.network.into(),
        purpose: hello.purpose,
        peer_id: hello.peer_id,
        boot_nonce: hello.boot_nonce,
        nonce: hello.nonce,
        version: hello.version,
        protocols: protocols.collect(),
        record: hello.record,
        payload: Bytes::copy_from_slice(hello.payload),
        serial: hello.serial,
    })
}

/// Reads a message and writes what it says: for fuzzing.
#[cfg(feature = "fuzzing")]
pub fn rewrite(bytes: &[u8]) -> Result<Bytes, RejectReason> {
    let malformed = |error: crate::Error| RejectReason::Malformed(error.to_string());
    match decode(bytes)? {
        Message::Hello(hello) => {
            let protocols = hello.protocols.into_iter().map(|(id, offer)| (id, offer.version, offer.kind));
            let hello = WireHello {
                wire_version: hello.wire_version,
                network: &hello.network,
                purpose: hello.purpose,
                peer_id: hello.peer_id,
                boot_nonce: hello.boot_nonce,
                nonce: hello.nonce,
                version: hello.version,
                protocols: protocols.collect(),
                record: hello.record,
                payload: &hello.payload,
                serial: hello.serial,
            };
            message(HELLO, &hello).map_err(malformed)
        }
        Message::Accept(signature) => Ok(accept(signature)),
        Message::Reject(reason) => Ok(reject_message(&reason.mirrored())),
    }
}
