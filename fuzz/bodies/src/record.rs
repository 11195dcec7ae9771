//! Signed peer records: what is read keeps to its bounds, is passed on as it came, and is signed by its peer.

use std::net::IpAddr;

use p2p_identity::record::{MAX_ADDRS, MAX_RECORD_LEN};
use p2p_identity::{Bloom, KeyPair, PeerRecord, RecordBuilder};
use p2p_net::{Endpoint, PeerAddr, Transport};

thread_local! {
    static SIGNED: Vec<Vec<u8>> = seeds();
}

pub fn run(data: &[u8]) {
    let Ok(record) = PeerRecord::decode(data) else { return };
    assert_eq!(record.as_bytes(), data);
    assert!(data.len() <= MAX_RECORD_LEN);
    for addrs in [record.addrs(), record.discovery_addrs()] {
        assert!(addrs.len() <= MAX_ADDRS);
        for PeerAddr { endpoint, .. } in addrs {
            assert_eq!(endpoint.peer_id(), Some(record.peer_id()));
            assert!(RecordBuilder::accepts(endpoint) && reachable(endpoint), "{endpoint}");
        }
    }
    assert!(record.addrs().iter().all(|addr| addr.endpoint.transport().is_connection()));
    let passed_on = p2p_identity::encode(&record).expect("a record has an encoding");
    assert_eq!(p2p_identity::decode::<PeerRecord>(&passed_on).ok(), Some(record.clone()));
    // A signature takes as long to check as a hundred records to read.
    if data.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)) % 64 == 0 && record.verify().is_ok() {
        assert!(SIGNED.with(|signed| signed.iter().any(|own| own == data)), "nobody has signed this");
    }
}

/// Whether others can have a route there, in plain terms.
fn reachable(endpoint: &Endpoint) -> bool {
    let host = match endpoint.addr().ip() {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            (1..224).contains(&a) && (a, b) != (169, 254) || (240..=255).contains(&a) && (a & b & c & d) != 255
        }
        Some(IpAddr::V6(ip)) => {
            let mapped = ip.segments()[..6] == [0, 0, 0, 0, 0, 0xffff];
            !ip.is_unspecified() && ip.octets()[0] != 0xff && ip.segments()[0] & 0xffc0 != 0xfe80 && !mapped
        }
        None => false,
    };
    host && endpoint.port() != 0
}

pub fn seeds() -> Vec<Vec<u8>> {
    let at = |transport, ip: IpAddr, port| PeerAddr { endpoint: Endpoint::new(transport, ip, port), priority: 7 };
    let v4 = |n: u8| IpAddr::from([192, 0, 2, n]);
    let v6 = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
    let builders = [
        PeerRecord::builder(),
        PeerRecord::builder().addr(at(Transport::Quic, v4(1), 9000)).items(["/chat/1"].into_iter().collect()),
        PeerRecord::builder().addr(at(Transport::Tcp, v6(1), 1)).discovery_addr(at(Transport::Udp, v4(2), 65535)),
        (0..8).fold(PeerRecord::builder().items(Bloom::from_bytes([0xff; 16])), |builder, n| {
            builder.addr(at(Transport::Tls, v6(n), 443 + n)).discovery_addr(at(Transport::Udp, v6(n), 9))
        }),
    ];
    let key_pair = KeyPair::from_seed([5; 32]);
    let sign = |(n, builder): (usize, RecordBuilder)| builder.sign(&key_pair, 1 << (n * 20)).ok();
    let records = builders.into_iter().enumerate().filter_map(sign);
    let mut seeds: Vec<_> = records.map(|record| record.as_bytes().to_vec()).collect();
    // Nobody has signed that: the same with addresses that are none.
    let odd = [[192, 0, 2, 1, 0, 0], [224, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [169, 254, 9, 9, 1, 1], [255; 6]];
    for [a, b, c, d, port @ ..] in odd {
        let mut forged = seeds[1].clone();
        if let Some(at) = forged.windows(4).position(|window| window == [192, 0, 2, 1]) {
            forged[at - 2..at].copy_from_slice(&port);
            forged[at..at + 4].copy_from_slice(&[a, b, c, d]);
        }
        seeds.push(forged);
    }
    seeds
}
