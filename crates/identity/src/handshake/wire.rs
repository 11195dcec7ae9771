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

const HELLO: u8 = 0;
const ACCEPT: u8 = 1;
const REJECT: u8 = 2;

/// What follows in an accept.
const BARE: u8 = 0;
const SIGNED: u8 = 1;
const NUMBERED: u8 = 2;

/// Fields are only ever added by a new wire version.
#[derive(Serialize, Deserialize)]
struct WireHello<'a> {
    purpose: Purpose,
    peer_id: PeerId,
    nonce: [u8; NONCE_LEN],
    #[serde(borrow)]
    node: WireNode<'a>,
    payload: &'a [u8],
    serial: Serial,
}

/// What a node says on all its connections alike. Fields are only ever added by a new wire version.
#[derive(Serialize, Deserialize)]
struct WireNode<'a> {
    network: &'a str,
    boot_nonce: u64,
    version: Version,
    /// In ascending order, each id once.
    protocols: Vec<(ProtocolId, Version, ProtocolKind)>,
    record: Option<PeerRecord>,
}

/// What a hello says, within its bounds.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) purpose: Purpose,
    pub(super) peer_id: PeerId,
    pub(super) nonce: [u8; NONCE_LEN],
    pub(super) node: Node,
    pub(super) payload: Bytes,
    pub(super) serial: Serial,
}

/// What a node says on all its connections alike, within its bounds.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) network: String,
    pub(super) boot_nonce: u64,
    pub(super) version: Version,
    pub(super) protocols: BTreeMap<ProtocolId, Offer>,
    pub(super) record: Option<PeerRecord>,
}

pub(super) enum Message {
    Hello(Box<Hello>),
    Accept(Accept),
    Reject(RejectReason),
}

/// What an accept says besides yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// Nothing: TLS has proven who the sender is.
    Bare,
    /// Over plain tcp: a signature over both hellos.
    Signed([u8; SIGNATURE_LEN]),
    /// What a listener's hello would say about this one connection, when the rest of it was in the certificate.
    Numbered(Serial),
}

fn message(kind: u8, value: &impl Serialize) -> Result<Bytes> {
    Ok([&[WIRE_VERSION, kind], &crate::encode(value)?[..]].concat().into())
}

fn node(params: &HandshakeParams, purpose: Purpose) -> WireNode<'_> {
    let offers = params.protocols.iter().filter(|_| purpose == Purpose::Peer);
    WireNode {
        network: &params.network,
        boot_nonce: params.boot_nonce,
        version: params.version.clone(),
        protocols: offers.map(|(id, offer)| (id.clone(), offer.version.clone(), offer.kind)).collect(),
        record: params.record.clone(),
    }
}

/// What a listener's certificate says: its hello without what belongs to one connection, and without its id, which is
/// the certificate's key.
///
/// # Errors
/// [`Error::Encode`](crate::Error::Encode).
pub(crate) fn certified_hello(params: &HandshakeParams) -> Result<Bytes> {
    Ok([&[WIRE_VERSION], &crate::encode(&node(params, Purpose::Peer))?[..]].concat().into())
}

/// Reads what [`certified_hello`] wrote. What is wrong with it is the reason to refuse who presented it.
pub(super) fn decode_certified(bytes: &[u8], peer_id: PeerId) -> Result<Node, RejectReason> {
    match *bytes {
        [version, ref node @ ..] if version == WIRE_VERSION => {
            bounded_node(decode_borrowed(node).map_err(malformed)?, peer_id)
        }
        [version, ..] => Err(other_version(version)),
        [] => Err(RejectReason::Malformed("an empty hello".into())),
    }
}

fn malformed(error: DecodeError) -> RejectReason {
    RejectReason::Malformed(error.to_string())
}

fn other_version(theirs: u8) -> RejectReason {
    RejectReason::WireVersion { ours: WIRE_VERSION.into(), theirs: theirs.into() }
}

pub(super) fn hello(
    params: &HandshakeParams,
    purpose: Purpose,
    nonce: [u8; NONCE_LEN],
    payload: &[u8],
    serial: Serial,
) -> Result<Bytes> {
    let node = node(params, purpose);
    let hello = WireHello { purpose, peer_id: params.key_pair.peer_id(), nonce, node, payload, serial };
    message(HELLO, &hello)
}

