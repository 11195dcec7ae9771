//! What can be wrong with a key.

use std::path::PathBuf;

/// What can be wrong with a key, a key file or a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not one PEM block of a private key.
    #[error("not a PEM private key: {0}")]
    Pem(&'static str),
    /// The PKCS#8 structure is not an Ed25519 key, or its halves do not fit together.
    #[error("not an Ed25519 private key in PKCS#8 form: {0}")]
    Pkcs8(String),
    /// A key file does not hold a key. It is left as it is.
    #[error("key file {path}: {source}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with its content.
        source: Box<KeyError>,
    },
    /// Others on this machine may read or change the key file.
    #[error(
        "key file {path}: others may read or change it (mode {mode:03o}); if they have not, run `chmod 600` on it; \
         where its mode is not yours to change, as with a mounted secret, mount it with mode 0400 or read it yourself \
         and use `KeyPair::from_pkcs8_pem`",
        path = path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The signature is not this key's over this message.
    #[error("the signature is not valid")]
    Signature,
}
