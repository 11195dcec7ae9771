//! The one form of certificate there is.

use p2p_core::{InvalidPeerId, PeerId};

use crate::KeyPair;
use crate::keypair::SIGNATURE_LEN;

/// Why a certificate is not a node's.
///
/// A node's certificate is this X.509 structure (RFC 5280, RFC 8410) in DER, to the byte: version 3, serial number 1,
/// issuer and subject `CN=p2p`, valid from 1975-01-01 to 4096-01-01, the node's Ed25519 key, no extensions, and an
/// Ed25519 signature. Only the key and the signature differ from node to node, so it is compared and not parsed, and
/// nothing odd (another key type, extension, date, algorithm, length) can be in it.
///
/// The signature in it is made as it should be and never checked: `CertificateVerify` proves in each TLS handshake that
/// the remote holds the key, and a self-signature says nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCertificate {
    /// There is none, or there is a chain; the number is given.
    #[error("a node presents exactly one certificate, not {0}")]
    Count(usize),
    /// It is not in the form of a node's.
    #[error("the certificate is not in the form of a node's")]
    Form,
    /// Its key is nobody's.
    #[error("the certificate's key: {0}")]
    Key(#[from] InvalidPeerId),
    /// A stapled OCSP response came with it; there is no authority that could have made one.
    #[error("a stapled OCSP response came with the certificate")]
    Ocsp,
}

/// Up to the key. The first line is the envelope of everything.
const HEAD: &[u8] = b"\
    \x30\x81\xc9\
    \x30\x7d\
    \xa0\x03\x02\x01\x02\
    \x02\x01\x01\
    \x30\x05\x06\x03\x2b\x65\x70\
    \x30\x0e\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x0c\x03p2p\
    \x30\x20\x17\x0d750101000000Z\x18\x0f40960101000000Z\
    \x30\x0e\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x0c\x03p2p\
    \x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// Between the key and the signature.
const MIDDLE: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70\x03\x41\x00";

/// Where in `HEAD` begins what the signature covers, which ends with the key.
const SIGNED_FROM: usize = 3;

/// The certificate of a node.
pub(super) fn make(key_pair: &KeyPair) -> Vec<u8> {
    let mut der = [HEAD, key_pair.public().as_bytes()].concat();
    let signature = key_pair.sign_raw(&der[SIGNED_FROM..]);
    der.extend_from_slice(MIDDLE);
    der.extend_from_slice(&signature);
    der
}

/// Whose certificate it is.
pub(super) fn peer_id(der: &[u8]) -> Result<PeerId, InvalidCertificate> {
    let key = der
        .strip_prefix(HEAD)
        .and_then(|rest| rest.split_last_chunk::<SIGNATURE_LEN>())
        .and_then(|(rest, _)| rest.strip_suffix(MIDDLE))
        .and_then(|key| <[u8; 32]>::try_from(key).ok())
        .ok_or(InvalidCertificate::Form)?;
    Ok(PeerId::from_bytes(key)?)
}
