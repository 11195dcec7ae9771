use std::io::{Read, Write};

use proptest::prelude::*;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConnection, HandshakeKind, ServerConnection};

use super::*;
use crate::Error;

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
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

fn rcgen_key(key_pair: &KeyPair) -> rcgen::KeyPair {
    let der = PrivatePkcs8KeyDer::from(key_pair.to_der());
    rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).unwrap()
}

fn certificate(params: CertificateParams, key: &rcgen::KeyPair) -> CertificateDer<'static> {
    params.self_signed(key).unwrap().der().clone()
}

#[test]
fn a_certificate_is_what_an_x509_library_would_make() {
    let theirs = certificate(params(), &rcgen_key(&key(1)));
    assert_eq!(certificate::make(&key(1), None), theirs.to_vec());
    assert_eq!(peer_id_from_certificates(&[theirs]).unwrap(), key(1).peer_id());
}

/// As an X.509 library writes it: not critical, and the identifier in the arc of UUIDs.
fn with_hello(hello: &[u8]) -> CertificateParams {
    const ID: [u64; 3] = [2, 25, 0];
    let mut params = params();
    let mut extension = CustomExtension::from_oid_content(&ID, hello.to_vec());
    extension.set_criticality(false);
    params.custom_extensions.push(extension);
    params
}

/// `2.25.0` in its place: the library's numbers have 64 bits.
fn uuid(der: &[u8]) -> Vec<u8> {
    let at = der.windows(4).position(|window| window == [6, 2, 0x69, 0]).unwrap();
    assert_eq!(der.windows(4).rposition(|window| window == [6, 2, 0x69, 0]), Some(at));
    der[at..].to_vec()
}

#[test]
fn a_certificate_with_a_hello_is_what_an_x509_library_would_make() {
    // Around each length at which a length in between takes a byte more.
    for len in (1..300).chain([MAX_CERTIFIED_HELLO - 1, MAX_CERTIFIED_HELLO]) {
        let hello = vec![0xa5; len];
        let ours = certificate::make(&key(1), Some(&hello));
        assert_eq!(certificate::read(&ours), Ok((key(1).peer_id(), Some(&hello[..]))), "{len}");
        assert_eq!(certificate::peer_id(&ours), Err(InvalidCertificate::Form), "a dialer's has none");
        let (rest, parsed) = x509(&ours);
        assert!(rest.is_empty(), "{len}");
        assert_eq!(parsed, hello, "{len}");
        // An extension whose identifier is 18 bytes shorter: all but the lengths is the same.
        let theirs = certificate(with_hello(&hello), &rcgen_key(&key(1)));
        let (tail, id) = (uuid(&theirs), 4);
        let covered = tail.len() - 10 - 64;
        assert!(ours.windows(covered - id).any(|window| window == &tail[id..covered]), "{len}");
    }
    for len in [0, MAX_CERTIFIED_HELLO + 1] {
        let der = certificate::make(&key(1), Some(&vec![1; len]));
        assert_eq!(certificate::read(&der), Err(InvalidCertificate::Form), "{len}");
    }
}

/// Walks through the definite lengths of a certificate, down to the content of its last extension; gives what is left
/// over, and the content.
fn x509(der: &[u8]) -> (&[u8], &[u8]) {
    let (certificate, rest) = value(der, 0x30);
    let (signed, _) = value(certificate, 0x30);
    let fields = value(signed, 0xa0);
    let mut at = fields.1;
    for tag in [0x02, 0x30, 0x30, 0x30, 0x30, 0x30] {
        at = value(at, tag).1;
    }
    let (tagged, nothing) = value(at, 0xa3);
    let (extensions, nothing_more) = value(tagged, 0x30);
    let (extension, nothing_else) = value(extensions, 0x30);
    assert!(nothing.is_empty() && nothing_more.is_empty() && nothing_else.is_empty());
    let (content, end) = value(value(extension, 0x06).1, 0x04);
    assert!(end.is_empty());
    (rest, content)
}

