//! Peers that claim to be somebody else, with whatever they can get hold of.

use std::sync::Arc;

use p2p::endpoint::Transport;
use p2p::keypair::KeyPair;
use p2p::{Error, HandshakeError, PeerId, RejectReason, close_code};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::attacker::{Attacker, Closed, LOCALHOST, Trap, identity, ordinary_transport, rand_nonce};
use crate::common::wire::{self, Hello, Key};
use crate::common::{Companion, Honest, TRANSPORTS, Target, in_time, key, peer_id, together};

const FALSE_IDENTITY: u8 = 6;
const SELF_DIAL: u8 = 8;
const MALFORMED: u8 = 9;

/// How a false proof is refused: it comes after an accept, behind which no message of the handshake may follow, and so the
/// close says why.
fn told_of_bad_signature() -> Closed {
    Some((close_code::HANDSHAKE.into(), RejectReason::BadSignature.to_string()))
}

fn refused(error: &Error) -> &RejectReason {
    match error {
        Error::Handshake(HandshakeError::Refused(reason)) => reason,
        other => panic!("not refused: {other}"),
    }
}

/// The owner of an identity under attack connects, under the identity that others claimed.
async fn owner_connects(target: &Target, transport: Transport, victim: &Key) {
    let node = Honest::node_of(&KeyPair::from_seed(victim.seed)).await;
    assert_eq!(node.peer_id(), peer_id(victim.id()));
    let honest = Honest::connect_as(node, target, transport).await;
    honest.exchange(3).await;
    honest.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tcp_a_claim_without_the_key_is_refused_and_not_held_against_the_owner() {
    let _turn = together().await;
    let mut target = Target::new(|config| config.limits.exempt_private = true).await;
    let companion = Companion::beside(&target, Transport::Tcp).await;
    let (victim, thief) = (Key::new([11; 32]), key(1));
    // Often enough for a ban, if it counted.
    for n in 0..6 {
        let mut hostile = Attacker::dial(Transport::Tcp, target.addr(Transport::Tcp), &thief).await;
        let hello = Hello::new(victim.id(), rand_nonce());
        let (control, answer) = hostile.hello(&hello).await.unwrap();
        assert_eq!(hostile.message(control).await.unwrap()[1], wire::ACCEPT);
        let transcript = wire::transcript(&hello.encode(), &answer);
        let forged = match n % 3 {
            0 => thief.sign("p2p/1 handshake", &[&[0], &transcript]),
            1 => vec![0; 64],
            // In the role of the listener.
            _ => victim.sign("p2p/1 handshake", &[&[1], &transcript]),
        };
        hostile.send(control, &wire::accept(Some(&forged))).await;
        assert_eq!(hostile.closed().await, told_of_bad_signature());
        let (who, error) = target.failure().await;
        assert_eq!(refused(&error), &RejectReason::BadSignature);
        assert_eq!(who, None, "nobody has proven to be the victim");
    }
    // No signature at all.
    let mut hostile = Attacker::dial(Transport::Tcp, target.addr(Transport::Tcp), &thief).await;
    let (control, _) = hostile.hello(&Hello::new(victim.id(), rand_nonce())).await.unwrap();
    hostile.send(control, &wire::accept(None)).await;
    assert_eq!(refused(&target.failure().await.1), &RejectReason::BadSignature);
    // One who stops before the proof is in nobody's way.
    let mut waiting = Attacker::dial(Transport::Tcp, target.addr(Transport::Tcp), &thief).await;
    waiting.hello(&Hello::new(victim.id(), rand_nonce())).await.unwrap();
    for transport in TRANSPORTS {
        owner_connects(&target, transport, &victim).await;
    }
    companion.shutdown().await;
    target.shutdown().await;
}

/// While its owner is connected, claiming an identity does not disturb it, and does not learn anything but that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tcp_a_claim_does_not_disturb_the_connected_owner() {
    let _turn = together().await;
    let target = Target::new(|_| ()).await;
    let victim = Key::new([12; 32]);
    let owner =
        Honest::connect_as(Honest::node_of(&KeyPair::from_seed(victim.seed)).await, &target, Transport::Tcp).await;
    let mut waiting = Vec::new();
    for n in 0..50 {
        // Also with another boot nonce, as if the owner had restarted.
        let mut hello = Hello::new(victim.id(), rand_nonce());
        hello.boot_nonce = n;
        let mut hostile = Attacker::dial(Transport::Tcp, target.addr(Transport::Tcp), &key(1)).await;
        let _ = hostile.hello(&hello).await;
        waiting.push(hostile);
    }
    owner.exchange(20).await;
    let info = target.node.peer(&peer_id(victim.id())).unwrap();
    // Real time: it is not in the future.
    assert!(info.connected_at.elapsed().is_ok());
    assert_eq!(target.node.peers(), 1);
    owner.shutdown().await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_and_quic_a_claim_must_be_the_certificates_key() {
    let _turn = together().await;
    for transport in [Transport::Tls, Transport::Quic] {
        let mut target = Target::new(|_| ()).await;
        let companion = Companion::beside(&target, transport).await;
        let (victim, thief) = (Key::new([13; 32]), key(1));
        let mut hostile = Attacker::dial(transport, target.addr(transport), &thief).await;
        let reject = hostile.hello(&Hello::new(victim.id(), rand_nonce())).await.unwrap_err();
        assert_eq!(reject[..3], [wire::VERSION, wire::REJECT, FALSE_IDENTITY], "{transport}");
        let (who, error) = target.failure().await;
        assert_eq!(who, Some(peer_id(thief.id())), "the one who lied, which is proven");
        let (claimed, proven) = (peer_id(victim.id()), peer_id(thief.id()));
        assert_eq!(refused(&error), &RejectReason::FalseIdentity { claimed, proven });
        assert!(hostile.closed().await.is_some());
        // Neither does a signature make it better.
        let mut hostile = Attacker::dial(transport, target.addr(transport), &key(2)).await;
        let hello = Hello::new(key(2).id(), rand_nonce());
        let (control, answer) = hostile.hello(&hello).await.unwrap();
        let transcript = wire::transcript(&hello.encode(), &answer);
        let signature = key(2).sign("p2p/1 handshake", &[&[0], &transcript]);
        hostile.send(control, &wire::accept(Some(&signature))).await;
        target.failure().await;
        owner_connects(&target, transport, &victim).await;
        // Two such lies are a ban, and of the liar only.
        let mut hostile = Attacker::dial(transport, target.addr(transport), &thief).await;
        assert!(hostile.hello(&Hello::new(victim.id(), rand_nonce())).await.is_err());
        target.failure().await;
        let mut hostile = Attacker::dial(transport, target.addr(transport), &thief).await;
        assert_eq!(
            hostile.join(&thief).await.unwrap_err()[..3],
            [wire::VERSION, wire::REJECT, 11],
            "{transport}: banned"
        );
        owner_connects(&target, transport, &victim).await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// The victim's certificate is no secret: whoever was connected with it has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_without_its_key_is_of_no_use() {
    let _turn = together().await;
    let target = Target::new(|_| ()).await;
    let (victim, thief) = (Key::new([14; 32]), key(1));
    for transport in [Transport::Tls, Transport::Quic] {
        let certificate = certificate_of(&victim);
        let config = presenting(&thief, vec![certificate.into()]);
        fails_in_tls(&target, transport, config).await;
        owner_connects(&target, transport, &victim).await;
    }
    target.shutdown().await;
}

/// A node's certificate, as the book has it.
pub(crate) fn certificate_of(key: &Key) -> Vec<u8> {
    certificate_with(key.id(), key)
}

fn certificate_with(public: [u8; 32], key: &Key) -> Vec<u8> {
    let mut tbs = hex("307da003020102020101300506032b6570300e310c300a06035504030c037032703020170d");
    tbs.extend(b"750101000000Z\x18\x0f40960101000000Z");
    tbs.extend(hex("300e310c300a06035504030c03703270302a300506032b6570032100"));
    tbs.extend(public);
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&key.seed).unwrap();
    let signature = pair.sign(&tbs);
    [hex("3081c9"), tbs, hex("300506032b6570034100"), signature.as_ref().to_vec()].concat()
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A client that presents `chain` and signs with `key`.
pub(crate) fn presenting(key: &Key, chain: Vec<CertificateDer<'static>>) -> Arc<rustls::ClientConfig> {
    let der = PrivatePkcs8KeyDer::from(pkcs8(key));
    let signing = rustls::crypto::ring::sign::any_eddsa_type(&der).unwrap();
    let mut config = (**identity(key).client_config()).clone();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, signing)));
    Arc::new(config)
}

