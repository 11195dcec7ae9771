//! Pings and pongs: one length, one answer for each question, and a bound on how many are given.
#![allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_identity::KeyPair;
use p2p_kademlia::message::{
    DATAGRAM_LEN, Datagram, DatagramLimiter, DatagramLimits, InvalidDatagram, NONCE_LEN, Ping, Pong,
};
use proptest::prelude::*;

fn asker() -> KeyPair {
    KeyPair::from_seed([1; 32])
}

fn responder() -> KeyPair {
    KeyPair::from_seed([2; 32])
}

fn ping() -> Ping {
    Ping { from: asker().peer_id(), to: responder().peer_id(), nonce: [9; NONCE_LEN], seq: 5 }
}

fn pong() -> Pong {
    ping().answer(&responder(), "net", 6).unwrap()
}

#[test]
fn an_answer_is_as_long_as_its_question() {
    let question = Datagram::Ping(ping()).encode();
    let answer = Datagram::Pong(pong()).encode();
    assert!(answer.len() <= question.len());
    for datagram in [Datagram::Ping(ping()), Datagram::Pong(pong())] {
        assert_eq!(Datagram::decode(&datagram.encode()), Ok(datagram));
    }
    // Nothing shorter is understood, and so nothing shorter is answered.
    for len in (0..200).filter(|len| *len != DATAGRAM_LEN) {
        let mut bytes = question.to_vec();
        bytes.resize(len, 0);
        assert_eq!(Datagram::decode(&bytes), Err(InvalidDatagram::Length(len)));
    }
}

/// The bytes of the chapter on the wire format.
#[test]
fn the_bytes_are_those_written_down() {
    assert_eq!(DATAGRAM_LEN, 90);
    let (a, b) = (asker().peer_id(), responder().peer_id());
    let nonce = [9; 16];
    let seq = |seq| [0, 0, 0, 0, 0, 0, 0, seq];
    let written = [&[1, 0][..], a.as_bytes(), b.as_bytes(), &nonce, &seq(5)].concat();
    assert_eq!(Datagram::Ping(ping()).encode()[..], written);
    let domain = p2p_identity::Domain::new("p2p/1 dht pong");
    let signature = responder().sign_for(domain, &[a.as_bytes(), b.as_bytes(), &nonce, &seq(6), b"net"]);
    assert_eq!(Datagram::Pong(pong()).encode()[..], [&[1, 1][..], &nonce, &seq(6), &signature].concat());
}

