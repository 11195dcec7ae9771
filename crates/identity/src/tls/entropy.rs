//! TLS that takes all that is random from the runtime around it, so that in a simulated one the same seed gives the same bytes.
//! ring takes its keys from the system alone, hence X25519 from another library. Around any real runtime the entropy is
//! the system's as ever.

use p2p_core::runtime;
use rustls::NamedGroup;
use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup};
use rustls::{Error, PeerMisbehaved};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

/// The runtime's entropy.
#[derive(Debug)]
pub(super) struct Ambient;

impl SecureRandom for Ambient {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        runtime::current().map_err(|_| GetRandomFailed)?.fill_random(bytes);
        Ok(())
    }
}

/// X25519 (RFC 7748) with secret keys from [`Ambient`].
#[derive(Debug)]
pub(super) struct X25519;

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; 32];
        Ambient.fill(&mut secret)?;
        Ok(Box::new(KeyExchange { secret, public: x25519(secret, X25519_BASEPOINT_BYTES) }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct KeyExchange {
    secret: [u8; 32],
    public: [u8; 32],
}

impl ActiveKeyExchange for KeyExchange {
    fn complete(self: Box<Self>, remote: &[u8]) -> Result<SharedSecret, Error> {
        let remote = remote.try_into().map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = x25519(self.secret, remote);
        // A point of small order (RFC 8446 §7.4.2).
        if shared == [0; 32] {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(SharedSecret::from(&shared[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(all(test, feature = "smol"))]
mod tests {
    use rustls::crypto::ring::kx_group;

    use super::*;

    #[test]
    fn it_agrees_with_ring_and_refuses_points_of_small_order() {
        let _entered = runtime::enter(std::sync::Arc::new(p2p_core::SmolRuntime::new()));
        let (ours, theirs) = (X25519.start().unwrap(), kx_group::X25519.start().unwrap());
        let (our_key, their_key) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        assert_eq!(
            ours.complete(&their_key).unwrap().secret_bytes(),
            theirs.complete(&our_key).unwrap().secret_bytes()
        );
        for refused in [&[0; 32][..], &[0; 31], &[0; 33]] {
            assert!(X25519.start().unwrap().complete(refused).is_err());
        }
    }
}