/// The seed as RFC 8410 writes it.
pub(crate) fn pkcs8(key: &Key) -> Vec<u8> {
    [hex("302e020100300506032b657004220420"), key.seed.to_vec()].concat()
}

/// The target ends the transport's handshake: nothing comes of the connection.
pub(crate) async fn fails_in_tls(target: &Target, transport: Transport, config: Arc<rustls::ClientConfig>) {
    let mut monitor = target.node.monitor().register::<p2p::ConnectionEvent>();
    // A client is done one flight before the listener has seen its certificate.
    if let Ok(mut hostile) = Attacker::try_dial(transport, LOCALHOST, target.addr(transport), config).await {
        assert!(hostile.hello(&Hello::new([0; 32], 1)).await.is_err(), "{transport}");
        hostile.closed().await;
    }
    in_time("AcceptFailed", async {
        loop {
            let event = monitor.recv().await.unwrap();
            if let p2p::ConnectionEventKind::AcceptFailed { error } = event.kind {
                println!("{transport}: {error}");
                break;
            }
        }
    })
    .await;
}

/// The certificates made here by hand are good ones, apart from what a test changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_certificate_made_by_hand_is_accepted() {
    let _turn = together().await;
    let target = Target::new(|_| ()).await;
    for transport in [Transport::Tls, Transport::Quic] {
        let config = presenting(&key(3), vec![certificate_of(&key(3)).into()]);
        let mut peer = Attacker::try_dial(transport, LOCALHOST, target.addr(transport), config).await.unwrap();
        let (_, echo) = peer.join(&key(3)).await.unwrap();
        peer.send(echo, b"hi").await;
        assert_eq!(peer.message(echo).await.unwrap(), b"hi");
        peer.close(0, "").await;
    }
    target.shutdown().await;
}

