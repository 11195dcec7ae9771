//! Listeners that lie in their certificates, or after them, to a dialer that speaks at once; and versions that differ.

use std::sync::{Arc, Mutex};

use p2p::endpoint::Transport;
use p2p::layers::identity::{HandshakeError, RejectReason};
use p2p::protocol::{Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, PeerConn};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::common::attacker::{Attacker, LOCALHOST, Trap, identity, ordinary_transport, quic_client, quic_socket};
use crate::common::wire::{self, Hello, Key, VERSION};
use crate::common::{ECHO, NETWORK, Target, in_time, key, peer_id, until};
use crate::identity::{hex, pkcs8};

const CERTIFIED: [Transport; 2] = [Transport::Tls, Transport::Quic];

/// Tag and length, as DER has them.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let header = match len {
        0..0x80 => vec![tag, len as u8],
        0x80..0x100 => vec![tag, 0x81, len as u8],
        _ => [&[tag, 0x82][..], &(len as u16).to_be_bytes()].concat(),
    };
    [header, content.to_vec()].concat()
}

/// The identifier of the extension with a hello.
const ID: &str = "06146983f3cc89b0c0e2e2bbaf93efdaf5ecaffef36e";

fn extension(id: &str, hello: &[u8]) -> Vec<u8> {
    der(0x30, &[hex(id), der(0x04, hello)].concat())
}

/// A certificate with these extensions, as the book has it.
fn certificate(key: &Key, extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut fields = hex("a003020102020101300506032b6570300e310c300a06035504030c037032703020170d");
    fields.extend(b"750101000000Z\x18\x0f40960101000000Z");
    fields.extend(hex("300e310c300a06035504030c03703270302a300506032b6570032100"));
    fields.extend(key.id());
    fields.extend(der(0xa3, &der(0x30, &extensions.concat())));
    let signed = der(0x30, &fields);
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&key.seed).unwrap();
    let signature = pair.sign(&signed);
    der(0x30, &[&signed[..], &hex("300506032b6570034100"), signature.as_ref()].concat())
}

/// What an honest listener says in its certificate.
fn honest(key: &Key) -> Vec<u8> {
    [vec![VERSION], Hello::new(key.id(), 0).node()].concat()
}

fn listening(key: &Key, certificate: Vec<u8>) -> Arc<rustls::ServerConfig> {
    let signing = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8(key))).unwrap();
    let chain = vec![CertificateDer::from(certificate)];
    let mut config = (**identity(key).server_config()).clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, signing)));
    Arc::new(config)
}

type Ends = Arc<Mutex<Vec<String>>>;

/// Says something at once, and notes how it ends.
struct Eager(PeerConn, Ends);