/// The value of that tag, and what follows it. Its length has the fewest bytes.
fn value(der: &[u8], tag: u8) -> (&[u8], &[u8]) {
    assert_eq!(der[0], tag);
    let (len, at) = match der[1] {
        short @ 0..=0x7f => (usize::from(short), 2),
        0x81 => (usize::from(der[2]), 3),
        0x82 => (usize::from(u16::from_be_bytes([der[2], der[3]])), 4),
        other => panic!("length {other:x}"),
    };
    assert_eq!(
        at,
        if len < 0x80 {
            2
        } else if len < 0x100 {
            3
        } else {
            4
        }
    );
    der[at..].split_at(len)
}

#[test]
fn odd_certificates_with_a_hello_are_refused() {
    let refused = |what: &str, der: &[u8]| assert_eq!(certificate::read(der), Err(InvalidCertificate::Form), "{what}");
    let hello = b"nothing looks into it yet";
    let good = certificate::make(&key(1), Some(hello));
    for len in 0..good.len() {
        refused("a truncated one", &good[..len]);
    }
    refused("a longer one", &[&good[..], &[0]].concat());
    let rcgen = |params| certificate(params, &rcgen_key(&key(1)));
    refused("another identifier", &rcgen(with_hello(hello)));
    let mut critical = with_hello(hello);
    critical.custom_extensions[0].set_criticality(true);
    refused("a critical one", &rcgen(critical));
    let mut two = with_hello(hello);
    two.custom_extensions.push(CustomExtension::from_oid_content(&[2, 25, 0], hello.to_vec()));
    refused("two of them", &rcgen(two));
    // All but key, hello and signature is compared.
    let mut free = vec![false; good.len()];
    let key_at = good.windows(32).position(|window| window == key(1).public().as_bytes()).unwrap();
    let hello_at = good.windows(hello.len()).position(|window| window == hello).unwrap();
    free[key_at..key_at + 32].fill(true);
    free[hello_at..hello_at + hello.len()].fill(true);
    free[good.len() - 64..].fill(true);
    for at in (0..good.len()).filter(|at| !free[*at]) {
        let mut odd = good.clone();
        odd[at] ^= 1;
        refused("a changed byte", &odd);
    }
}

#[test]
fn odd_certificates_are_refused() {
    let refused = |what: &str, der: &[u8]| {
        assert_eq!(certificate::peer_id(der), Err(InvalidCertificate::Form), "{what}");
    };
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = params();
        change(&mut params);
        certificate(params, &rcgen_key(&key(1)))
    };
    assert_eq!(certificate::peer_id(&with(|_| ())), Ok(key(1).peer_id()));
    refused(
        "an extension",
        &with(|p| p.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]))),
    );
    refused("a name", &with(|p| p.subject_alt_names.push(rcgen::SanType::DnsName("example.org".try_into().unwrap()))));
    refused("a date", &with(|p| p.not_after = date_time_ymd(4095, 1, 1)));
    refused("a date", &with(|p| p.not_before = date_time_ymd(2020, 1, 1)));
    refused("a serial number", &with(|p| p.serial_number = Some(SerialNumber::from(2))));
    refused("a subject", &with(|p| p.distinguished_name.push(DnType::CountryName, "XX")));
    refused("an authority", &with(|p| p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained)));
    let ecdsa = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    refused("another kind of key", &certificate(params(), &ecdsa));
    let issuer = rcgen::Issuer::new(params(), ecdsa);
    refused("an issuer", params().signed_by(&rcgen_key(&key(1)), &issuer).unwrap().der());

    let good = certificate::make(&key(1), None);
    for len in 0..good.len() {
        refused("a truncated one", &good[..len]);
    }
    refused("a longer one", &[&good[..], &[0]].concat());
    let key_at = good.windows(32).position(|w| w == key(1).public().as_bytes()).unwrap();
    let mut nobody = good.clone();
    nobody[key_at..key_at + 32].fill(0);
    assert_eq!(certificate::peer_id(&nobody), Err(InvalidCertificate::Key(p2p_core::InvalidPeerId::SmallOrder)));
    nobody[key_at..key_at + 32].fill(0xff);
    assert_eq!(certificate::peer_id(&nobody), Err(InvalidCertificate::Key(p2p_core::InvalidPeerId::NonCanonical)));
    for count in [0, 2] {
        let chain = vec![CertificateDer::from(good.clone()); count];
        let result = peer_id_from_certificates(&chain);
        assert!(matches!(result, Err(Error::Certificate(InvalidCertificate::Count(n))) if n == count));
    }
}

