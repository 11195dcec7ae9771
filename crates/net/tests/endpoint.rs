//! Endpoint text as people write it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use p2p_net::Endpoint;
use p2p_net::endpoint::{MAX_NAME_LEN, ParseEndpointError};

fn read(text: &str) -> Result<String, ParseEndpointError> {
    text.parse::<Endpoint>().map(|endpoint| endpoint.to_string())
}

#[test]
fn what_has_one_meaning_is_accepted_and_written_in_one_form() {
    for (text, written) in [
        ("QUIC://192.0.2.1:9000", "quic://192.0.2.1:9000"),
        ("Tls://[2001:DB8::1]:1", "tls://[2001:db8::1]:1"),
        ("tcp://Example.ORG.:443", "tcp://example.org:443"),
        ("tcp://192.0.2.1.:443", "tcp://192.0.2.1:443"),
        ("tcp://192.0.2.1:9000\n", "tcp://192.0.2.1:9000"),
        (" \ttcp://192.0.2.1:9000\r\n", "tcp://192.0.2.1:9000"),
    ] {
        assert_eq!(read(text).as_deref(), Ok(written), "{text:?}");
    }
    let longest = format!("{}.{}", [&"a".repeat(63)[..]; 3].join("."), "b".repeat(61));
    assert_eq!(longest.len(), MAX_NAME_LEN);
    assert_eq!(read(&format!("tcp://{longest}.:1")), Ok(format!("tcp://{longest}:1")), "the dot is not of the name");
}

#[test]
fn a_zone_is_an_error_that_says_what_to_write() {
    for text in ["tcp://[fe80::1%eth0]:9000", "quic://[fe80::1%25eth0]:9000", "tcp://[fe80::1%2]:9000"] {
        let error = read(text).unwrap_err();
        assert!(matches!(error, ParseEndpointError::Zone(_)), "{text}: {error:?}");
        assert!(error.to_string().contains("without %"), "{error}");
    }
}

#[test]
fn what_has_no_meaning_is_refused() {
    for text in [
        "tcp://:1",
        "tcp://.:1",
        "tcp://..:1",
        "tcp://a..:1",
        "tcp://a b:1",
        "tcp://a\n:1",
        "tcp://1.2.3.:1",
        "tcp://[::1].:1",
        "tcp://::1:1",
        "tcp ://a:1",
        "tcp://a: 1",
        "\u{a0}tcp://a:1",
    ] {
        assert!(read(text).is_err(), "{text:?}: {:?}", read(text));
    }
}
