//! Public keys.

use std::fmt;

use p2p_core::PeerId;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::{Domain, KeyError};
use crate::Result;

/// An Ed25519 public key. It is the same 32 bytes as the [`PeerId`] of whoever holds the secret key, with the same
/// text form and the same guarantee: canonical and not of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(PeerId);

impl PublicKey {
    /// Checks a signature made by [`KeyPair::sign`](crate::KeyPair::sign).
    ///
    /// # Errors
    /// [`KeyError::Signature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        self.verify_for(Domain::APPLICATION, &[message], signature)
    }

    /// Checks a signature made by [`KeyPair::sign_for`](crate::KeyPair::sign_for).
    ///
    /// # Errors
    /// [`KeyError::Signature`].
    pub fn verify_for(&self, domain: Domain, parts: &[&[u8]], signature: &[u8]) -> Result<()> {
        self.verify_raw(&domain.message(parts), signature)
    }

    /// Checks a signature over bytes as they are.
    pub(crate) fn verify_raw(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        UnparsedPublicKey::new(&ED25519, self.0.as_bytes())
            .verify(message, signature)
            .map_err(|_| KeyError::Signature.into())
    }

    /// The name of whoever holds the secret key.
    pub fn peer_id(&self) -> PeerId {
        self.0
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl From<PeerId> for PublicKey {
    fn from(peer_id: PeerId) -> Self {
        Self(peer_id)
    }
}

impl From<PublicKey> for PeerId {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.0.short())
    }
}

impl std::str::FromStr for PublicKey {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self(text.parse()?))
    }
}
