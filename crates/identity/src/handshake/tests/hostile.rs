//! Whoever records, mirrors, forges or borrows proves nothing.

use super::*;

#[test]
fn a_recorded_handshake_is_worth_nothing_later() {
    let mut recorded = Vec::new();
    let (a, b, _) = Pair::new(params(1, &[]), params(2, &[]), false).run_with(|_, message| {
        recorded.push(message.clone());
        message
    });
    assert!(a.is_ok() && b.is_ok());
    // hello, hello, accept, accept: the dialer's are 0 and 3.
    let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [7; 32]).unwrap();
    listener.on_message(&recorded[0]).unwrap();
    listener.accept().unwrap();
    assert_eq!(listener.on_message(&recorded[3]).unwrap_err(), RejectReason::BadSignature.into());
    // The listener's are 1 and 2.
    let mut dialer =
        Handshake::dial(params(1, &[]).into(), Channel::Plain, None, Purpose::Peer, [8; 32], b"query").unwrap();
    dialer.on_message(&recorded[1]).unwrap();
    dialer.accept().unwrap();
    assert_eq!(dialer.on_message(&recorded[2]).unwrap_err(), RejectReason::BadSignature.into());
}

#[test]
fn a_mirror_is_not_a_peer() {
    // Our own hello comes back: our own name.
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
    let hello = pair.dialer.hello().unwrap();
    assert_eq!(pair.dialer.on_message(&hello).unwrap_err(), RejectReason::SelfDial.into());
    // Somebody takes our nonce for their own.
    let mut dialer = Handshake::dial(params(1, &[]).into(), Channel::Plain, None, Purpose::Peer, [2; 32], &[]).unwrap();
    let theirs = Handshake::dial(params(2, &[]).into(), Channel::Plain, None, Purpose::Peer, [2; 32], &[]).unwrap();
    assert!(matches!(
        dialer.on_message(&theirs.hello().unwrap()).unwrap_err(),
        HandshakeError::Refused(RejectReason::Malformed(_))
    ));
    // A listener's signature sent back to it as the dialer's.
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
    pair.listener.on_message(&pair.dialer.hello().unwrap()).unwrap();
    let answers = pair.listener.accept().unwrap();
    assert_eq!(pair.listener.on_message(&answers[1]).unwrap_err(), RejectReason::BadSignature.into());
}

/// An attacker who claims the name of another and gets its answers from an application of that other, which signs
/// whatever it is sent.
#[test]
fn an_application_is_no_oracle() {
    let victim = key(1);
    let attacker = Handshake::dial(params(1, &[]).into(), Channel::Plain, None, Purpose::Peer, [3; 32], &[]).unwrap();
    let hello = attacker.hello().unwrap();
    let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
    listener.on_message(&hello).unwrap();
    let answers = listener.accept().unwrap();
    let mut transcript = ring::digest::Context::new(&ring::digest::SHA256);
    transcript.update(&(hello.len() as u64).to_be_bytes());
    transcript.update(&hello);
    transcript.update(&answers[0]);
    let hash = transcript.finish();
    let honest = [b"p2p/1 handshake\0\0", hash.as_ref()].concat();
    for signed in [victim.sign(&honest), victim.sign(hash.as_ref()), victim.sign(&honest[16..])] {
        let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        listener.on_message(&hello).unwrap();
        listener.accept().unwrap();
        assert_eq!(
            listener.on_message(&wire::accept(Accept::Signed(signed))).unwrap_err(),
            RejectReason::BadSignature.into()
        );
    }
    // Nor is the victim's own signature in the other role.
    let as_listener = [b"p2p/1 handshake\0\x01", hash.as_ref()].concat();
    let mut again = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
    again.on_message(&hello).unwrap();
    again.accept().unwrap();
    let wrong_role = wire::accept(Accept::Signed(victim.sign_raw(&as_listener)));
    assert_eq!(again.on_message(&wrong_role).unwrap_err(), RejectReason::BadSignature.into());
    // With the domain's own signature it would have worked: the test signs the right bytes.
    listener.on_message(&wire::accept(Accept::Signed(victim.sign_raw(&honest)))).unwrap();
}

#[test]
fn proof_and_channel_must_fit() {
    for certified in [false, true] {
        let wrong = wire::accept(if certified { Accept::Signed([0; 64]) } else { Accept::Bare });
        let (a, ..) = Pair::new(params(1, &[]), params(2, &[]), certified).run_with(|n, message| match n {
            2 => wrong.clone(),
            _ => message,
        });
        assert_eq!(a, Err(RejectReason::BadSignature.into()));
    }
}

#[test]
fn nobodys_keys_and_others_records_are_refused() {
    let hello = Pair::new(params(1, &[]), params(2, &[]), false).dialer.hello().unwrap();
    let at = hello.windows(32).position(|window| window == key(1).public().as_bytes()).unwrap();
    for (nobody, why) in [
        ([0; 32], "small order"),
        ([0xff; 32], "canonical"),
        (
            {
                let mut one = [0; 32];
                one[0] = 1;
                one
            },
            "small order",
        ),
    ] {
        let mut forged = hello.to_vec();
        forged[at..at + 32].copy_from_slice(&nobody);
        let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        match listener.on_message(&forged).unwrap_err() {
            HandshakeError::Refused(RejectReason::Malformed(what)) => assert!(what.contains(why), "{what}"),
            other => panic!("{other:?}"),
        }
    }
    let mut forged = hello.to_vec();
    forged[at..at + 32].copy_from_slice(key(3).public().as_bytes());
    let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
    let error = listener.on_message(&forged).unwrap_err();
    assert!(error.to_string().contains("another peer's"), "{error}");
}
