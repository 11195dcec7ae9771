//! What a node of the DHT keeps on disk: any bytes are read, what was read is written and read as the same, and only what
//! its peer has signed is used.

use std::net::IpAddr;

use p2p_identity::record::MAX_RECORD_LEN;
use p2p_identity::{KeyPair, PeerRecord, RecordBuilder};
use p2p_kademlia::engine::{Engine, MAX_REMEMBERED, Peer};
use p2p_kademlia::fuzzing::{Contacts, read_seq, rewrite_contacts, write_contacts, write_seq};
use p2p_kademlia::{Contact, KademliaConfig};
use p2p_net::Endpoint;

/// Bytes before the first contact, and of each beside its record.
const HEADER: usize = "p2p dht contacts 1\n".len();
const HEAD: usize = 18;

thread_local! {
    static SIGNED: Vec<(PeerRecord, IpAddr)> = signed();
    static KEY_PAIR: KeyPair = KeyPair::from_seed([77; 32]);
}

pub fn run(data: &[u8]) {
    if let &[0, more] = data {
        return check_many(MAX_REMEMBERED - 1 + usize::from(more) % 4);
    }
    if let Some(seq) = read_seq(data) {
        let written = write_seq(seq);
        assert!(written.len() <= data.len(), "the shortest form is written");
        assert_eq!(read_seq(written.as_bytes()), Some(seq));
    }
    let read @ Contacts { contacts, whole, written } = &rewrite_contacts(data);
    check_bounds(contacts, written);
    if *whole {
        assert_eq!(data, written);
    }
    let kept: Vec<&[u8]> = contacts.iter().map(|(record, _)| &record.as_bytes()[..]).collect();
    assert!(written.len() == HEADER + kept.iter().map(|record| HEAD + record.len()).sum::<usize>());
    assert!(is_within(data, &kept), "records that are not in the file, or in another order");
    let again = rewrite_contacts(written);
    assert!(again.whole && again.contacts == read.contacts && again.written == *written);
    // A signature takes as long to check as a hundred records to read.
    if data.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)).is_multiple_of(64) {
        check_remembered(contacts);
    }
}

fn check_bounds(contacts: &[(PeerRecord, IpAddr)], written: &[u8]) {
    assert!(contacts.len() <= MAX_REMEMBERED);
    assert!(written.len() <= HEADER + MAX_REMEMBERED * (HEAD + MAX_RECORD_LEN));
    assert!(contacts.iter().all(|(_, ip)| *ip == ip.to_canonical()));
}

/// Whether the records are in the file, one behind the other.
fn is_within(mut file: &[u8], records: &[&[u8]]) -> bool {
    records.iter().all(|record| {
        let at = file.windows(record.len()).position(|window| window == *record);
        at.is_some_and(|at| {
            file = &file[at + record.len()..];
            true
        })
    })
}

/// Only what is signed is remembered, if it has an address that can be asked; and nobody is in the table for it.
fn check_remembered(contacts: &[(PeerRecord, IpAddr)]) {
    let config = KademliaConfig::default();
    let mut engine = KEY_PAIR.with(|key_pair| Engine::new(key_pair, &config, 1, crate::input::start(), Box::new(|| 1)));
    let is_ours = |record: &PeerRecord| SIGNED.with(|signed| signed.iter().any(|(own, _)| own == record));
    let peers = contacts.iter().filter(|(record, _)| is_ours(record) && record.peer_id() != engine.peer_id());
    let peers = peers.filter_map(|(record, ip)| Peer::new(&config.network, record.clone(), *ip));
    let expected = peers.inspect(|peer| assert!(peer.ip().is_some())).count();
    assert_eq!(engine.remember(contacts.iter().cloned()), expected);
    assert!(engine.table().is_empty() && engine.contacts().is_empty());
}

/// A file with more than are kept, which no input would be long enough for.
fn check_many(count: usize) {
    let one = SIGNED.with(|signed| signed[0].clone());
    let kept = write_contacts(&vec![one.clone(); count]);
    assert_eq!(kept.len(), HEADER + count.min(MAX_REMEMBERED) * (HEAD + one.0.as_bytes().len()));
    let single = write_contacts(std::slice::from_ref(&one));
    let Contacts { contacts, written, .. } =
        rewrite_contacts(&[&single[..HEADER], &single[HEADER..].repeat(count)].concat());
    check_bounds(&contacts, &written);
    assert_eq!((contacts.len(), written), (count.min(MAX_REMEMBERED), kept));
}

fn signed() -> Vec<(PeerRecord, IpAddr)> {
    let endpoint = |text: &str| text.parse::<Endpoint>().expect("an endpoint");
    let builders: [(RecordBuilder, u8, [u8; 4]); 4] = [
        (PeerRecord::builder().discovery_addr(endpoint("quic://9.9.9.1:1")), 1, [9, 9, 9, 1]),
        (PeerRecord::builder().discovery_addr(endpoint("tls://10.0.0.2:1")), 2, [10, 0, 0, 9]),
        (PeerRecord::builder(), 3, [9, 9, 9, 3]),
        (PeerRecord::builder().discovery_addr(endpoint("tcp://9.9.9.4:1")), 77, [9, 9, 9, 4]),
    ];
    let sign = |(builder, n, ip): (RecordBuilder, u8, [u8; 4])| {
        (builder.sign(&KeyPair::from_seed([n; 32]), 1).expect("a record within its bounds"), IpAddr::from(ip))
    };
    builders.map(sign).into()
}

pub fn seeds() -> Vec<Vec<u8>> {
    let contacts = signed();
    let own = write_contacts(&contacts[3..]);
    let all = write_contacts(&contacts[..3]);
    let mut forged = all.clone();
    forged[HEADER + HEAD + 50] ^= 1;
    let elsewhere: Vec<(PeerRecord, IpAddr)> =
        contacts[..2].iter().map(|(record, _)| (record.clone(), IpAddr::from([0x2600, 0, 0, 0, 0, 0, 0, 1]))).collect();
    let mut seeds = vec![all[..HEADER].to_vec(), all[..200].to_vec(), own, all, forged, write_contacts(&elsewhere)];
    seeds.extend([0, 7, u64::MAX].map(|seq| write_seq(seq).into_bytes()));
    seeds.extend([write_seq(12).replace("12", "+012").into_bytes(), write_seq(1).replace('1', "-1").into_bytes()]);
    seeds.extend((0..4).map(|more| vec![0, more]));
    // The check of signatures is for one in 64.
    let sum = |seed: &[u8]| seed.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)) % 64;
    let sampled = seeds[..6].to_vec();
    let pad = |mut seed: Vec<u8>| {
        let missing = 64 - sum(&seed);
        seed.push(missing);
        seed
    };
    seeds.extend(sampled.into_iter().map(pad));
    seeds
}
