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
/// A listener's may have exactly one extension, which is not critical and has an identifier of our own: its hello, of 1
/// to [`MAX_CERTIFIED_HELLO`] bytes. Its length is the only other thing that differs then.
///
/// The signature in it is made as it should be and never checked: `CertificateVerify` proves in each TLS handshake that
/// the remote holds the key and presents this certificate, and a self-signature says nothing more.
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

/// The longest hello that a listener puts into its certificate, in bytes; a longer one goes over the control stream.
///
/// Over quic a listener may send three times what it received before the dialer's address is proven (RFC 9000 §8.1): 3,600
/// bytes, three datagrams. With this bound its first flight takes two (650 bytes of other messages, and about 60 of
/// packets around each datagram's), which leaves one for a probe when the first flight is lost.
pub const MAX_CERTIFIED_HELLO: usize = 1_536;

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

/// The identifier of the extension: the arc of UUIDs (ITU-T X.667, `2.25`), and
/// `f9cc12c2-062c-4ed7-93df-6baec5ffb9ee`, which nobody else has drawn.
const HELLO_ID: &[u8] = b"\
    \x06\x14\x69\x83\xf3\xcc\x89\xb0\xc0\xe2\xe2\xbb\xaf\x93\xef\xda\xf5\xec\xaf\xfe\xf3\x6e";

/// The certificate of a node, with its hello if one is given.
pub(super) fn make(key_pair: &KeyPair, hello: Option<&[u8]>) -> Vec<u8> {
    let Frame { head, before_hello, signed_from } = Frame::of(hello.map(<[u8]>::len));
    let hello = hello.unwrap_or_default();
    let mut der = [&head, &key_pair.public().as_bytes()[..], &before_hello, hello].concat();
    let signature = key_pair.sign_raw(&der[signed_from..]);
    der.extend_from_slice(MIDDLE);
    der.extend_from_slice(&signature);
    der
}

/// Whose certificate it is, which has no hello.
pub(super) fn peer_id(der: &[u8]) -> Result<PeerId, InvalidCertificate> {
    match read(der)? {
        (peer_id, None) => Ok(peer_id),
        (_, Some(_)) => Err(InvalidCertificate::Form),
    }
}

/// Whose certificate it is, and the hello in it if there is one. What the hello says has not been looked at.
pub(super) fn read(der: &[u8]) -> Result<(PeerId, Option<&[u8]>), InvalidCertificate> {
    let covered = der
        .split_last_chunk::<SIGNATURE_LEN>()
        .and_then(|(rest, _)| rest.strip_suffix(MIDDLE))
        .ok_or(InvalidCertificate::Form)?;
    let (key, hello) = match covered.strip_prefix(HEAD) {
        Some(key) => (key, None),
        None => framed(covered).ok_or(InvalidCertificate::Form)?,
    };
    let key = <[u8; KEY_LEN]>::try_from(key).map_err(|_| InvalidCertificate::Form)?;
    Ok((PeerId::from_bytes(key)?, hello))
}

/// The key and the hello of what is in the longer form.
fn framed(covered: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    // The length of the whole fixes that of the hello: the lengths in between have one encoding each.
    let most = covered.len().saturating_sub(HEAD.len() + KEY_LEN + HELLO_ID.len());
    let mut lens = most.saturating_sub(MAX_LENGTHS).max(1)..=most.min(MAX_CERTIFIED_HELLO);
    let len = lens.find(|len| Lengths::of(*len).covered == covered.len())?;
    let frame = Frame::of(Some(len));
    let (key, rest) = covered.strip_prefix(&frame.head[..])?.split_at_checked(KEY_LEN)?;
    Some((key, Some(rest.strip_prefix(&frame.before_hello[..])?)))
}

const KEY_LEN: usize = 32;

/// The most that the headers of the extension take, and the longer lengths of the envelopes.
const MAX_LENGTHS: usize = 19;

/// What the longer form says of lengths.
struct Lengths {
    /// Of the extension, of the list of them, and of what is tagged as that, without their headers.
    extension: [usize; 3],
    /// Without its header.
    signed: usize,
    /// All that stands in front of `MIDDLE`.
    covered: usize,
}

impl Lengths {
    fn of(hello: usize) -> Self {
        let with_header = |len: usize| header_len(len) + len;
        let extension = HELLO_ID.len() + with_header(hello);
        let extensions = with_header(extension);
        let tagged = with_header(extensions);
        let signed = HEAD.len() - SIGNED_FROM - header_len(0) + KEY_LEN + with_header(tagged);
        let covered = with_header(signed);
        let outer = header_len(covered + MIDDLE.len() + SIGNATURE_LEN);
        Self { extension: [extension, extensions, tagged], signed, covered: outer + covered }
    }
}

/// All of a certificate but key, hello and signatures.
struct Frame {
    head: Vec<u8>,
    /// Between the key and the hello.
    before_hello: Vec<u8>,
    signed_from: usize,
}

impl Frame {
    fn of(hello: Option<usize>) -> Self {
        let Some(len) = hello else {
            return Self { head: HEAD.to_vec(), before_hello: Vec::new(), signed_from: SIGNED_FROM };
        };
        let Lengths { extension: [extension, extensions, tagged], signed, covered } = Lengths::of(len);
        let all = header_len(signed) + signed + MIDDLE.len() + SIGNATURE_LEN;
        let outer = header(0x30, all);
        debug_assert_eq!(outer.len() + all, covered + MIDDLE.len() + SIGNATURE_LEN);
        let fields = &HEAD[SIGNED_FROM + header_len(0)..];
        let before_hello = [
            &header(0xa3, tagged)[..],
            &header(0x30, extensions),
            &header(0x30, extension),
            HELLO_ID,
            &header(0x04, len),
        ];
        Self {
            signed_from: outer.len(),
            head: [&outer[..], &header(0x30, signed), fields].concat(),
            before_hello: before_hello.concat(),
        }
    }
}

/// Tag and length in DER (X.690 §8.1.3): the length in the fewest bytes.
fn header(tag: u8, len: usize) -> Vec<u8> {
    let [.., high, low] = len.to_be_bytes();
    match len {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    }
}

fn header_len(len: usize) -> usize {
    match len {
        0..0x80 => 2,
        0x80..0x100 => 3,
        _ => 4,
    }
}
