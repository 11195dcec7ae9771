//! Names, records and certificates that nothing of ours would make.

use p2p::endpoint::{Endpoint, Transport};
use p2p::{Error, HandshakeError, RejectReason};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, SerialNumber, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::common::attacker::{Attacker, rand_nonce};
use crate::common::wire::{self, Hello, Key};
use crate::common::{Companion, TRANSPORTS, Target, key, together};
use crate::identity::{certificate_of, fails_in_tls, pkcs8, presenting};

const MALFORMED: u8 = 9;
const TOO_LARGE: u8 = 10;

#[test]
fn a_host_name_of_megabytes_is_no_endpoint() {
    let long = "a".repeat(3 << 20);
    let labels = "abc.".repeat(1 << 20);
    for host in [&long, &labels] {
        for text in [format!("tcp://{host}:1"), format!("quic://{host}@127.0.0.1:1"), format!("{host}://127.0.0.1:1")] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.len() < 1000, "the error does not repeat it all");
        }
    }
    let port = format!("tcp://127.0.0.1:{}", "1".repeat(3 << 20));
    assert!(port.parse::<Endpoint>().is_err());
}

fn is_refused(error: &Error) -> RejectReason {
    match error {
        Error::Handshake(HandshakeError::Refused(reason)) => reason.clone(),
        other => panic!("{other}"),
    }
}