/// Points for which a signature can be made that holds for any or many messages, and second spellings of good ones.
fn bad_points() -> Vec<[u8; 32]> {
    let small = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    small.iter().map(|text| hex(text).try_into().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_and_second_spellings_of_keys_are_refused_on_every_transport() {
    let _turn = together().await;
    let mut target = Target::new(|_| ()).await;
    let companion = Companion::beside(&target, Transport::Tls).await;
    for (n, point) in bad_points().into_iter().enumerate() {
        assert!(PeerId::from_bytes(point).is_err(), "{point:x?}");
        let mut hostile = Attacker::dial(Transport::Tcp, target.addr(Transport::Tcp), &key(1)).await;
        let reject = hostile.hello(&Hello::new(point, rand_nonce())).await.unwrap_err();
        assert_eq!(reject[..3], [wire::VERSION, wire::REJECT, MALFORMED], "{point:x?}");
        assert!(matches!(refused(&target.failure().await.1), RejectReason::Malformed(_)));
        hostile.closed().await;
        for transport in [Transport::Tls, Transport::Quic] {
            // In the hello only, from somebody new each time.
            let id = key(100 + n as u32);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
            let reject = hostile.hello(&Hello::new(point, rand_nonce())).await.unwrap_err();
            assert_eq!(reject[..3], [wire::VERSION, wire::REJECT, MALFORMED], "{transport} {point:x?}");
            // In the certificate.
            let config = presenting(&id, vec![certificate_with(point, &id).into()]);
            fails_in_tls(&target, transport, config).await;
        }
    }
    companion.shutdown().await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_record_is_refused() {
    let _turn = together().await;
    let mut target = Target::new(|_| ()).await;
    let victim = Key::new([15; 32]);
    for transport in TRANSPORTS {
        let companion = Companion::beside(&target, transport).await;
        let mut hello = Hello::new(key(1).id(), rand_nonce());
        hello.record = Some(wire::record(&victim, 1));
        let mut hostile = Attacker::dial(transport, target.addr(transport), &key(1)).await;
        let reject = hostile.hello(&hello).await.unwrap_err();
        assert_eq!(reject[..3], [wire::VERSION, wire::REJECT, MALFORMED], "{transport}");
        assert!(refused(&target.failure().await.1).to_string().contains("record"), "{transport}");
        hostile.closed().await;
        // With its own it is welcome.
        hello.record = Some(wire::record(&key(2), 1));
        hello.peer_id = key(2).id();
        let mut peer = Attacker::dial(transport, target.addr(transport), &key(2)).await;
        peer.join_with(&key(2), &hello).await.unwrap();
        target.added(peer_id(key(2).id())).await;
        peer.close(0, "").await;
        target.removed(peer_id(key(2).id())).await;
        owner_connects(&target, transport, &victim).await;
        companion.shutdown().await;
    }
    target.shutdown().await;
}

/// Writes down what the dialer says, between it and the listener.
async fn recorded(from: TcpListener, to: std::net::SocketAddr) -> Vec<u8> {
    let (mut dialer, _) = from.accept().await.unwrap();
    let mut listener = TcpStream::connect(to).await.unwrap();
    let (mut from_dialer, mut to_dialer) = dialer.split();
    let (mut from_listener, mut to_listener) = listener.split();
    let there = async {
        let mut said = Vec::new();
        let mut buf = [0; 4096];
        while let Ok(len @ 1..) = from_dialer.read(&mut buf).await {
            said.extend(&buf[..len]);
            to_listener.write_all(&buf[..len]).await.unwrap();
        }
        let _ = to_listener.shutdown().await;
        said
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_listener, &mut to_dialer).await;
        let _ = to_dialer.shutdown().await;
    };
    tokio::join!(there, back).0
}

/// Over tcp everything can be overheard, and said once more. (TLS is made against it, and nothing is resumed.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_handshake_is_worth_nothing() {
    let _turn = together().await;
    let mut target = Target::new(|_| ()).await;
    let companion = Companion::beside(&target, Transport::Tcp).await;
    let victim = Key::new([16; 32]);
    let tap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = format!("tcp://{}", tap.local_addr().unwrap()).parse().unwrap();
    let recording = tokio::spawn(recorded(tap, target.addr(Transport::Tcp)));
    let node = Honest::node_of(&KeyPair::from_seed(victim.seed)).await;
    in_time("connect", node.connect(&through)).await.unwrap();
    target.added(node.peer_id()).await;
    in_time("shutdown", node.shutdown()).await;
    target.removed(node.peer_id()).await;
    let said = in_time("the recording", recording).await.unwrap();
    // Up to the second piece of data, which is the proof: the first is the hello. Then all that was said.
    let (mut proof, mut pieces) = (0, 0);
    while pieces < 2 {
        pieces += usize::from(said[proof] == wire::DATA);
        proof += 8 + usize::from(u16::from_be_bytes([said[proof + 2], said[proof + 3]]));
    }
    for part in [proof, said.len()] {
        let mut hostile = Attacker::dial(Transport::Tcp, target.addr(Transport::Tcp), &key(1)).await;
        hostile.mux().replay(&said[..part]).await;
        hostile.closed().await;
        let (who, error) = target.failure().await;
        assert_eq!(who, None);
        if part == proof {
            assert_eq!(refused(&error), &RejectReason::BadSignature);
        }
    }
    assert!(target.node.peer(&peer_id(victim.id())).is_none());
    owner_connects(&target, Transport::Tcp, &victim).await;
    companion.shutdown().await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_meet_itself_in_a_mirror() {
    let _turn = together().await;
    let own = KeyPair::from_seed([17; 32]);
    let mut target = Target::with_key(&own, |_| ()).await;
    for transport in TRANSPORTS {
        // Its own id, claimed by another; over tls and quic the certificate says whose.
        let mut hostile = Attacker::dial(transport, target.addr(transport), &key(1)).await;
        let reject = hostile.hello(&Hello::new(*own.peer_id().as_bytes(), rand_nonce())).await.unwrap_err();
        assert_eq!(reject[..3], [wire::VERSION, wire::REJECT, SELF_DIAL], "{transport}");
        assert_eq!(refused(&target.failure().await.1), &RejectReason::SelfDial);
    }
    // It dials somebody who gives back whatever it says.
    let mirror = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", mirror.local_addr().unwrap()).parse().unwrap();
    let reflect = tokio::spawn(async move {
        let (mut stream, _) = mirror.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    in_time("connect", target.node.connect(&endpoint)).await.unwrap_err();
    in_time("the mirror", reflect).await.unwrap();
    target.shutdown().await;
}

/// One node's signature, asked for in the name of another handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_signs_nothing_that_serves_another_handshake() {
    let _turn = together().await;
    // The go-between is dialed by the first, and offers what it gets to the second.
    let first = Target::new(|_| ()).await;
    let mut second = Target::new(|_| ()).await;
    let between = key(1);
    let (trap, addr) = Trap::new(Transport::Tcp, &between, ordinary_transport()).await;
    let endpoint = format!("tcp://{}@{addr}", peer_id(between.id())).parse().unwrap();
    let dialing = {
        let node = first.node.clone();
        tokio::spawn(async move { node.connect(&endpoint).await })
    };
    let mut caught = in_time("the dial", trap.catch()).await;
    let (control, hello) = caught.greeted().await;
    // Its hello goes on as it is, and the answer with its proof back.
    let mut relay = Attacker::dial(Transport::Tcp, second.addr(Transport::Tcp), &between).await;
    let onward = relay.open().await;
    relay.send(onward, &hello).await;
    for _ in 0..2 {
        let answer = relay.message(onward).await.unwrap();
        caught.send(control, &answer).await;
    }
    // The first dialed somebody else, and so gives no proof that could go on.
    let last = caught.message(control).await.unwrap();
    assert_eq!(last[1], wire::REJECT);
    let error = in_time("the dial's end", dialing).await.unwrap().unwrap_err();
    assert!(matches!(refused(&error), RejectReason::IdentityMismatch { .. }), "{error}");
    // What the second signed, as a listener, is no proof of a dialer, in the same or in another handshake.
    let mut oracle = Attacker::dial(Transport::Tcp, second.addr(Transport::Tcp), &between).await;
    let ours = Hello::new(between.id(), rand_nonce());
    let (control, theirs) = oracle.hello(&ours).await.unwrap();
    let proof = oracle.message(control).await.unwrap();
    let mut liar = Attacker::dial(Transport::Tcp, first.addr(Transport::Tcp), &between).await;
    let mut stolen = Hello::new(*second.node.peer_id().as_bytes(), rand_nonce());
    stolen.boot_nonce = 3;
    let (onward, _) = liar.hello(&stolen).await.unwrap();
    liar.send(onward, &proof).await;
    assert_eq!(liar.closed().await, told_of_bad_signature());
    // It does sign what it says it signs: the oracle's own handshake, with its role and label.
    let signature = &proof[3..];
    let transcript = wire::transcript(&ours.encode(), &theirs);
    let public = p2p::keypair::PublicKey::from(second.node.peer_id());
    assert!(public.verify(&transcript, signature).is_err(), "not as an application's signature");
    let verified = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, second.node.peer_id().as_bytes())
        .verify(&[&b"p2p/1 handshake\0\x01"[..], &transcript].concat(), signature);
    assert!(verified.is_ok());
    drop((caught, relay, oracle, liar));
    second.failure().await;
    let honest = Honest::connect(&second, Transport::Tcp).await;
    honest.exchange(2).await;
    honest.shutdown().await;
    first.shutdown().await;
    second.shutdown().await;
}
