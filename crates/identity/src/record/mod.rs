//! Signed peer records: where a peer is, in its own words.

mod address;
mod error;
mod wire;

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use p2p_core::PeerId;
use p2p_net::{Endpoint, PeerAddr};

use crate::keypair::{Domain, KeyPair, PublicKey, SIGNATURE_LEN};
use crate::{Bloom, Result};

pub use error::InvalidRecord;

/// The longest record, in bytes.
pub const MAX_RECORD_LEN: usize = 2048;

/// The most addresses of each sort in a record.
pub const MAX_ADDRS: usize = 8;

const DOMAIN: Domain = Domain::new("p2p/1 peer record");

/// Where a peer can be reached and what it offers, signed by it. Cheap to clone.
///
/// It is kept and passed on as the very bytes that were signed. Decoding does not check the signature, because most
/// records that pass by are never used: [`verify`](Self::verify) does when it is first needed, and remembers.
///
/// ```
/// use p2p_identity::{KeyPair, KeyPairType, PeerRecord};
/// use p2p_net::Endpoint;
///
/// let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
/// let endpoint: Endpoint = "quic://192.0.2.7:9000".parse()?;
/// let record = PeerRecord::builder().addr(endpoint).sign(&key_pair, 1)?;
///
/// let received = PeerRecord::decode(record.as_bytes())?;
/// received.verify()?;
/// assert_eq!(received.addrs()[0].endpoint.peer_id(), Some(key_pair.peer_id()));
/// # Ok::<(), p2p_identity::Error>(())
/// ```
#[derive(Clone)]
pub struct PeerRecord(Arc<Inner>);

struct Inner {
    bytes: Bytes,
    peer_id: PeerId,
    seq: u64,
    addrs: Vec<PeerAddr>,
    discovery_addrs: Vec<PeerAddr>,
    items: Bloom,
    valid: OnceLock<bool>,
}

impl PeerRecord {
    /// Begins a record of one's own.
    pub fn builder() -> RecordBuilder {
        RecordBuilder::default()
    }

    /// Reads a record without checking its signature. The bytes are copied, so that a record does not keep the whole
    /// message alive that it came in.
    ///
    /// # Errors
    /// [`InvalidRecord`]: too large, another format, malformed, or with addresses that no record may have. Addresses of
    /// a kind that this version does not know are kept in the bytes and not shown.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(wire::decode(bytes)?)
    }

    /// The bytes that were signed, and the signature.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Checks that the peer signed it. Costs a signature verification the first time and nothing later.
    ///
    /// # Errors
    /// [`InvalidRecord::Signature`].
    pub fn verify(&self) -> Result<()> {
        let valid = *self.0.valid.get_or_init(|| {
            // A decoded record is longer than a signature.
            let (signed, signature) = self.0.bytes.split_at(self.0.bytes.len() - SIGNATURE_LEN);
            PublicKey::from(self.0.peer_id).verify_for(DOMAIN, &[signed], signature).is_ok()
        });
        if valid { Ok(()) } else { Err(InvalidRecord::Signature.into()) }
    }

    /// Whose record it is.
    pub fn peer_id(&self) -> PeerId {
        self.0.peer_id
    }

    /// Of two records of a peer, the one with the higher number counts.
    pub fn seq(&self) -> u64 {
        self.0.seq
    }

    /// Whether it is about the same peer and counts more.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.0.peer_id == other.0.peer_id && self.0.seq > other.0.seq
    }

    /// Where to connect, in the order the peer gave. Each endpoint names the peer.
    pub fn addrs(&self) -> &[PeerAddr] {
        &self.0.addrs
    }

    /// Where its discovery is reached, in the order the peer gave. Each endpoint names the peer.
    pub fn discovery_addrs(&self) -> &[PeerAddr] {
        &self.0.discovery_addrs
    }

    /// A hint of the protocols and other items it advertises.
    pub fn items(&self) -> Bloom {
        self.0.items
    }
}

/// Equal when the bytes are.
impl PartialEq for PeerRecord {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for PeerRecord {}

impl fmt::Debug for PeerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerRecord")
            .field("peer_id", &self.0.peer_id)
            .field("seq", &self.0.seq)
            .field("addrs", &self.0.addrs)
            .field("discovery_addrs", &self.0.discovery_addrs)
            .field("items", &self.0.items)
            .finish_non_exhaustive()
    }
}

/// As its bytes.
impl serde::Serialize for PeerRecord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.bytes)
    }
}

impl<'de> serde::Deserialize<'de> for PeerRecord {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = PeerRecord;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a peer record")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<PeerRecord, E> {
                wire::decode(bytes).map_err(E::custom)
            }
        }

        deserializer.deserialize_bytes(Visitor)
    }
}

/// What goes into a record of one's own; made by [`PeerRecord::builder`].
#[derive(Debug, Clone, Default)]
pub struct RecordBuilder {
    addrs: Vec<PeerAddr>,
    discovery_addrs: Vec<PeerAddr>,
    items: Bloom,
}

impl RecordBuilder {
    /// Adds an endpoint to connect to.
    pub fn addr(mut self, addr: impl Into<PeerAddr>) -> Self {
        self.addrs.push(addr.into());
        self
    }

    /// Adds an endpoint of discovery.
    pub fn discovery_addr(mut self, addr: impl Into<PeerAddr>) -> Self {
        self.discovery_addrs.push(addr.into());
        self
    }

    /// Sets the hint of advertised items.
    pub fn items(mut self, items: Bloom) -> Self {
        self.items = items;
        self
    }

    /// Signs it. `seq` must be higher than in any record signed before with this key.
    ///
    /// # Errors
    /// [`InvalidRecord::TooManyAddresses`] and [`InvalidRecord::Address`].
    pub fn sign(self, key_pair: &KeyPair, seq: u64) -> Result<PeerRecord> {
        Ok(wire::sign(self, key_pair, seq)?)
    }

    /// Whether `endpoint` may be in a record: an IP address that others can have a route to, and a port.
    pub fn accepts(endpoint: &Endpoint) -> bool {
        address::check(endpoint).is_ok()
    }
}

#[cfg(test)]
mod tests;
