//! Who a peer is and what it speaks: keys, signed records, TLS identities, the authenticated handshake, access
//! control, and the [`Error`] that serves this layer and all above.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod access;
pub mod ban;
pub mod bloom;
pub mod codec;
pub mod connection;
pub mod disconnect;
pub mod error;
pub mod handshake;
mod inbound;
pub mod keypair;
pub mod limiter;
pub mod prefix;
pub mod protocol_id;
pub mod race;
pub mod record;
pub mod tls;
pub mod version;

pub use access::{AccessControl, Action, AllowAll, AllowList, DenyList, Direction, PeerOrIp, Subject};
pub use ban::BanList;
pub use bloom::Bloom;
pub use codec::{DecodeError, decode, encode};
pub use connection::{Authenticated, Opening, Terms};
pub use disconnect::{DisconnectReason, Origin, close_code};
pub use error::{AppError, Error, Result};
pub use handshake::{
    Channel, Handshake, HandshakeError, HandshakeParams, Negotiated, Offer, Party, Purpose, RejectReason, RemotePeer,
    Role, Serial,
};
pub use inbound::{HandshakePlace, InboundHandshakes};
pub use keypair::{Domain, KeyError, KeyPair, KeyPairType, PublicKey};
pub use limiter::{Admission, HandshakeId, HandshakeLimiter, HandshakeLimits};
pub use p2p_core::{InvalidPeerId, PeerId};
pub use prefix::{Prefix, PrefixCounter};
pub use protocol_id::{InvalidProtocolId, ProtocolId, ProtocolKind};
pub use race::{Judge, OwnAddresses, Race, RaceLimits};
pub use record::{InvalidRecord, PeerRecord, RecordBuilder};
pub use tls::{ALPN, InvalidCertificate, MAX_CERTIFIED_HELLO, TlsIdentity, WIRE_VERSION, peer_id_from_certificates};
pub use version::{InvalidVersion, Version};

/// What the fuzz targets need of the inside. No part of the API.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::handshake::{certify as certified_hello, rewrite as rewrite_message, rewrite_certified};
    pub use crate::tls::fuzzing::{accepts as accepts_certificate, certificate};
}