pub(super) fn accept(accept: Accept) -> Bytes {
    match accept {
        Accept::Bare => vec![WIRE_VERSION, ACCEPT, BARE],
        Accept::Signed(signature) => [&[WIRE_VERSION, ACCEPT, SIGNED], &signature[..]].concat(),
        Accept::Numbered(serial) => {
            let serial = crate::encode(&serial).expect("the encoding of two numbers into memory cannot fail");
            [&[WIRE_VERSION, ACCEPT, NUMBERED], &serial[..]].concat()
        }
    }
    .into()
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
    match *bytes {
        [_, REJECT, ref reason @ ..] => {
            let reason = RejectReason::from_wire(reason).map_err(malformed)?;
            Ok(Message::Reject(reason.mirrored().cleaned()))
        }
        [version, ..] if version != WIRE_VERSION => Err(other_version(version)),
        [_, HELLO, ref hello @ ..] => {
            Ok(Message::Hello(Box::new(bounded(decode_borrowed(hello).map_err(malformed)?)?)))
        }
        [_, ACCEPT, BARE] => Ok(Message::Accept(Accept::Bare)),
        [_, ACCEPT, SIGNED, ref signature @ ..] => match signature.try_into() {
            Ok(signature) => Ok(Message::Accept(Accept::Signed(signature))),
            Err(_) => Err(RejectReason::Malformed("a signature has 64 bytes".into())),
        },
        [_, ACCEPT, NUMBERED, ref serial @ ..] => {
            Ok(Message::Accept(Accept::Numbered(decode_borrowed(serial).map_err(malformed)?)))
        }
        _ => Err(RejectReason::Malformed("an unknown message".into())),
    }
}

fn bounded(hello: WireHello<'_>) -> Result<Hello, RejectReason> {
    if hello.payload.len() > MAX_PAYLOAD_LEN {
        return Err(RejectReason::Malformed("the payload is too long".into()));
    }
    Ok(Hello {
        purpose: hello.purpose,
        peer_id: hello.peer_id,
        nonce: hello.nonce,
        node: bounded_node(hello.node, hello.peer_id)?,
        payload: Bytes::copy_from_slice(hello.payload),
        serial: hello.serial,
    })
}

fn bounded_node(node: WireNode<'_>, peer_id: PeerId) -> Result<Node, RejectReason> {
    let malformed = |what: &str| Err(RejectReason::Malformed(what.into()));
    if node.network.len() > MAX_NETWORK_LEN {
        return malformed("the network's name is too long");
    }
    if node.protocols.len() > MAX_PROTOCOLS {
        return malformed("there are too many protocols");
    }
    if !node.protocols.is_sorted_by(|(a, ..), (b, ..)| a < b) {
        return malformed("the protocols are not in order");
    }
    if node.record.as_ref().is_some_and(|record| record.peer_id() != peer_id) {
        return malformed("the record is another peer's");
    }
    let protocols = node.protocols.into_iter().map(|(id, version, kind)| (id, Offer { version, kind }));
    Ok(Node {
        network: node.network.into(),
        boot_nonce: node.boot_nonce,
        version: node.version,
        protocols: protocols.collect(),
        record: node.record,
    })
}

/// Reads a message and writes what it says: for fuzzing.
#[cfg(feature = "fuzzing")]
pub fn rewrite(bytes: &[u8]) -> Result<Bytes, RejectReason> {
    let malformed = |error: crate::Error| RejectReason::Malformed(error.to_string());
    match decode(bytes)? {
        Message::Hello(hello) => {
            let Hello { purpose, peer_id, nonce, node, payload, serial } = *hello;
            let hello = WireHello { purpose, peer_id, nonce, node: node.wire(), payload: &payload, serial };
            message(HELLO, &hello).map_err(malformed)
        }
        Message::Accept(said) => Ok(accept(said)),
        Message::Reject(reason) => Ok(reject_message(&reason.mirrored())),
    }
}

/// What a listener's certificate says: for fuzzing.
#[cfg(feature = "fuzzing")]
pub fn certify(params: &HandshakeParams) -> Bytes {
    certified_hello(params).unwrap_or_default()
}

/// Reads the hello of a certificate and writes what it says: for fuzzing.
#[cfg(feature = "fuzzing")]
pub fn rewrite_certified(bytes: &[u8], peer_id: PeerId) -> Result<Bytes, RejectReason> {
    let encoded = crate::encode(&decode_certified(bytes, peer_id)?.wire());
    let encoded = encoded.map_err(|error| RejectReason::Malformed(error.to_string()))?;
    Ok([&[WIRE_VERSION], &encoded[..]].concat().into())
}

#[cfg(feature = "fuzzing")]
impl Node {
    fn wire(&self) -> WireNode<'_> {
        let protocols = self.protocols.iter().map(|(id, offer)| (id.clone(), offer.version.clone(), offer.kind));
        WireNode {
            network: &self.network,
            boot_nonce: self.boot_nonce,
            version: self.version.clone(),
            protocols: protocols.collect(),
            record: self.record.clone(),
        }
    }
}
