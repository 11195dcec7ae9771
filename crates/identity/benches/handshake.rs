//! What it takes to know who is there: records, and the handshake of two sides in memory.
//!
//! `cargo bench -p p2p-identity --bench handshake`

use divan::{Bencher, black_box};
use p2p_identity::handshake::Step;
use p2p_identity::keypair::KeyPairType;
use p2p_identity::{Channel, Handshake, HandshakeParams, KeyPair, Offer, PeerRecord, ProtocolKind, Purpose};

fn record(key: &KeyPair) -> PeerRecord {
    let endpoint: p2p_net::Endpoint = "quic://192.0.2.1:4001".parse().expect("an endpoint");
    PeerRecord::builder().addr(endpoint).sign(key, 1).expect("it is within bounds")
}

fn params() -> HandshakeParams {
    let key = KeyPair::generate(&KeyPairType::Ed25519);
    let record = record(&key);
    let mut params = HandshakeParams::new(key, 1);
    params.record = Some(record);
    for id in ["/chat/1", "/files/1", "/sync/2"] {
        let offer = Offer { version: "1.2.3".parse().expect("a version"), kind: ProtocolKind::Mandatory };
        params.protocols.insert(id.parse().expect("a protocol id"), offer);
    }
    params
}

#[divan::bench]
fn record_sign(bencher: Bencher<'_, '_>) {
    let key = KeyPair::generate(&KeyPairType::Ed25519);
    bencher.bench_local(|| record(&key));
}

#[divan::bench]
fn record_decode(bencher: Bencher<'_, '_>) {
    let record = record(&KeyPair::generate(&KeyPairType::Ed25519));
    bencher.bench_local(|| PeerRecord::decode(black_box(record.as_bytes())));
}

#[divan::bench]
fn record_verify(bencher: Bencher<'_, '_>) {
    let record = record(&KeyPair::generate(&KeyPairType::Ed25519));
    // A record remembers that it is valid.
    let decode = || PeerRecord::decode(record.as_bytes()).expect("it was encoded");
    bencher.with_inputs(decode).bench_local_values(|record| record.verify());
}

/// All messages of both sides. Over tcp each side signs and verifies once; where certificates have proven who is there, it
/// need not.
#[divan::bench(args = [false, true])]
fn both_sides(bencher: Bencher<'_, '_>, certified: bool) {
    let (a, b) = (std::sync::Arc::new(params()), std::sync::Arc::new(params()));
    let channel = |params: &HandshakeParams| match certified {
        true => Channel::Certified(params.key_pair.peer_id()),
        false => Channel::Plain,
    };
    bencher.bench_local(|| {
        let mut dialer = Handshake::dial(a.clone(), channel(&b), None, Purpose::Peer, [1; 32], &[]).expect("valid");
        let mut listener = Handshake::listen(b.clone(), channel(&a), [2; 32]).expect("valid");
        let (mut sides, mut wire) = ([&mut listener, &mut dialer], vec![]);
        wire.extend(sides[1].hello());
        let mut agreed = 0;
        while !wire.is_empty() {
            let mut answers = Vec::new();
            for message in wire {
                match sides[0].on_message(&message).expect("both are honest") {
                    Step::Decide => answers.extend(sides[0].accept().expect("there is a candidate")),
                    _ => agreed += 1,
                }
            }
            wire = answers;
            sides.swap(0, 1);
        }
        assert_eq!(agreed, 2);
    });
}

fn main() {
    divan::main();
}