proptest! {
    #[test]
    fn each_bit_outside_key_and_signature_matters(bit in 0usize..(204 - 64 - 32) * 8) {
        let mut der = certificate::make(&key(1), None);
        prop_assert_eq!(der.len(), 204);
        let key_at = 204 - 64 - 10 - 32;
        let at = if bit / 8 < key_at { bit / 8 } else { bit / 8 + 32 };
        der[at] ^= 1 << (bit % 8);
        prop_assert_eq!(certificate::peer_id(&der), Err(InvalidCertificate::Form));
    }
}

/// Runs a handshake in memory; the error of the side that refused first.
fn handshake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let mut client = ClientConnection::new(client, ServerName::try_from("peer.invalid").unwrap())?;
    let mut server = ServerConnection::new(server)?;
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        assert!(!wire.windows(12).any(|window| window == b"peer.invalid"), "the name is not sent");
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

#[test]
fn two_nodes_learn_who_the_other_is() {
    let (a, b) = (TlsIdentity::new(&key(1)).unwrap(), TlsIdentity::new(&key(2)).unwrap());
    assert_eq!((a.server_config().send_tls13_tickets, a.server_config().max_early_data_size), (0, 0));
    assert!(!a.client_config().enable_early_data);
    for _ in 0..2 {
        let (mut client, mut server) = handshake(a.client_config().clone(), b.server_config().clone()).unwrap();
        assert_eq!(peer_id_from_certificates(client.peer_certificates().unwrap()).unwrap(), b.peer_id());
        assert_eq!(peer_id_from_certificates(server.peer_certificates().unwrap()).unwrap(), a.peer_id());
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full), "also the second time: nothing is resumed");
        assert_eq!(client.alpn_protocol(), Some(ALPN));
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), rustls::NamedGroup::X25519);
        assert_eq!(server.server_name(), None);
        assert_eq!(client.tls13_tickets_received(), 0);

        client.writer().write_all(b"hello").unwrap();
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets().unwrap();
        let mut text = [0; 5];
        server.reader().read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");
    }
}

/// An identity that presents `certificates` and signs with `key_pair`.
fn forged(key_pair: &KeyPair, certificates: Vec<CertificateDer<'static>>, ocsp: Option<Vec<u8>>) -> TlsIdentity {
    let mut identity = TlsIdentity::new(key_pair).unwrap();
    let mut certified = CertifiedKey::new(certificates, Arc::new(TlsKey(key_pair.clone())));
    certified.ocsp = ocsp;
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    let mut client = (*identity.client).clone();
    client.client_auth_cert_resolver = resolver.clone();
    let mut server = (*identity.server).clone();
    server.cert_resolver = resolver;
    (identity.client, identity.server) = (Arc::new(client), Arc::new(server));
    identity
}

#[test]
fn a_stolen_certificate_a_chain_or_none_is_refused_on_both_sides() {
    let honest = TlsIdentity::new(&key(1)).unwrap();
    let victim = CertificateDer::from(certificate::make(&key(3), None));
    let own = CertificateDer::from(certificate::make(&key(2), None));
    for (what, certificates, expected) in [
        ("stolen", vec![victim.clone()], "BadSignature"),
        ("chain", vec![own.clone(), victim], "Count(2)"),
        ("none", vec![], ""),
        (
            "odd",
            vec![certificate(
                {
                    let mut p = params();
                    p.not_after = date_time_ymd(4095, 1, 1);
                    p
                },
                &rcgen_key(&key(2)),
            )],
            "Form",
        ),
    ] {
        let liar = forged(&key(2), certificates, None);
        for result in [
            handshake(liar.client_config().clone(), honest.server_config().clone()),
            handshake(honest.client_config().clone(), liar.server_config().clone()),
        ] {
            let error = format!("{:?}", result.err().unwrap_or_else(|| panic!("{what} was accepted")));
            assert!(error.contains(expected), "{what}: {error}");
        }
    }
    let stapled = forged(&key(2), vec![own], Some(vec![1, 2, 3]));
    let result = handshake(honest.client_config().clone(), stapled.server_config().clone());
    assert!(format!("{:?}", result.err().unwrap()).contains("Ocsp"));
}

