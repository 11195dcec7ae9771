//! Secret keys as PKCS#8 (RFC 5958, RFC 8410) in PEM (RFC 7468).

use data_encoding::BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::{KeyError, KeyPair, wipe};
use crate::Result;

/// The longest PEM text that is read, in bytes. One of our own has 176.
pub const MAX_PEM_LEN: usize = 1024;

/// What is said of a longer one.
pub(super) const TOO_LONG: KeyError = KeyError::Pem("it is longer than an Ed25519 key, and no other kind is known");

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// What stands before the seed in version 2, which names the public key too.
const V2_HEAD: [u8; 16] = [0x30, 0x51, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What stands between the seed and the public key.
const V2_MIDDLE: [u8; 3] = [0x81, 0x21, 0];

/// The algorithm (id-Ed25519) and the beginning of the secret key, which stand before the seed in every version.
const BEFORE_SEED: &[u8] = V2_HEAD.split_at(5).1;

impl KeyPair {
    /// Reads the secret key that [`to_pkcs8_pem`](Self::to_pkcs8_pem), `openssl genpkey -algorithm ed25519` and others
    /// write: one PEM block with nothing around it but white space. Where the public key is in it, it must fit.
    ///
    /// # Errors
    /// [`KeyError::Pem`] and [`KeyError::Pkcs8`].
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self> {
        let mut der = decode_pem(pem)?;
        let key_pair = Self::from_der(&der);
        wipe(&mut der);
        Ok(key_pair?)
    }

    /// The secret key as PEM text, with the public key in it, so that a damaged file is noticed. Whoever has the text
    /// is this node.
    pub fn to_pkcs8_pem(&self) -> String {
        let mut der = self.to_der();
        let base64 = BASE64.encode(&der);
        wipe(&mut der);
        let mut pem = String::with_capacity(base64.len() + BEGIN.len() + END.len() + 8);
        pem.push_str(BEGIN);
        for (at, c) in base64.chars().enumerate() {
            if at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(c);
        }
        pem.push('\n');
        pem.push_str(END);
        pem.push('\n');
        wipe_text(base64);
        pem
    }

    /// PKCS#8 version 2.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        [&V2_HEAD[..], self.seed(), &V2_MIDDLE, self.public().as_bytes()].concat()
    }

    pub(super) fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let parsed = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|why| KeyError::Pkcs8(why.to_string()))?;
        // ring keeps the seed to itself; it stands where RFC 8410 puts it.
        let seed: [u8; 32] = der
            .windows(BEFORE_SEED.len())
            .position(|window| window == BEFORE_SEED)
            .and_then(|at| der[at + BEFORE_SEED.len()..].first_chunk().copied())
            .ok_or_else(|| KeyError::Pkcs8("the secret key is not where it should be".into()))?;
        let key_pair = Self::from_seed(seed);
        if key_pair.public().as_bytes() != parsed.public_key().as_ref() {
            return Err(KeyError::Pkcs8("the secret and the public key do not belong together".into()));
        }
        Ok(key_pair)
    }
}

fn decode_pem(pem: &str) -> Result<Vec<u8>, KeyError> {
    if pem.len() > MAX_PEM_LEN {
        return Err(TOO_LONG);
    }
    let mut lines = pem.trim_ascii().lines();
    match lines.next() {
        Some(BEGIN) => {}
        Some("-----BEGIN ENCRYPTED PRIVATE KEY-----") => {
            return Err(KeyError::Pem("it is encrypted; decrypt it first"));
        }
        _ => return Err(KeyError::Pem("it does not begin with -----BEGIN PRIVATE KEY-----")),
    }
    let mut base64 = String::with_capacity(pem.len());
    loop {
        match lines.next() {
            Some(END) => break,
            Some(line) if line.len() <= 64 => base64.push_str(line),
            Some(_) => return Err(KeyError::Pem("a line has more than 64 characters")),
            None => return Err(KeyError::Pem("it does not end with -----END PRIVATE KEY-----")),
        }
    }
    if lines.next().is_some() {
        return Err(KeyError::Pem("something follows the key"));
    }
    let der = BASE64.decode(base64.as_bytes()).map_err(|_| KeyError::Pem("it is not base64"));
    wipe_text(base64);
    der
}

fn wipe_text(text: String) {
    wipe(&mut text.into_bytes());
}
