//! The sizes and the forms that messages may have.

use ProtocolKind::Optional;

use super::*;

#[test]
fn the_largest_hello_fits() {
    let mut a = params(1, &[]);
    let full = (0..8).fold(PeerRecord::builder(), |builder, n| {
        let endpoint = p2p_net::Endpoint::new(p2p_net::Transport::Quic, std::net::IpAddr::from([n + 1; 16]), 1);
        builder.addr(endpoint.clone()).discovery_addr(endpoint)
    });
    a.record = Some(full.sign(&key(1), u64::MAX).unwrap());
    a.network = "n".repeat(MAX_NETWORK_LEN);
    a.boot_nonce = u64::MAX;
    let long = |pad: usize| format!("1.0.0-{}", "a".repeat(pad));
    a.version = long(Version::MAX_LEN - 6).parse().unwrap();
    for n in 0..MAX_PROTOCOLS {
        let id = format!("{n:0>64}").parse().unwrap();
        a.protocols.insert(id, Offer { version: long(Version::MAX_LEN - 6).parse().unwrap(), kind: Optional });
    }
    let hello = Handshake::dial(a.clone().into(), Channel::Plain, None, Purpose::Peer, [1; 32], &[0; MAX_PAYLOAD_LEN]);
    let hello = hello.unwrap().hello().unwrap();
    let record_len = a.record.as_ref().unwrap().as_bytes().len();
    let largest = hello.len() - record_len + crate::record::MAX_RECORD_LEN;
    assert!(largest < MAX_MESSAGE_LEN, "{largest}");
    let mut b = a.clone();
    b.key_pair = key(2);
    b.record = None;
    let mut listener = Handshake::listen(b.into(), Channel::Plain, [2; 32]).unwrap();
    assert!(matches!(listener.on_message(&hello), Ok(Step::Decide)));

    a.protocols.insert("/one-more".parse().unwrap(), Offer { version: "1.0.0".parse().unwrap(), kind: Optional });
    let over = Handshake::listen(Arc::new(a.clone()), Channel::Plain, [2; 32]);
    assert!(matches!(over, Err(Error::Config { field: "protocols", .. })));
    a.protocols.clear();
    a.network.push('x');
    assert!(matches!(a.validate(), Err(Error::Config { field: "network", .. })));
    a.network.clear();
    a.record = params(2, &[]).record;
    assert!(matches!(a.validate(), Err(Error::Config { field: "record", .. })));
}

#[test]
fn a_hello_beyond_its_bounds_is_refused_whoever_wrote_it() {
    let refused = |params: &HandshakeParams, payload: &[u8], why: &str| {
        let hello = wire::hello(params, Purpose::Peer, [1; 32], payload, crate::Serial::default()).unwrap();
        assert!(hello.len() <= MAX_MESSAGE_LEN, "another bound would hide this one");
        let mut listener = Handshake::listen(self::params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        let error = listener.on_message(&hello).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(&params(1, &[]), &[0; MAX_PAYLOAD_LEN + 1], "payload");
    let mut long = params(1, &[]);
    long.network = "n".repeat(MAX_NETWORK_LEN + 1);
    refused(&long, &[], "name");
    let mut many = params(1, &[]);
    for n in 0..=MAX_PROTOCOLS {
        many.protocols
            .insert(format!("/{n}").parse().unwrap(), Offer { version: "1.0.0".parse().unwrap(), kind: Optional });
    }
    refused(&many, &[], "too many protocols");
    let payload = [0; MAX_PAYLOAD_LEN + 1];
    let own = Handshake::dial(params(1, &[]).into(), Channel::Plain, None, Purpose::Peer, [1; 32], &payload);
    assert!(matches!(own, Err(Error::MessageTooLarge { .. })));
}

#[test]
fn strict_forms() {
    let refused = |message: &[u8]| {
        let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        match listener.on_message(message) {
            Err(HandshakeError::Refused(_)) => {}
            other => panic!("{other:?} for {message:?}"),
        }
    };
    let hello = Pair::new(params(1, &[("/a", "1.0.0", Optional), ("/b", "1.0.0", Optional)]), params(2, &[]), false)
        .dialer
        .hello()
        .unwrap();
    for len in 0..hello.len() {
        refused(&hello[..len]);
    }
    refused(&[&hello[..], &[0]].concat());
    // The purpose 0 in two bytes.
    refused(&[&hello[..2], &[0x80, 0x00], &hello[3..]].concat());
    let at = hello.windows(2).position(|window| window == b"/a").unwrap();
    for id in [b"/c", b"/b"] {
        let mut disordered = hello.to_vec();
        disordered[at..at + 2].copy_from_slice(id);
        refused(&disordered);
    }
    for message in [
        &[][..],
        &[2],
        &[2, 0],
        &[2, 1],
        &[2, 1, 2],
        &[2, 3],
        &[2, 2],
        &wire::accept(Accept::Bare),
        &wire::accept(Accept::Signed([1; 64])),
    ] {
        refused(message);
    }
}

#[test]
fn out_of_turn_is_the_end() {
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), true);
    let hello = pair.dialer.hello().unwrap();
    pair.listener.on_message(&hello).unwrap();
    assert!(pair.listener.on_message(&hello).is_err(), "before the decision");
    assert!(
        pair.listener.accept().is_err() && pair.listener.on_message(&wire::accept(Accept::Bare)).is_err(),
        "it is over"
    );
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), true);
    pair.listener.on_message(&hello).unwrap();
    pair.listener.accept().unwrap();
    assert!(pair.listener.on_message(&hello).is_err(), "a second hello");
}
