//! Certificates: the one form there is, to the byte, and nothing beside it.

use p2p_core::PeerId;
use p2p_identity::fuzzing::{accepts_certificate, certificate};
use p2p_identity::{KeyPair, peer_id_from_certificates};
use rustls::pki_types::CertificateDer;

use crate::input::Input;

/// Where the key is, and the end of what stands between it and the signature.
const KEY: std::ops::Range<usize> = 98..130;
const SIGNATURE_AT: usize = 140;
const LEN: usize = 204;

thread_local! {
    static OWN: Vec<u8> = certificate(&KeyPair::from_seed([1; 32]));
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let with = input.byte();
    let der = input.rest();
    let form = OWN.with(|own| {
        let outside = |from: usize, to: usize| der.get(from..to) == own.get(from..to);
        der.len() == LEN && outside(0, KEY.start) && outside(KEY.end, SIGNATURE_AT)
    });
    let expected = if form { der.get(KEY).and_then(|key| PeerId::try_from(key).ok()) } else { None };
    assert_eq!(peer_id_from_certificates(&[CertificateDer::from(der)]).ok(), expected);
    // A chain, or a stapled response, is refused whatever it is.
    let intermediates = [der, &der[..der.len() / 2]];
    let intermediates = &intermediates[..usize::from(with & 3).min(2)];
    let ocsp_response = if with & 4 == 0 { &[][..] } else { der };
    let alone = expected.is_some() && intermediates.is_empty();
    let accepted = accepts_certificate(der, intermediates, ocsp_response);
    assert_eq!(accepted, (alone && ocsp_response.is_empty(), alone));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let with = |with: u8, der: &[u8]| [&[with], der].concat();
    let own = certificate(&KeyPair::from_seed([2; 32]));
    let mut nobody = own.clone();
    nobody[KEY].fill(0);
    vec![with(0, &own), with(1, &own), with(4, &own), with(0, &nobody), with(0, &own[..LEN - 1])]
}
