//! Who takes part, what each brings along, and what must come of it.

use std::sync::OnceLock;

use bytes::Bytes;
use p2p_identity::handshake::Step;
use p2p_identity::{
    Channel, Handshake, HandshakeParams, KeyPair, Offer, PeerRecord, ProtocolId, ProtocolKind, Purpose, Version,
};

use crate::input::Input;

/// The key of party 1, 2 or 3.
pub(super) fn key(n: u8) -> KeyPair {
    static KEYS: OnceLock<[KeyPair; 4]> = OnceLock::new();
    KEYS.get_or_init(|| [0, 1, 2, 3].map(|n| KeyPair::from_seed([n; 32])))[usize::from(n & 3)].clone()
}

/// What the choices are made from, read once.
struct Parts {
    ids: [ProtocolId; 3],
    versions: [Version; 3],
    records: [Option<PeerRecord>; 4],
}

fn parts() -> &'static Parts {
    static PARTS: OnceLock<Parts> = OnceLock::new();
    PARTS.get_or_init(|| Parts {
        ids: ["/a", "/b", "/c"].map(|id| id.parse().expect("an id")),
        versions: ["1.0.0", "1.1.0, >=1", "2.0.0"].map(|version| version.parse().expect("a version")),
        records: [0, 1, 2, 3].map(|n| PeerRecord::builder().sign(&key(n), 1).ok()),
    })
}

/// What one side brings along.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    general: u8,
    protocols: [u8; 2],
}

impl Choice {
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        let [general, first, second] = input.any();
        Self { general, protocols: [first, second] }
    }

    pub(super) fn params(self, n: u8) -> HandshakeParams {
        let Parts { ids, versions, records } = parts();
        let mut params = HandshakeParams::new(key(n), u64::from(n) << 40);
        let pick = |bits: u8| versions[usize::from(bits % 3)].clone();
        if self.general & 7 == 7 {
            params.network = "other".into();
        }
        params.version = pick(self.general >> 3 & 3);
        params.serves = match self.general >> 5 & 3 {
            0 => vec![Purpose::Peer],
            1 => vec![Purpose::Lookup],
            _ => vec![Purpose::Peer, Purpose::Lookup],
        };
        if self.general & 0x80 != 0 {
            params.record = records[usize::from(n & 3)].clone();
        }
        let [first, second] = self.protocols;
        for (id, bits) in ids.iter().zip([first & 15, first >> 4, second & 15]) {
            let kind = match bits & 3 {
                0 => continue,
                1 => ProtocolKind::Mandatory,
                2 => ProtocolKind::Optional,
                _ => ProtocolKind::Hidden,
            };
            params.protocols.insert(id.clone(), Offer { version: pick(bits >> 2), kind });
        }
        params
    }
}

/// Whether a dialer with `a` and a listener with `b` should agree, if the dialer expects that listener.
pub(super) fn agree(a: &HandshakeParams, b: &HandshakeParams, purpose: Purpose) -> bool {
    if a.network != b.network || !b.serves.contains(&purpose) {
        return false;
    }
    if purpose == Purpose::Lookup {
        return true;
    }
    let both_speak = |id: &ProtocolId| match (a.protocols.get(id), b.protocols.get(id)) {
        (Some(a), Some(b)) => a.version.is_compatible_with(&b.version),
        _ => false,
    };
    let mut offers = a.protocols.iter().chain(&b.protocols);
    a.version.is_compatible_with(&b.version)
        && offers.all(|(id, offer)| offer.kind != ProtocolKind::Mandatory || both_speak(id))
}

/// All messages of an earlier handshake over plain tcp between the first two parties, and of one with the roles
/// exchanged.
pub(super) fn recorded() -> &'static [Bytes] {
    static RECORDED: OnceLock<Vec<Bytes>> = OnceLock::new();
    RECORDED.get_or_init(|| [record(1, 2), record(2, 1)].concat())
}

fn record(dialer: u8, listener: u8) -> Vec<Bytes> {
    let params = |n| HandshakeParams { record: None, ..HandshakeParams::new(key(n), u64::from(n) << 40) }.into();
    let machines = (
        Handshake::dial(params(dialer), Channel::Plain, None, Purpose::Peer, [5; 32], b"query"),
        Handshake::listen(params(listener), Channel::Plain, [6; 32]),
    );
    let (Ok(mut dialer), Ok(mut listener)) = machines else { return Vec::new() };
    let mut messages: Vec<Bytes> = dialer.hello().into_iter().collect();
    for (side, at) in [(&mut listener, 0), (&mut dialer, 1)] {
        if let Ok(Step::Decide) = side.on_message(&messages[at]) {
            messages.extend(side.accept().unwrap_or_default());
        }
    }
    assert_eq!(messages.len(), 4, "an earlier handshake");
    messages
}
