//! Certificates without a connection, for fuzzing.

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;

use super::certificate;
use super::verifier::NodeVerifier;
use crate::KeyPair;

/// The certificate of a node, with a hello if one is given.
pub fn certificate(key_pair: &KeyPair, hello: Option<&[u8]>) -> Vec<u8> {
    certificate::make(key_pair, hello)
}

/// Whether a dialer and a listener let a TLS handshake go on in which the other presents these.
pub fn accepts(end_entity: &[u8], intermediates: &[&[u8]], ocsp_response: &[u8]) -> (bool, bool) {
    let end_entity = CertificateDer::from(end_entity);
    let intermediates: Vec<_> = intermediates.iter().map(|&der| CertificateDer::from(der)).collect();
    let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
    let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    let verifier = NodeVerifier;
    let dialer = verifier.verify_server_cert(&end_entity, &intermediates, &name, ocsp_response, now);
    let listener = verifier.verify_client_cert(&end_entity, &intermediates, now);
    (dialer.is_ok(), listener.is_ok())
}