#[test]
fn a_pong_answers_one_ping_only() {
    assert!(pong().answers(&ping(), "net"));
    assert!(!pong().answers(&ping(), "other"), "of another network");
    let other = KeyPair::from_seed([3; 32]).peer_id();
    for (what, ping) in [
        ("another's", Ping { from: other, ..ping() }),
        ("to another", Ping { to: other, ..ping() }),
        ("of another time", Ping { nonce: [8; NONCE_LEN], ..ping() }),
    ] {
        assert!(!pong().answers(&ping, "net"), "{what}");
    }
    assert!(!Pong { seq: 7, ..pong() }.answers(&ping(), "net"), "with a record that it has not");
    assert!(pong().answers(&Ping { seq: 1, ..ping() }, "net"), "what the asker said of itself is not in it");
    assert_eq!(Ping { to: other, ..ping() }.answer(&responder(), "net", 6), None, "nobody answers for another");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_datagram_or_an_error(bytes in prop::collection::vec(any::<u8>(), DATAGRAM_LEN), kind in 0u8..3) {
        let with_head = [&[1, kind], &bytes[2..]].concat();
        for bytes in [bytes, with_head] {
            if let Ok(datagram) = Datagram::decode(&bytes) {
                prop_assert_eq!(&datagram.encode()[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn a_changed_pong_answers_nothing(at in 0..DATAGRAM_LEN, change in 1u8..) {
        let mut bytes = Datagram::Pong(pong()).encode();
        bytes[at] ^= change;
        match Datagram::decode(&bytes) {
            Ok(Datagram::Pong(pong)) => prop_assert!(!pong.answers(&ping(), "net")),
            Ok(Datagram::Ping(_)) | Err(_) => prop_assert!(at < 2, "only the head says what it is"),
        }
    }

    /// Whoever sends what: no source and no crowd of strangers gets more than its rate, and memory is bounded.
    #[test]
    fn rates_hold(steps in prop::collection::vec((0u8..6, 0u8..3, any::<bool>(), 0u64..400), 1..300)) {
        let limits = DatagramLimits { source_burst: 3, source_per_second: 2, strangers_burst: 5, strangers_per_second: 4, sources: 4 };
        let start = Instant::now();
        let mut limiter = DatagramLimiter::new(limits, start);
        let (mut now, mut strangers) = (start, 0.0);
        for (prefix, host, known, wait) in steps {
            now += Duration::from_millis(wait);
            let source = SocketAddr::new(IpAddr::from([8, 8, prefix, host]), 1000 + u16::from(host));
            let admitted = limiter.admit(now, source, known);
            strangers += f64::from(u8::from(admitted && !known));
            prop_assert!(strangers <= 5.0 + 4.0 * (now - start).as_secs_f64() + 1e-6);
            prop_assert!(limiter.sources() <= 4);
        }
    }
}

fn count(limiter: &mut DatagramLimiter, now: Instant, source: &str, known: bool, tries: usize) -> usize {
    (0..tries).filter(|_| limiter.admit(now, source.parse().unwrap(), known)).count()
}

#[test]
fn a_source_gets_its_rate_from_all_its_addresses_together() {
    let now = Instant::now();
    let limits = DatagramLimits::default();
    let mut limiter = DatagramLimiter::new(limits, now);
    let burst = limits.source_burst as usize;
    assert_eq!(count(&mut limiter, now, "8.8.8.1:1", true, 1000), burst);
    assert_eq!(count(&mut limiter, now, "8.8.8.2:2", true, 1000), 0, "of the same /24");
    assert_eq!(count(&mut limiter, now, "[::ffff:8.8.8.3]:2", true, 1000), 0, "the same in IPv6 form");
    assert_eq!(count(&mut limiter, now, "8.8.9.1:1", true, 1000), burst);
    let later = now + Duration::from_secs(1);
    assert_eq!(count(&mut limiter, later, "8.8.8.1:1", true, 1000), limits.source_per_second as usize);
    // What one source has no right to, it does not take from the strangers either.
    assert_eq!(count(&mut limiter, now, "7.7.7.7:1", false, 10_000), burst);
    let others = (0..=255).filter(|n| limiter.admit(now, SocketAddr::new(IpAddr::from([6, 6, *n, 1]), 1), false));
    assert_eq!(others.count(), 256);
    for local in ["127.0.0.1:1", "127.0.0.1:2", "10.0.0.1:1"] {
        assert_eq!(count(&mut limiter, now, local, true, 1000), burst, "{local} is a source of its own");
    }
}

#[test]
fn a_flood_from_made_up_addresses_takes_nothing_from_those_we_know() {
    let now = Instant::now();
    let flood = |limiter: &mut DatagramLimiter, known| {
        let source = |n: u32| SocketAddr::new(IpAddr::from((0x0800_0000 + (n << 8)).to_be_bytes()), 7);
        (0..100_000).filter(|n| limiter.admit(now, source(*n), known)).count()
    };
    let limits = DatagramLimits::default();
    let mut limiter = DatagramLimiter::new(limits, now);
    assert_eq!(flood(&mut limiter, false), limits.strangers_burst as usize, "so much and no more is signed");
    assert_eq!(limiter.sources(), limits.sources);
    assert_eq!(count(&mut limiter, now, "9.9.9.9:1", false, 1), 0, "a stranger has to wait");
    assert_eq!(count(&mut limiter, now, "9.9.9.9:1", true, 1), 1, "a contact has not");
    // Without a bucket for strangers, the flood would be answered.
    let unlimited = DatagramLimits { strangers_burst: u32::MAX, ..limits };
    assert_eq!(flood(&mut DatagramLimiter::new(unlimited, now), false), 100_000);
}
