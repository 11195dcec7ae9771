//! The wire format, written down once more from the book and independent of the crates under test: what they encode
//! wrongly, they would not notice.

use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

pub const DATA: u8 = 0;
pub const DATA_FIN: u8 = 1;
pub const OPEN: u8 = 2;
pub const WINDOW: u8 = 3;
pub const RESET: u8 = 4;
pub const REFUSE: u8 = 6;
pub const CLOSE: u8 = 7;
pub const PING: u8 = 8;
pub const PONG: u8 = 9;
pub const ACCEPTED: u8 = 10;

/// The code with which a side closes that finds a violation of the multiplexer.
pub const VIOLATION: u32 = 0xffff_ffff;

/// The wire version: the first byte of each message of a handshake.
pub const VERSION: u8 = 2;

pub const HELLO: u8 = 0;
pub const ACCEPT: u8 = 1;
pub const REJECT: u8 = 2;

/// A frame of the multiplexer whose header says `len`, whatever the payload is.
pub fn frame_claiming(kind: u8, stream: u32, len: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(&len.to_be_bytes()[1..]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame_claiming(kind, stream, payload.len() as u32, payload)
}

/// A QUIC variable-length integer (RFC 9000 §16), in its shortest form.
pub fn varint(number: u64) -> Vec<u8> {
    match number {
        0..0x40 => vec![number as u8],
        0x40..0x4000 => (number as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (number as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (number | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A message with its length in front.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// Cuts the first message off `bytes`, if all of it is there.
pub fn take_message(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let size = 1 << (bytes.first()? >> 6);
    if bytes.len() < size {
        return None;
    }
    let number = bytes[1..size].iter().fold(u64::from(bytes[0] & 0x3f), |number, byte| number << 8 | u64::from(*byte));
    let len = usize::try_from(number).unwrap();
    if bytes.len() < size + len {
        return None;
    }
    let rest = bytes.split_off(size + len);
    let message = bytes.split_off(size);
    *bytes = rest;
    Some(message)
}

/// postcard's numbers.
pub fn leb128(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// postcard's text and bytes.
pub fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [leb128(bytes.as_ref().len() as u64), bytes.as_ref().to_vec()].concat()
}

/// Who somebody is, or pretends to be.
pub struct Key {
    pub seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Key {
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, pair: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap() }
    }

    /// One of many.
    pub fn nth(group: u8, number: u32) -> Self {
        let mut seed = [group; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        Self::new(seed)
    }

    pub fn id(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().unwrap()
    }

    pub fn sign(&self, label: &str, parts: &[&[u8]]) -> Vec<u8> {
        let signed = [&[label.as_bytes(), &[0]], parts].concat().concat();
        self.pair.sign(&signed).as_ref().to_vec()
    }
}

/// A hello, to be changed at will before it is sent.
#[derive(Clone)]
pub struct Hello {
    pub wire_version: u8,
    pub network: Vec<u8>,
    pub purpose: u64,
    pub peer_id: [u8; 32],
    pub boot_nonce: u64,
    pub nonce: [u8; 32],
    pub version: Vec<u8>,
    /// Id, version, kind.
    pub protocols: Vec<(String, String, u64)>,
    pub record: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    pub number: u64,
    pub ended_below: u64,
}

impl Hello {
    pub fn new(peer_id: [u8; 32], nonce: u64) -> Self {
        Self {
            wire_version: VERSION,
            network: super::NETWORK.into(),
            purpose: 0,
            peer_id,
            boot_nonce: 7,
            nonce: [nonce.to_be_bytes(); 4].concat().try_into().unwrap(),
            version: b"0.1.0".to_vec(),
            protocols: vec![(super::ECHO.into(), "0.1.0".into(), 1)],
            record: None,
            payload: Vec::new(),
            number: 0,
            ended_below: 0,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.wire_version, HELLO];
        bytes.extend(leb128(self.purpose));
        bytes.extend(self.peer_id);
        bytes.extend(self.nonce);
        bytes.extend(self.node());
        bytes.extend(text(&self.payload));
        bytes.extend(leb128(self.number));
        bytes.extend(leb128(self.ended_below));
        bytes
    }

    /// The part that a listener's certificate says, behind the wire version.
    pub fn node(&self) -> Vec<u8> {
        let mut bytes = text(&self.network);
        bytes.extend(leb128(self.boot_nonce));
        bytes.extend(text(&self.version));
        bytes.extend(leb128(self.protocols.len() as u64));
        for (id, version, kind) in &self.protocols {
            bytes.extend([text(id), text(version), leb128(*kind)].concat());
        }
        match &self.record {
            None => bytes.push(0),
            Some(record) => bytes.extend([vec![1], text(record)].concat()),
        }
        bytes
    }
}

/// `Accept`, with a signature over plain tcp.
pub fn accept(signature: Option<&[u8]>) -> Vec<u8> {
    [&[VERSION, ACCEPT, u8::from(signature.is_some())], signature.unwrap_or_default()].concat()
}

/// What both sides sign over plain tcp: of both hellos, without the lengths in front of them.
pub fn transcript(dialer: &[u8], listener: &[u8]) -> [u8; 32] {
    let all = [&(dialer.len() as u64).to_be_bytes(), dialer, listener].concat();
    digest(&SHA256, &all).as_ref().try_into().unwrap()
}

/// A message of the control stream.
pub fn ping(number: u64) -> Vec<u8> {
    [vec![1, 0], leb128(number)].concat()
}

pub fn pong(number: u64) -> Vec<u8> {
    [vec![1, 1], leb128(number)].concat()
}

pub fn goodbye(code: u64, reason: &str) -> Vec<u8> {
    [vec![1, 2], leb128(code), text(reason)].concat()
}

/// The first message of a stream.
pub fn header(protocol: &str, raw: bool) -> Vec<u8> {
    [vec![1], text(protocol), vec![u8::from(raw)]].concat()
}

/// A record with so many addresses, properly signed.
pub fn record(key: &Key, addresses: u32) -> Vec<u8> {
    let address = |n: u32| {
        let value = [&[2, 0, 0, 0x23, 0x28][..], &(0x0a00_0001 + n).to_be_bytes()].concat();
        [vec![1], text(value)].concat()
    };
    let mut body = vec![1];
    body.extend(key.id());
    body.extend(leb128(1));
    body.extend(leb128(u64::from(addresses)));
    (0..addresses).for_each(|n| body.extend(address(n)));
    body.extend(leb128(0));
    body.extend([0; 16]);
    let signature = key.sign("p2p/1 peer record", &[&body]);
    [body, signature].concat()
}