/// The certificate that a listener presents to a dialer that offers these.
fn presented_to(listener: &TlsIdentity, offered: &[&[u8]]) -> Result<(ClientConnection, Vec<u8>), rustls::Error> {
    let params = Arc::new(HandshakeParams::new(key(2), 7));
    let accepting = listener.accepting(params).unwrap();
    assert!(accepting.context.unwrap().is::<HandshakeParams>());
    let mut dialer = (**TlsIdentity::new(&key(1)).unwrap().client_config()).clone();
    dialer.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let (client, _) = handshake(Arc::new(dialer), accepting.config)?;
    let certificate = client.peer_certificates().unwrap()[0].to_vec();
    Ok((client, certificate))
}

#[test]
fn versions_that_differ_meet_to_say_so_and_see_a_certificate_that_both_know() {
    let listener = TlsIdentity::new(&key(2)).unwrap();
    let hello = certified_hello(&HandshakeParams::new(key(2), 7)).unwrap();
    let (client, own) = presented_to(&listener, &[ALPN, b"p2p"]).unwrap();
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    assert_eq!(certificate::read(&own), Ok((key(2).peer_id(), Some(&hello[..]))));
    for (offered, agreed) in [(&[&b"p2p/9"[..], b"p2p"][..], &b"p2p"[..]), (&[b"p2p/1"], b"p2p/1")] {
        let (client, bare) = presented_to(&listener, offered).unwrap();
        assert_eq!(client.alpn_protocol(), Some(agreed));
        assert_eq!(bare, certificate::make(&key(2), None));
    }
    assert!(presented_to(&listener, &[b"h2"]).is_err(), "another protocol altogether");
    let refused = presented_to(&listener, &[]).map(drop);
    assert!(refused.is_err(), "none at all");
}

#[test]
fn a_hello_that_is_too_long_is_left_out() {
    let listener = TlsIdentity::new(&key(2)).unwrap();
    let mut params = HandshakeParams::new(key(2), 7);
    let offer = |version: &str| crate::Offer { version: version.parse().unwrap(), kind: crate::ProtocolKind::Optional };
    let mut n = 0;
    while certified_hello(&params).unwrap().len() <= MAX_CERTIFIED_HELLO {
        let tls = listener.accepting(params.clone().into()).unwrap();
        assert!(tls.context.is_some(), "{} bytes", certified_hello(&params).unwrap().len());
        params.protocols.insert(format!("/{n:0>60}").parse().unwrap(), offer("1.0.0"));
        n += 1;
    }
    let tls = listener.accepting(params.into()).unwrap();
    assert!(tls.context.is_none() && n > 20, "{n}");
    let (client, _) = handshake(TlsIdentity::new(&key(1)).unwrap().client_config().clone(), tls.config).unwrap();
    assert_eq!(hello_from_certificates(client.peer_certificates().unwrap()).unwrap(), None);
}

#[test]
fn anonymous_clients_are_refused() {
    let identity = TlsIdentity::new(&key(1)).unwrap();
    let mut anonymous = ClientConfig::builder_with_provider(Arc::new(crypto_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier::NodeVerifier))
        .with_no_client_auth();
    anonymous.enable_sni = false;
    assert!(handshake(Arc::new(anonymous), identity.server_config().clone()).is_err());
}

#[test]
fn quic_finds_the_cipher_suite_it_needs() {
    let suites = crypto_provider().cipher_suites;
    assert!(suites.iter().any(|s| s.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256));
    assert!(suites.iter().all(|s| s.tls13().is_some_and(|s| s.quic.is_some())));
}

#[test]
fn the_secret_of_stateless_resets_is_the_keys_own() {
    let tls = |seed| TlsIdentity::new(&key(seed)).unwrap().configs();
    assert!(tls(1).reset_secret.is_some());
    let secret = |seed| key(seed).derive_secret(RESETS);
    assert_eq!(secret(1), secret(1));
    assert_ne!(secret(1), secret(2));
    assert_ne!(secret(1), key(1).derive_secret(Domain::APPLICATION));
}
