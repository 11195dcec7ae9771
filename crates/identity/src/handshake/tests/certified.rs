//! The listener's hello is in its certificate.

use ProtocolKind::{Mandatory, Optional};

use rustls::pki_types::CertificateDer;

use super::*;
use crate::tls::certificate_with_hello;

fn certified(n: u8) -> Channel {
    Channel::Certified(key(n).peer_id())
}

/// The certificate of party `n` with this hello.
fn certificate(n: u8, hello: &[u8]) -> [CertificateDer<'static>; 1] {
    [certificate_with_hello(&key(n), hello).into()]
}

/// A dialer that has the hello of `theirs` from a certificate of `with`.
fn dialer(ours: HandshakeParams, theirs: &HandshakeParams, with: u8) -> Handshake {
    let hello = wire::certified_hello(theirs).unwrap();
    Handshake::dial(ours.into(), certified(with), None, Purpose::Peer, [1; 32], &[])
        .and_then(|dialer| dialer.with_certificates(Some(&certificate(with, &hello))))
        .unwrap()
}

fn listener(ours: HandshakeParams, with: u8) -> Handshake {
    Handshake::listen(ours.into(), certified(with), [2; 32]).unwrap().presented()
}

fn refusal(result: Result<Option<Step>, HandshakeError>) -> RejectReason {
    match result {
        Err(HandshakeError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_dialer_says_all_at_once_and_hears_only_an_accept() {
    let offers = &[("/a", "1.0.0", Optional), ("/m", "1.0.0", Mandatory)];
    let (ours, theirs) = (params(1, offers), params(2, &[("/m", "1.0.0", Mandatory)]));
    let (mut a, mut b) = (dialer(ours.clone(), &theirs, 2), listener(theirs, 1));
    assert!(a.hello().is_none() && b.hello().is_none());
    let serial = |number| Serial { number, ended_below: number / 2 };
    a.set_serial(serial(10)).unwrap();
    assert!(matches!(a.on_certificate(), Ok(Some(Step::Decide))));
    assert_eq!(a.candidate().unwrap().protocols.keys().collect::<Vec<_>>(), ["/m"]);
    assert!(!a.has_accepted());
    assert_eq!(a.candidate().unwrap().serial, None, "a certificate says nothing of one connection");
    let said = a.accept().unwrap();
    assert_eq!(said.len(), 2);
    assert!(a.has_accepted());
    assert!(matches!(b.on_message(&said[0]), Ok(Step::Decide)));
    assert_eq!(b.introduction().unwrap(), None, "it has introduced itself");
    assert_eq!(b.candidate().unwrap().serial, Some(serial(10)));
    b.set_serial(serial(1 << 60)).unwrap();
    let answer = b.accept().unwrap();
    assert_eq!(answer, [wire::accept(Accept::Numbered(serial(1 << 60)))]);
    let (Ok(Step::Done(at_b)), Ok(Step::Done(at_a))) = (b.on_message(&said[1]), a.on_message(&answer[0])) else {
        panic!("no agreement");
    };
    assert_eq!((at_a.peer_id, at_b.peer_id), (key(2).peer_id(), key(1).peer_id()));
    assert_eq!((at_a.boot_nonce, at_b.boot_nonce), (2 << 40, 1 << 40));
    assert_eq!((at_a.serial, at_b.serial), (Some(serial(1 << 60)), Some(serial(10))));
    assert!(at_a.proven && at_b.proven && at_a.protocols.keys().eq(at_b.protocols.keys()));
    assert_eq!(at_a.record.unwrap().peer_id(), key(2).peer_id());
}

/// The numbers are in one place: behind a certificate's hello in the accept, else in the hello message.
#[test]
fn an_accept_has_the_form_that_belongs_to_the_connection() {
    let numbered = wire::accept(Accept::Numbered(Serial::default()));
    let (bare, signed) = (wire::accept(Accept::Bare), wire::accept(Accept::Signed([1; 64])));
    let dials = || {
        let mut a = dialer(params(1, &[]), &params(2, &[]), 2);
        a.on_certificate().unwrap();
        a.accept().unwrap();
        a
    };
    let unexpected = |result: Result<Step, _>| matches!(refusal(result.map(Some)), RejectReason::Malformed(_));
    assert!(unexpected(dials().on_message(&bare)));
    assert_eq!(refusal(dials().on_message(&signed).map(Some)), RejectReason::BadSignature);
    for len in 3..numbered.len() {
        assert!(unexpected(dials().on_message(&numbered[..len])), "{len}");
    }
    assert!(unexpected(dials().on_message(&[&numbered[..], &[0]].concat())), "trailing bytes");
    assert!(matches!(dials().on_message(&numbered), Ok(Step::Done(_))));

    // A dialer has numbered the connection with its hello, and so has a listener that sends one.
    for presented in [true, false] {
        let hello = Handshake::dial(params(1, &[]).into(), certified(2), None, Purpose::Peer, [1; 32], &[]);
        let mut b = Handshake::listen(params(2, &[]).into(), certified(1), [2; 32]).unwrap();
        b = if presented { b.presented() } else { b };
        b.on_message(&hello.unwrap().hello().unwrap()).unwrap();
        b.accept().unwrap();
        assert!(unexpected(b.on_message(&numbered)));
    }
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), true);
    pair.listener.on_message(&pair.dialer.hello().unwrap()).unwrap();
    pair.dialer.on_message(&pair.listener.accept().unwrap()[0]).unwrap();
    pair.dialer.accept().unwrap();
    assert!(unexpected(pair.dialer.on_message(&numbered)));
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
    pair.listener.on_message(&pair.dialer.hello().unwrap()).unwrap();
    pair.listener.accept().unwrap();
    assert_eq!(refusal(pair.listener.on_message(&numbered).map(Some)), RejectReason::BadSignature);
}

#[test]
fn a_listener_that_says_hello_again_is_refused_whatever_it_says() {
    let theirs = params(2, &[]);
    let mut a = dialer(params(1, &[]), &theirs, 2);
    a.on_certificate().unwrap();
    a.accept().unwrap();
    // The same, or another, makes no difference: nothing would say which of the two counts.
    for again in [theirs, params(2, &[("/a", "1.0.0", Optional)])] {
        let mut a = dialer(params(1, &[]), &again, 2);
        a.on_certificate().unwrap();
        a.accept().unwrap();
        let hello = wire::hello(&again, Purpose::Peer, [2; 32], &[], Serial::default()).unwrap();
        assert!(matches!(refusal(a.on_message(&hello).map(Some)), RejectReason::Malformed(_)));
        assert!(a.on_message(&wire::accept(Accept::Bare)).is_err(), "it is over");
    }
}

#[test]
fn what_a_certificate_says_is_checked_as_a_hello_is() {
    let check = |ours: HandshakeParams, theirs: &HandshakeParams| refusal(dialer(ours, theirs, 2).on_certificate());
    let plain = |n| params(n, &[]);
    assert_eq!(refusal(dialer(plain(1), &plain(1), 1).on_certificate()), RejectReason::SelfDial);
    let other = HandshakeParams { network: "other".into(), ..plain(2) };
    let expected = RejectReason::NetworkMismatch { ours: "default".into(), theirs: "other".into() };
    assert_eq!(check(plain(1), &other), expected);
    let newer = HandshakeParams { version: "0.2.0".parse().unwrap(), ..plain(2) };
    assert!(matches!(check(plain(1), &newer), RejectReason::VersionIncompatible { .. }));
    let missing = check(params(1, &[("/m", "1.0.0", Mandatory)]), &plain(2));
    assert_eq!(missing, RejectReason::MissingProtocol { protocol: "/m".parse().unwrap(), missing_at: Party::Remote });
    // The record of another than the certificate's.
    assert!(check(plain(1), &plain(3)).to_string().contains("another peer's"));
    let expected = Some(key(3).peer_id());
    let hello = wire::certified_hello(&plain(2)).unwrap();
    let dial = Handshake::dial(plain(1).into(), certified(2), expected, Purpose::Peer, [1; 32], &[]).unwrap();
    let mismatch = RejectReason::IdentityMismatch { expected: key(3).peer_id(), actual: key(2).peer_id() };
    assert_eq!(refusal(dial.with_certificates(Some(&certificate(2, &hello))).unwrap().on_certificate()), mismatch);
    for lookup in [params(2, &[("/m", "2.0.0", Mandatory)]), newer] {
        let hello = wire::certified_hello(&lookup).unwrap();
        let dial = Handshake::dial(plain(1).into(), certified(2), None, Purpose::Lookup, [1; 32], &[]).unwrap();
        assert!(
            matches!(
                dial.with_certificates(Some(&certificate(2, &hello))).unwrap().on_certificate(),
                Ok(Some(Step::Decide))
            ),
            "versions do not matter"
        );
    }

    let forms = |hello: Vec<u8>| {
        let dial = Handshake::dial(plain(1).into(), certified(2), None, Purpose::Peer, [1; 32], &[]).unwrap();
        refusal(dial.with_certificates(Some(&certificate(2, &hello))).unwrap().on_certificate())
    };
    for len in 1..hello.len() {
        assert!(matches!(forms(hello[..len].to_vec()), RejectReason::Malformed(_)), "{len}");
    }
    assert!(matches!(forms([&hello[..], &[0]].concat()), RejectReason::Malformed(_)), "trailing bytes");
    let versions = RejectReason::WireVersion { ours: crate::WIRE_VERSION.into(), theirs: 9 };
    assert_eq!(forms([&[9], &hello[1..]].concat()), versions);
}

#[test]
fn without_a_hello_in_the_certificate_all_is_as_before() {
    let mut a = Handshake::dial(params(1, &[]).into(), certified(2), None, Purpose::Peer, [1; 32], &[]).unwrap();
    assert!(matches!(a.on_certificate(), Ok(None)));
    assert!(a.hello().is_some());
    let mut b = Handshake::listen(params(2, &[]).into(), certified(1), [2; 32]).unwrap();
    b.on_message(&a.hello().unwrap()).unwrap();
    assert!(b.introduction().unwrap().is_some());
    assert_eq!(b.accept().unwrap().len(), 2);
}