#[p2p::async_trait]
impl Protocol for Eager {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let _ = self.0.send("early").await;
        let end = self.0.recv().await.map(drop);
        self.1.lock().unwrap().push(format!("{end:?}"));
        end
    }

    fn id() -> ProtocolId {
        ECHO.parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

/// A node that dials into traps.
struct Dialer {
    node: Arc<Node>,
    ends: Ends,
    idle: usize,
}

impl Dialer {
    async fn new() -> Self {
        let config = Config {
            network: NETWORK.into(),
            listen_endpoints: Vec::new(),
            max_connect_retries: 0,
            outbound_slots: 1,
            handshake_timeout: std::time::Duration::from_secs(1),
            ..Config::loopback()
        };
        let node = Node::new(&p2p::keypair::KeyPair::from_seed([77; 32]), config).unwrap();
        let ends = Ends::default();
        let note = ends.clone();
        node.attach_protocol(move |conn| Eager(conn, note.clone())).unwrap();
        node.run().await.unwrap();
        let idle = node.tasks();
        Self { node, ends, idle }
    }

    fn ended(&self) -> usize {
        self.ends.lock().unwrap().len()
    }

    /// Nothing is left of what was spoken too early.
    async fn is_clean(&self, what: &str, ended: usize) {
        // A QUIC endpoint that was dialed from stays.
        until(what, || self.ended() == ended && self.node.tasks() <= self.idle + 2).await;
        assert_eq!(self.node.peers(), 0, "{what}");
        let told = self.ends.lock().unwrap().last().cloned().unwrap_or_default();
        assert!(ended == 0 || told.contains("Disconnected"), "{what}: {told}");
    }
}

/// Dials `key` at a trap, and lets `meanwhile` act on who walks in.
async fn dial<F: Future<Output = ()> + Send>(
    dialer: &Dialer,
    transport: Transport,
    key: &Key,
    tls: Arc<rustls::ServerConfig>,
    meanwhile: impl FnOnce(Attacker) -> F,
) -> Error {
    let (trap, addr) = Trap::with_tls(transport, tls, ordinary_transport()).await;
    let endpoint = format!("{transport}://{}@{addr}", peer_id(key.id())).parse().unwrap();
    let caught = async { meanwhile(trap.catch().await).await };
    let (result, ()) = in_time("the dial", async { tokio::join!(dialer.node.connect(&endpoint), caught) }).await;
    result.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_certificates_of_listeners_are_refused() {
    let dialer = Dialer::new().await;
    let key = key(1);
    let good = extension(ID, &honest(&key));
    let mut odd = vec![
        ("another identifier", certificate(&key, &[extension("06032a0304", &honest(&key))])),
        ("two hellos", certificate(&key, &[good.clone(), good.clone()])),
        ("another extension beside it", certificate(&key, &[good.clone(), extension("06032a0304", b"x")])),
        ("one that is critical", {
            certificate(&key, &[der(0x30, &[hex(ID), hex("0101ff"), der(0x04, &honest(&key))].concat())])
        }),
        ("a long hello", certificate(&key, &[extension(ID, &vec![VERSION; 1_537])])),
        ("a very long hello", certificate(&key, &[extension(ID, &vec![VERSION; 14_000])])),
        ("an empty hello", certificate(&key, &[extension(ID, b"")])),
        ("no extension in the list", certificate(&key, &[])),
        ("more behind it", [certificate(&key, std::slice::from_ref(&good)), vec![0]].concat()),
    ];
    let mut long_length = certificate(&key, &[extension(ID, &vec![VERSION; 300])]);
    // The length of the hello in a byte more than it takes.
    let at = long_length.windows(4).position(|window| window == [0x04, 0x82, 0x01, 0x2c]).unwrap();
    long_length.splice(at..at + 4, [0x04, 0x83, 0x00, 0x01, 0x2c]);
    odd.push(("a length in too many bytes", long_length));
    for transport in CERTIFIED {
        for (what, certificate) in &odd {
            let (trap, addr) =
                Trap::with_tls(transport, listening(&key, certificate.clone()), ordinary_transport()).await;
            let endpoint = format!("{transport}://{addr}").parse().unwrap();
            // The trap's side of the handshake fails, which may be where `catch` unwraps.
            let caught = tokio::spawn(async move { drop(trap.catch().await) });
            let error = in_time("the dial", dialer.node.connect(&endpoint)).await.unwrap_err();
            assert!(matches!(error, Error::Net(_)), "{transport}, {what}: {error}");
            caught.abort();
            dialer.is_clean(what, 0).await;
        }
    }
    dialer.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_certificate_says_wrongly_is_answered_with_the_reason() {
    let dialer = Dialer::new().await;
    let (own, other) = (key(2), key(3));
    let with = |change: &dyn Fn(&mut Hello)| {
        let mut hello = Hello::new(own.id(), 0);
        change(&mut hello);
        [vec![VERSION], hello.node()].concat()
    };
    let lies: Vec<(&str, u8, Vec<u8>)> = vec![
        ("the record of another", 9, with(&|hello| hello.record = Some(wire::record(&other, 1)))),
        ("rubbish", 9, vec![VERSION, 0xff, 0xff]),
        ("half of it", 9, honest(&own)[..9].to_vec()),
        ("more behind it", 9, [honest(&own), vec![0]].concat()),
        ("protocols out of order", 9, {
            with(&|hello| hello.protocols = ["/b", "/a"].map(|id| (id.into(), "0.1.0".into(), 1)).to_vec())
        }),
        ("another network", 0, with(&|hello| hello.network = b"elsewhere".to_vec())),
        ("another version", 2, with(&|hello| hello.version = b"7.0.0".to_vec())),
        ("a mandatory protocol", 3, with(&|hello| hello.protocols.push(("/must".into(), "0.1.0".into(), 0)))),
    ];
    for transport in CERTIFIED {
        for (what, index, hello) in &lies {
            let tls = listening(&own, certificate(&own, &[extension(ID, hello)]));
            let told = Arc::new(Mutex::new(Vec::new()));
            let note = told.clone();
            let error = dial(&dialer, transport, &own, tls, async |mut caught| {
                let (control, refusal) = caught.greeted().await;
                *note.lock().unwrap() = refusal;
                caught.finish(control).await;
                caught.closed().await;
            })
            .await;
            assert_eq!(told.lock().unwrap()[..3], [VERSION, wire::REJECT, *index], "{transport}, {what}");
            assert!(matches!(error, Error::Handshake(HandshakeError::Refused(_))), "{transport}, {what}: {error}");
            dialer.is_clean(what, 0).await;
        }
    }
    dialer.node.shutdown().await;
}

/// What a listener may do to a dialer that has said all it had to say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_spoke_early_to_a_hostile_listener_ends_cleanly() {
    let dialer = Dialer::new().await;
    let own = key(4);
    let tls = || listening(&own, certificate(&own, &[extension(ID, &honest(&own))]));
    let mut ended = 0;
    for transport in CERTIFIED {
        // It says hello again: another one, or the same.
        for network in [&b"elsewhere"[..], NETWORK.as_bytes()] {
            let error = dial(&dialer, transport, &own, tls(), async |mut caught| {
                let (control, hello) = caught.greeted().await;
                assert_eq!(hello[..2], [VERSION, wire::HELLO]);
                assert_eq!(caught.message(control).await.unwrap(), wire::accept(None), "with its hello");
                let mut again = Hello::new(own.id(), 9);
                again.network = network.to_vec();
                caught.send(control, &again.encode()).await;
                caught.send(control, &wire::accept(None)).await;
                caught.closed().await;
            })
            .await;
            let refused = matches!(&error, Error::Handshake(HandshakeError::Refused(RejectReason::Malformed(_))));
            assert!(refused, "{transport}: {error}");
            ended += 1;
            dialer.is_clean("a hello again", ended).await;
        }
        // It accepts as one whose hello was a message.
        let error = dial(&dialer, transport, &own, tls(), async |mut caught| {
            let (control, _) = caught.greeted().await;
            caught.send(control, &wire::accept(None)).await;
            caught.closed().await;
        })
        .await;
        let refused = matches!(&error, Error::Handshake(HandshakeError::Refused(RejectReason::Malformed(_))));
        assert!(refused, "{transport}: {error}");
        ended += 1;
        dialer.is_clean("an accept without numbers", ended).await;
        // It refuses.
        let error = dial(&dialer, transport, &own, tls(), async |mut caught| {
            let (control, _) = caught.greeted().await;
            caught.send(control, &[VERSION, wire::REJECT, 13]).await;
            caught.finish(control).await;
            caught.closed().await;
        })
        .await;
        let refused = matches!(&error, Error::Handshake(HandshakeError::Remote(RejectReason::SlotsFull)));
        assert!(refused, "{transport}: {error}");
        ended += 1;
        dialer.is_clean("a refusal", ended).await;
        assert!(dialer.ends.lock().unwrap().last().unwrap().contains("slots"), "{transport}");
        // It says nothing.
        let error = dial(&dialer, transport, &own, tls(), async |mut caught| {
            caught.greeted().await;
            caught.closed().await;
        })
        .await;
        let late = matches!(&error, Error::Handshake(HandshakeError::Refused(RejectReason::Timeout)));
        assert!(late, "{transport}: {error}");
        ended += 1;
        dialer.is_clean("silence", ended).await;
    }
    // The only slot is free.
    let target = Target::new(|_| ()).await;
    dialer.node.connect(&target.endpoint(Transport::Tls)).await.unwrap();
    dialer.node.shutdown().await;
    target.shutdown().await;
}

/// Whoever speaks another version of the wire format is told so, and whoever names none is turned away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_differ_name_both() {
    let mut target = Target::new(|_| ()).await;
    let dialer = Dialer::new().await;
    for transport in CERTIFIED {
        let offering = |names: &[&[u8]]| {
            let mut tls = (**identity(&key(5)).client_config()).clone();
            tls.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
            Arc::new(tls)
        };
        for (names, theirs) in [(&[&b"p2p/9"[..], b"p2p"][..], 9), (&[b"p2p/1"], 1)] {
            let to = target.addr(transport);
            let mut other = Attacker::try_dial(transport, LOCALHOST, to, offering(names)).await.unwrap();
            let control = other.open().await;
            other.send(control, &[theirs, wire::HELLO, 1, 2, 3]).await;
            let refusal = other.message(control).await.unwrap();
            assert_eq!(refusal, [VERSION, wire::REJECT, 1, VERSION, theirs], "{transport}");
            other.finish(control).await;
            let text = target.failure().await.1.to_string();
            let both = text.contains(&format!("version {VERSION},")) && text.contains(&format!("remote {theirs}"));
            assert!(both, "{transport}: {text}");
        }
        // A listener of another version.
        let own = key(6);
        let mut tls = (**identity(&own).server_config()).clone();
        tls.alpn_protocols = vec![b"p2p/9".to_vec(), b"p2p".to_vec()];
        let error = dial(&dialer, transport, &own, Arc::new(tls), async |mut caught| {
            let (control, hello) = caught.greeted().await;
            assert_eq!(hello[..2], [VERSION, wire::HELLO]);
            caught.send(control, &[9, wire::REJECT, 1, 9, VERSION]).await;
            caught.finish(control).await;
            caught.closed().await;
        })
        .await;
        let named = RejectReason::WireVersion { ours: VERSION.into(), theirs: 9 };
        assert_eq!(error.to_string(), Error::from(HandshakeError::Remote(named)).to_string(), "{transport}");

        // No name at all, on either side.
        let nameless = Attacker::try_dial(transport, LOCALHOST, target.addr(transport), offering(&[])).await;
        if let Ok(mut nameless) = nameless {
            assert!(nameless.hello(&Hello::new(key(5).id(), 1)).await.is_err(), "{transport}");
        }
        let mut tls = (**identity(&own).server_config()).clone();
        tls.alpn_protocols.clear();
        let (trap, addr) = Trap::with_tls(transport, Arc::new(tls), ordinary_transport()).await;
        let caught = tokio::spawn(async move { drop(trap.catch().await) });
        let endpoint = format!("{transport}://{addr}").parse().unwrap();
        let error = in_time("the dial", dialer.node.connect(&endpoint)).await.unwrap_err();
        assert!(matches!(error, Error::Net(_)), "{transport}: {error}");
        caught.abort();
    }
    dialer.node.shutdown().await;
    target.shutdown().await;
}

/// Whoever has not shown that it receives at its address gets at most three times what it sent (RFC 9000 §8.1): the first
/// flight of a listener whose hello is nearly as long as a certificate takes is two datagrams of those three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listeners_first_flight_is_two_datagrams() {
    // Before anything is sent again.
    let target = Target::new(|config| config.handshake_timeout = std::time::Duration::from_millis(500)).await;
    for n in 0..18 {
        let info = p2p::protocol::ProtocolInfo {
            id: format!("/{n:0>60}").parse().unwrap(),
            version: "0.1.0".parse().unwrap(),
            kind: p2p::protocol::ProtocolKind::Optional,
        };
        let ends = Ends::default();
        target.node.attach_dyn(info, move |conn| Arc::new(Eager(conn, ends.clone()))).unwrap();
    }
    // The first datagram of an honest dialer, caught on its way.
    let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (endpoint, _) = quic_socket(LOCALHOST, 0);
    let config = quic_client(identity(&key(8)).client_config().clone(), ordinary_transport());
    let connecting = endpoint.connect_with(config, sink.local_addr().unwrap(), "peer.invalid").unwrap();
    let mut first = vec![0; 2_000];
    let len = in_time("the first datagram", sink.recv(&mut first)).await.unwrap();
    drop(connecting);
    let mut monitor = target.node.monitor().register::<p2p::ConnectionEvent>();
    let forged = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    forged.send_to(&first[..len], target.addr(Transport::Quic)).await.unwrap();
    let mut sizes = Vec::new();
    let mut datagram = vec![0; 2_000];
    in_time("the end of the handshake", async {
        loop {
            tokio::select! {
                len = forged.recv(&mut datagram) => sizes.push(len.unwrap()),
                event = monitor.recv() => {
                    if matches!(event.unwrap().kind, p2p::ConnectionEventKind::AcceptFailed { .. }) {
                        break;
                    }
                }
            }
        }
    })
    .await;
    // It may have been told first of what came last.
    sizes.extend(std::iter::from_fn(|| forged.try_recv(&mut datagram).ok()));
    assert!(sizes.iter().sum::<usize>() <= 3 * len, "{sizes:?} bytes for {len}");
    // The last one, which is short, says that the handshake has ended.
    let flight: Vec<_> = sizes.into_iter().filter(|size| *size >= 200).collect();
    assert!(flight.len() <= 2, "{flight:?}");
    assert!(flight.iter().sum::<usize>() > 2_000, "the certificate with all these protocols is there: {flight:?}");
    target.shutdown().await;
}
