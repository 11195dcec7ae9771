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
    assert_eq!(certificate::make(&key(1)), theirs.to_vec());
    assert_eq!(peer_id_from_certificates(&[theirs]).unwrap(), key(1).peer_id());
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

    let good = certificate::make(&key(1));
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
        let mut der = certificate::make(&key(1));
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
    let victim = CertificateDer::from(certificate::make(&key(3)));
    let own = CertificateDer::from(certificate::make(&key(2)));
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

#[test]
fn other_versions_and_anonymous_clients_are_refused() {
    let identity = TlsIdentity::new(&key(1)).unwrap();
    let mut other = (**identity.client_config()).clone();
    other.alpn_protocols = vec![b"p2p/2".to_vec()];
    assert!(handshake(Arc::new(other), identity.server_config().clone()).is_err());
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
