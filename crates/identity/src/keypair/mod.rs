//! A node's key pair: signing, verifying, and keeping it in a file.
//!
//! Every signature of this stack covers a [`Domain`] before what is signed, so a signature made for one purpose is
//! worth nothing for another. [`KeyPair::sign`] and [`PublicKey::verify`] use a domain for applications: a protocol
//! that signs what a stranger sends it cannot be made to sign a peer record or a handshake.

mod domain;
mod error;
mod file;
mod pem;
mod public;

use std::fmt;
use std::sync::Arc;

use p2p_core::PeerId;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

pub use domain::Domain;
pub use error::KeyError;
pub use pem::MAX_PEM_LEN;
pub use public::PublicKey;

/// Bytes of a signature (RFC 8032).
pub const SIGNATURE_LEN: usize = 64;

/// The kinds of keys there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyPairType {
    /// Ed25519 (RFC 8032).
    #[default]
    Ed25519,
}

/// A secret key and its public key. Clones share the secret, which `Debug` does not show and whose seed is
/// overwritten when the last clone is gone (as far as safe code can, and not inside the cryptography library).
///
/// ```
/// use p2p_identity::{KeyPair, KeyPairType};
///
/// let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
/// let signature = key_pair.sign(b"hello");
/// key_pair.public().verify(b"hello", &signature)?;
/// assert!(key_pair.public().verify(b"bye", &signature).is_err());
/// # Ok::<(), p2p_identity::Error>(())
/// ```
#[derive(Clone)]
pub struct KeyPair {
    secret: Arc<Secret>,
    peer_id: PeerId,
}

struct Secret {
    seed: [u8; 32],
    ring: Ed25519KeyPair,
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.seed);
    }
}

/// Overwrites a secret. The hint keeps the compiler from seeing that nobody reads the zeros.
fn wipe(secret: &mut [u8]) {
    secret.fill(0);
    std::hint::black_box(secret);
}

impl KeyPair {
    /// A new key from the system's random source.
    ///
    /// # Panics
    /// When the system has no working random source; without it nothing is safe.
    pub fn generate(kind: &KeyPairType) -> Self {
        let KeyPairType::Ed25519 = kind;
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).expect("the system's random source works; without it nothing is safe");
        let key_pair = Self::from_seed(seed);
        wipe(&mut seed);
        key_pair
    }

    /// The key of a seed (RFC 8032 §5.1.5): the same seed gives the same key. For tests and simulations, and for
    /// seeds from elsewhere that nobody can guess.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let ring =
            Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed has 32 bytes, and each such seed is a key");
        // The public key is the base point times a number that is a multiple of 8 and not of the group's order, in
        // its canonical encoding.
        let peer_id = PeerId::try_from(ring.public_key().as_ref()).expect("a generated public key is a valid peer id");
        Self { secret: Arc::new(Secret { seed, ring }), peer_id }
    }

    /// Which kind of key it is.
    pub fn kind(&self) -> KeyPairType {
        KeyPairType::Ed25519
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.peer_id.into()
    }

    /// The public key as the name of this node.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Signs `message` in the domain of applications: what [`PublicKey::verify`] accepts. Another Ed25519
    /// implementation verifies it over `b"p2p/1 application\0"` followed by the message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.sign_for(Domain::APPLICATION, &[message])
    }

    /// Signs `parts`, one after the other, in a domain of this stack. The parts must be such that nobody can move a
    /// byte from one to the next: of fixed length, or only the last one not.
    pub fn sign_for(&self, domain: Domain, parts: &[&[u8]]) -> [u8; SIGNATURE_LEN] {
        self.sign_raw(&domain.message(parts))
    }

    /// Signs bytes as they are. Only for structures that carry a domain of their own: TLS and X.509.
    pub(crate) fn sign_raw(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.secret.ring.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }

    /// A secret that only the holder of the key can compute, the same each time, another for each domain: HMAC-SHA-512
    /// (RFC 2104) of the domain's label under the seed.
    pub(crate) fn derive_secret(&self, domain: Domain) -> [u8; 64] {
        let key = hmac::Key::new(hmac::HMAC_SHA512, &self.secret.seed);
        let secret = hmac::sign(&key, &domain.message(&[]));
        secret.as_ref().try_into().expect("HMAC-SHA-512 has 64 bytes")
    }

    fn seed(&self) -> &[u8; 32] {
        &self.secret.seed
    }
}

/// Shows the public key only.
impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.peer_id.short())
    }
}

#[cfg(test)]
mod tests;
