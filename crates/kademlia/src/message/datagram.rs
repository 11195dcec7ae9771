//! Liveness over udp: is the node there, does it hold its key, and has its record changed?
//!
//! ```text
//! Ping   format [1] ‖ 0 ‖ from [32] ‖ to [32] ‖ nonce [16] ‖ seq [8]
//! Pong   format [1] ‖ 1 ‖ nonce [16] ‖ seq [8] ‖ signature [64]
//! ```
//!
//! Both have [`DATAGRAM_LEN`] bytes, without any padding: whoever makes up a source address gains nothing by having us
//! answer to it. The signature covers both ids, the nonce, the sequence number and the network, so a pong answers one ping of one
//! node only; a `Ping` carries no proof, and nothing may follow from one but a pong.

use p2p_core::PeerId;
use p2p_identity::keypair::SIGNATURE_LEN;
use p2p_identity::{Domain, KeyPair, PublicKey};

use super::FORMAT;

/// Bytes of every datagram.
pub const DATAGRAM_LEN: usize = 2 + PONG_LEN;

/// Bytes of a nonce: too many to be guessed within the time that a ping waits for its answer.
pub const NONCE_LEN: usize = 16;

const DOMAIN: Domain = Domain::new("p2p/1 dht pong");

const PING: u8 = 0;
const PONG: u8 = 1;

/// Bytes behind the kind.
const PING_LEN: usize = 32 + 32 + NONCE_LEN + 8;
const PONG_LEN: usize = NONCE_LEN + 8 + SIGNATURE_LEN;

const _: () = assert!(PING_LEN == PONG_LEN, "an answer is never larger than its question: pad the ping");

/// A question whether a node is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Who asks, as it says.
    pub from: PeerId,
    /// Who is meant. Nobody else answers.
    pub to: PeerId,
    /// Random, drawn for this ping.
    pub nonce: [u8; NONCE_LEN],
    /// The sequence number of the asker's own record; 0 when it has none.
    pub seq: u64,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pong {
    /// The ping's.
    pub nonce: [u8; NONCE_LEN],
    /// The sequence number of the responder's own record; 0 when it has none.
    pub seq: u64,
    /// Over both ids, the nonce, this sequence number and the network.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Ping {
    /// Answers it as the node that it is meant for; `None` when that is another one. Costs a signature, about 20 µs.
    pub fn answer(&self, key_pair: &KeyPair, network: &str, seq: u64) -> Option<Pong> {
        if self.to != key_pair.peer_id() {
            return None;
        }
        let message = self.signed(seq);
        let signature = key_pair.sign_for(DOMAIN, &[&message, network.as_bytes()]);
        Some(Pong { nonce: self.nonce, seq, signature })
    }

    /// What is signed, the network aside, which comes last because its length is not fixed.
    fn signed(&self, seq: u64) -> [u8; PING_LEN] {
        let mut message = [0; PING_LEN];
        let parts: [&[u8]; 4] = [self.from.as_bytes(), self.to.as_bytes(), &self.nonce, &seq.to_be_bytes()];
        fill(&mut message, &parts);
        message
    }
}

impl Pong {
    /// Whether it answers `ping`, in `network`, signed by who was asked. Costs a verification, about 50 µs, when the
    /// nonce is right, and nothing otherwise.
    pub fn answers(&self, ping: &Ping, network: &str) -> bool {
        let parts: [&[u8]; 2] = [&ping.signed(self.seq), network.as_bytes()];
        self.nonce == ping.nonce && PublicKey::from(ping.to).verify_for(DOMAIN, &parts, &self.signature).is_ok()
    }
}

/// Either of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram {
    /// A question.
    Ping(Ping),
    /// An answer.
    Pong(Pong),
}

impl Datagram {
    /// Its bytes.
    pub fn encode(&self) -> [u8; DATAGRAM_LEN] {
        let mut bytes = [0; DATAGRAM_LEN];
        match self {
            Self::Ping(Ping { from, to, nonce, seq }) => {
                let parts: [&[u8]; 5] = [&[FORMAT, PING], from.as_bytes(), to.as_bytes(), nonce, &seq.to_be_bytes()];
                fill(&mut bytes, &parts);
            }
            Self::Pong(Pong { nonce, seq, signature }) => {
                fill(&mut bytes, &[&[FORMAT, PONG], nonce, &seq.to_be_bytes(), signature]);
            }
        }
        bytes
    }

    /// Reads one. The signature of a pong is not looked at.
    ///
    /// # Errors
    /// [`InvalidDatagram`]: drop it; an error is never answered.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidDatagram> {
        let bytes: &[u8; DATAGRAM_LEN] = bytes.try_into().map_err(|_| InvalidDatagram::Length(bytes.len()))?;
        let (&[format, kind], rest) = bytes.split_first_chunk().ok_or(InvalidDatagram::Length(bytes.len()))?;
        match (format, kind) {
            (FORMAT, PING) => ping(rest).map(Self::Ping),
            (FORMAT, PONG) => pong(rest).map(Self::Pong),
            (FORMAT, kind) => Err(InvalidDatagram::Kind(kind)),
            (format, _) => Err(InvalidDatagram::Format(format)),
        }
    }
}

fn ping(mut rest: &[u8]) -> Result<Ping, InvalidDatagram> {
    let [from, to] = [array(&mut rest)?, array(&mut rest)?];
    let (nonce, seq) = (array(&mut rest)?, u64::from_be_bytes(array(&mut rest)?));
    let peer_id = |bytes| PeerId::from_bytes(bytes).map_err(|_| InvalidDatagram::PeerId);
    Ok(Ping { from: peer_id(from)?, to: peer_id(to)?, nonce, seq })
}

fn pong(mut rest: &[u8]) -> Result<Pong, InvalidDatagram> {
    let (nonce, seq) = (array(&mut rest)?, u64::from_be_bytes(array(&mut rest)?));
    Ok(Pong { nonce, seq, signature: array(&mut rest)? })
}

/// Takes the next `N` bytes.
fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], InvalidDatagram> {
    let (taken, left) = rest.split_first_chunk().ok_or(InvalidDatagram::Length(rest.len()))?;
    *rest = left;
    Ok(*taken)
}

/// Writes `parts`, which are as long as `bytes` together.
fn fill(bytes: &mut [u8], parts: &[&[u8]]) {
    bytes.iter_mut().zip(parts.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
}

/// Why bytes are not a datagram of the DHT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDatagram {
    /// It has another length than all of them.
    #[error("a datagram has {DATAGRAM_LEN} bytes, not {0}")]
    Length(usize),
    /// A format that this version does not know.
    #[error("unknown format {0}")]
    Format(u8),
    /// A kind that this version does not know.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// Bytes that can be nobody's id.
    #[error("not a peer id")]
    PeerId,
}
