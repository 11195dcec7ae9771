//! Certificates: the one form there is, to the byte, with a listener's hello or without, and nothing beside it.

use std::collections::BTreeMap;
use std::ops::Range;

use p2p_core::PeerId;
use p2p_identity::fuzzing::{accepts_certificate, certificate};
use p2p_identity::{KeyPair, MAX_CERTIFIED_HELLO, peer_id_from_certificates};
use rustls::pki_types::CertificateDer;

use crate::input::Input;

/// Bytes of what is the same in all certificates, between key or hello and signature; and of the signature.
const END: usize = 10;
const SIGNATURE: usize = 64;

/// Bytes of a certificate without a hello.
const LEN: usize = 204;

thread_local! {
    /// One of each length, and how long its hello is.
    static OWN: BTreeMap<usize, (Vec<u8>, usize)> = (0..=MAX_CERTIFIED_HELLO)
        .map(|len| (own(1, (len > 0).then(|| vec![0; len]).as_deref()), len))
        .map(|(der, len)| (der.len(), (der, len)))
        .collect();
}

fn own(seed: u8, hello: Option<&[u8]>) -> Vec<u8> {
    certificate(&KeyPair::from_seed([seed; 32]), hello)
}

/// Where in a certificate the key is.
fn key_at(der: &[u8]) -> Range<usize> {
    let key = KeyPair::from_seed([1; 32]).peer_id();
    let at = der.windows(32).position(|window| window == key.as_bytes()).unwrap_or(0);
    at..at + 32
}

/// Whose certificate it must be, and how long the hello in it is.
fn expected(der: &[u8]) -> Option<(PeerId, usize)> {
    OWN.with(|all| {
        let (own, hello) = all.get(&der.len())?;
        let key = key_at(own);
        let end = der.len() - SIGNATURE;
        let same = |range: Range<usize>| der.get(range.clone()) == own.get(range);
        let form = same(0..key.start) && same(key.end..end - END - hello) && same(end - END..end);
        let id = PeerId::try_from(der.get(key)?).ok()?;
        form.then_some((id, *hello))
    })
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let with = input.byte();
    let der = input.rest();
    let expected = expected(der);
    assert_eq!(peer_id_from_certificates(&[CertificateDer::from(der)]).ok(), expected.map(|(id, _)| id));
    // A chain, or a stapled response, is refused whatever it is; and a dialer has no hello in its certificate.
    let intermediates = [der, &der[..der.len() / 2]];
    let intermediates = &intermediates[..usize::from(with & 3).min(2)];
    let ocsp_response = if with & 4 == 0 { &[][..] } else { der };
    let alone = expected.filter(|_| intermediates.is_empty());
    let at_dialer = alone.is_some() && ocsp_response.is_empty();
    let at_listener = alone.is_some_and(|(_, hello)| hello == 0);
    assert_eq!(accepts_certificate(der, intermediates, ocsp_response), (at_dialer, at_listener));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let with = |with: u8, der: &[u8]| [&[with], der].concat();
    let bare = own(2, None);
    let mut nobody = own(1, None);
    nobody[key_at(&own(1, None))].fill(0);
    let mut seeds = vec![with(0, &bare), with(1, &bare), with(4, &bare), with(0, &nobody), with(0, &bare[..LEN - 1])];
    for len in [1, 60, 90, 200, 300, MAX_CERTIFIED_HELLO] {
        seeds.push(with(0, &own(2, Some(&vec![2; len]))));
    }
    seeds
}