/// Hellos that break a bound or a rule, and how they are told so.
fn hellos(key: &Key) -> Vec<(&'static str, u8, Vec<u8>)> {
    let plain = Hello::new(key.id(), rand_nonce());
    let with = |change: &dyn Fn(&mut Hello)| {
        let mut hello = plain.clone();
        change(&mut hello);
        hello.encode()
    };
    let good = plain.encode();
    // Where the network's length stands: behind wire version, kind, purpose, peer id and nonce.
    let at = 3 + 32 + 32;
    let claiming = |len: u64| [&good[..at], &wire::leb128(len)].concat();
    let protocol = |n: usize| (format!("/p/{n:03}"), "0.1.0".to_string(), 1);
    vec![
        ("a record with 10,000 addresses", TOO_LARGE, with(&|h| h.record = Some(wire::record(key, 10_000)))),
        ("a record with 9 addresses", MALFORMED, with(&|h| h.record = Some(wire::record(key, 9)))),
        ("a record that claims 2^40 addresses", MALFORMED, {
            let body = [&[1][..], &key.id(), &wire::leb128(1), &wire::leb128(1 << 40)].concat();
            with(&|h| h.record = Some([&body[..], &[0; 200]].concat()))
        }),
        ("an empty record", MALFORMED, with(&|h| h.record = Some(Vec::new()))),
        ("a name of 2^62 bytes", MALFORMED, claiming(1 << 62)),
        ("a name of 2^64 - 1 bytes", MALFORMED, claiming(u64::MAX)),
        ("a name of 3 MB", TOO_LARGE, with(&|h| h.network = vec![b'a'; 3 << 20])),
        ("a name of 65 bytes", MALFORMED, with(&|h| h.network = vec![b'a'; 65])),
        ("a name that is no text", MALFORMED, with(&|h| h.network = vec![0xff; 8])),
        ("65 protocols", MALFORMED, with(&|h| h.protocols = (0..65).map(protocol).collect())),
        ("one protocol twice", MALFORMED, with(&|h| h.protocols = vec![protocol(1), protocol(1)])),
        ("protocols out of order", MALFORMED, with(&|h| h.protocols = vec![protocol(2), protocol(1)])),
        ("a protocol without a name", MALFORMED, with(&|h| h.protocols[0].0.clear())),
        ("a protocol of 65 bytes", MALFORMED, with(&|h| h.protocols[0].0 = "x".repeat(65))),
        ("a protocol with a line break", MALFORMED, with(&|h| h.protocols[0].0 = "/a\nb".into())),
        ("a protocol's version of 129 bytes", MALFORMED, with(&|h| h.protocols[0].1 = "1".repeat(129))),
        ("a protocol of a kind there is not", MALFORMED, with(&|h| h.protocols[0].2 = 3)),
        ("a version that is none", MALFORMED, with(&|h| h.version = b"one".to_vec())),
        ("a payload of 1,025 bytes", MALFORMED, with(&|h| h.payload = vec![0; 1025])),
        ("a purpose there is not", MALFORMED, with(&|h| h.purpose = 9)),
        ("more behind it", MALFORMED, [&good[..], &[0]].concat()),
        ("half of it", MALFORMED, good[..good.len() / 2].to_vec()),
        ("nothing", MALFORMED, Vec::new()),
        ("another kind", MALFORMED, [&[wire::VERSION, 3][..], &good[2..]].concat()),
        ("an accept first", MALFORMED, wire::accept(None)),
        ("a short signature", MALFORMED, wire::accept(Some(&[0; 63]))),
        ("another wire version", 1, with(&|h| h.wire_version = 3)),
        ("another network", 0, with(&|h| h.network = b"elsewhere".to_vec())),
        ("a lookup", 18, with(&|h| (h.purpose, h.protocols) = (1, Vec::new()))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_hellos_are_refused_with_a_reason_on_both_sides() {
    let _turn = together().await;
    let mut target = Target::new(|_| ()).await;
    for (t, transport) in TRANSPORTS.into_iter().enumerate() {
        let companion = Companion::beside(&target, transport).await;
        let count = hellos(&key(0)).len() as u32;
        for n in 0..count {
            // A new key each time: some of this leads to a ban.
            let key = key(1000 * t as u32 + n);
            let (what, index, bytes) = hellos(&key).swap_remove(n as usize);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &key).await;
            let control = hostile.open().await;
            // What is too long is refused by its length; the rest need not be sent, and is more than may be.
            let message = wire::message(&bytes);
            hostile.write(control, &message[..message.len().min(16_384)]).await;
            let reject = hostile.message(control).await.unwrap_or_else(|| panic!("{transport} {what}: not told why"));
            assert_eq!(reject[..3], [wire::VERSION, wire::REJECT, index], "{transport} {what}");
            hostile.finish(control).await;
            let (_, error) = target.failure().await;
            let reason = is_refused(&error);
            let named = match index {
                MALFORMED => matches!(reason, RejectReason::Malformed(_)),
                TOO_LARGE => matches!(reason, RejectReason::TooLarge { .. }),
                0 => matches!(reason, RejectReason::NetworkMismatch { .. }),
                1 => matches!(reason, RejectReason::WireVersion { .. }),
                _ => matches!(reason, RejectReason::PurposeUnsupported(_)),
            };
            assert!(named, "{transport} {what}: {reason}");
            assert!(hostile.closed().await.is_some(), "{transport} {what}");
        }
        companion.shutdown().await;
    }
    target.shutdown().await;
}

/// What a node's certificate says, in the words of a general X.509 library.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from(1));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "p2p");
    params.not_before = date_time_ymd(1975, 1, 1);
    params.not_after = date_time_ymd(4096, 1, 1);
    params
}

fn certificate(key: &Key, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let der = PrivatePkcs8KeyDer::from(pkcs8(key));
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).unwrap();
    let mut params = params();
    change(&mut params);
    params.self_signed(&pair).unwrap().der().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_certificates_are_refused() {
    let _turn = together().await;
    let target = Target::new(|_| ()).await;
    let key = key(1);
    assert_eq!(certificate(&key, |_| ()).to_vec(), certificate_of(&key), "the form is the one in the book");
    let extension = |oid: &[u64]| CustomExtension::from_oid_content(oid, vec![5, 0]);
    let odd: Vec<(&str, Vec<CertificateDer<'static>>)> = vec![
        ("an extension", vec![certificate(&key, |p| p.custom_extensions.push(extension(&[1, 2, 3])))]),
        ("a large extension", {
            let large = CustomExtension::from_oid_content(&[1, 2, 3], vec![0; 50_000]);
            vec![certificate(&key, |p| p.custom_extensions.push(large))]
        }),
        ("a name", vec![certificate(&key, |p| p.distinguished_name.push(DnType::CountryName, "XX"))]),
        ("an end that is past", vec![certificate(&key, |p| p.not_after = date_time_ymd(1999, 1, 1))]),
        ("a beginning to come", vec![certificate(&key, |p| p.not_before = date_time_ymd(3000, 1, 1))]),
        ("a serial number", vec![certificate(&key, |p| p.serial_number = Some(SerialNumber::from(2)))]),
        ("an authority", {
            vec![certificate(&key, |p| p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained))]
        }),
        ("another kind of key", {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
            vec![params().self_signed(&pair).unwrap().der().clone()]
        }),
        ("a chain", vec![certificate_of(&key).into(), certificate_of(&Key::new([5; 32])).into()]),
        ("the same twice", vec![certificate_of(&key).into(); 2]),
        ("a long chain", vec![certificate_of(&key).into(); 50]),
        ("none", Vec::new()),
        ("no certificate", vec![vec![0x30, 0x03, 1, 2, 3].into()]),
        ("nothing", vec![Vec::new().into()]),
        ("one cut short", vec![certificate_of(&key)[..203].to_vec().into()]),
        ("one with more behind it", vec![[&certificate_of(&key)[..], &[0]].concat().into()]),
    ];
    for transport in [Transport::Tls, Transport::Quic] {
        let companion = Companion::beside(&target, transport).await;
        for (what, chain) in &odd {
            println!("{transport}: {what}");
            fails_in_tls(&target, transport, presenting(&key, chain.clone())).await;
        }
        companion.shutdown().await;
    }
    target.shutdown().await;
}

/// Somebody who does not speak TLS or QUIC at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_place_of_a_handshake_ends_the_connection() {
    let _turn = together().await;
    let target = Target::new(|_| ()).await;
    for transport in [Transport::Tcp, Transport::Tls] {
        let companion = Companion::beside(&target, transport).await;
        for garbage in [&b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..], &[0; 4096], &[0xff; 4096], b"\x16\x03\x01"]
        {
            let stream =
                crate::common::attacker::tcp_from([127, 0, 0, 1].into(), target.addr(transport)).await.unwrap();
            let mut hostile = Attacker::over(stream);
            hostile.mux().write(garbage).await;
            hostile.mux().write(&[0; 4096]).await;
            hostile.closed().await;
        }
        companion.shutdown().await;
    }
    let companion = Companion::beside(&target, Transport::Quic).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for first in [0x00, 0x40, 0xc0, 0xff] {
        for len in [1, 20, 1200, 1400] {
            socket.send_to(&vec![first; len], target.addr(Transport::Quic)).await.unwrap();
        }
    }
    companion.shutdown().await;
    target.shutdown().await;
}
