//! What this side brings to a handshake.

use std::collections::BTreeMap;
use std::fmt;

use p2p_core::PeerId;
use serde::{Deserialize, Serialize};

use super::{MAX_NETWORK_LEN, MAX_PROTOCOLS};
use crate::{Error, KeyPair, PeerRecord, ProtocolId, ProtocolKind, Result, Version};

/// What a connection is for. The dialer says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Purpose {
    /// To be peers: protocols run over it.
    Peer,
    /// A short exchange of the discovery layer. Neither versions nor protocols matter to it.
    Lookup,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Peer => "peer",
            Self::Lookup => "lookup",
        })
    }
}

/// Where a connection stands among all that its sender has had with the same peer since it started.
///
/// The numbers let a peer that has lost a connection replace it: what has ended once never comes back, so a claim that is
/// true when it is written stays true however late it arrives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Serial {
    /// The sender's number of this connection: each connection of one boot has a larger one than those before it.
    pub number: u64,
    /// All connections of this boot with the recipient to which the sender gave a smaller number than this have ended on
    /// its side. 0 says nothing.
    pub ended_below: u64,
}

/// A side that keeps no count of its connections: it can replace none.
impl From<()> for Serial {
    fn from((): ()) -> Self {
        Self::default()
    }
}

/// Which side of a handshake this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Opened the connection and speaks first.
    Dialer,
    /// Accepted it.
    Listener,
}

/// What the transport has proven about the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// TLS has proven that the remote is this peer: see
    /// [`peer_id_from_certificates`](crate::peer_id_from_certificates).
    Certified(PeerId),
    /// Nothing: plain tcp. The handshake itself proves who the remote is.
    Plain,
}

/// One protocol that this side offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its version, and which it gets along with.
    pub version: Version,
    /// What it means to this node.
    pub kind: ProtocolKind,
}

/// What a node says in each of its handshakes.
#[derive(Debug, Clone)]
pub struct HandshakeParams {
    /// Signs the handshake over tcp and names this node.
    pub key_pair: KeyPair,
    /// The network this node belongs to: at most [`MAX_NETWORK_LEN`] bytes. Others refuse those of another network.
    pub network: String,
    /// A random number drawn when the node started: another one from the same peer means that it has restarted.
    pub boot_nonce: u64,
    /// The application's version.
    pub version: Version,
    /// The protocols offered: at most [`MAX_PROTOCOLS`].
    pub protocols: BTreeMap<ProtocolId, Offer>,
    /// This node's own record, if it has one.
    pub record: Option<PeerRecord>,
    /// The purposes for which connections are accepted here.
    pub serves: Vec<Purpose>,
}

impl HandshakeParams {
    /// Those of a node that offers nothing yet, in the network `default`, version 0.1.0, and serves peers.
    pub fn new(key_pair: KeyPair, boot_nonce: u64) -> Self {
        Self {
            key_pair,
            network: "default".into(),
            boot_nonce,
            version: semver::Version::new(0, 1, 0).into(),
            protocols: BTreeMap::new(),
            record: None,
            serves: vec![Purpose::Peer],
        }
    }

    /// Checks the bounds, and that the record is this node's.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.network.len() > MAX_NETWORK_LEN {
            return Err(Error::config("network", format!("it has at most {MAX_NETWORK_LEN} bytes")));
        }
        if self.protocols.len() > MAX_PROTOCOLS {
            return Err(Error::config("protocols", format!("a node has at most {MAX_PROTOCOLS} protocols")));
        }
        if self.record.as_ref().is_some_and(|record| record.peer_id() != self.key_pair.peer_id()) {
            return Err(Error::config("record", "it is another peer's"));
        }
        Ok(())
    }
}
