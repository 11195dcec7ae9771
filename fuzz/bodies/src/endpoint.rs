//! Endpoint text: what is read is written in one form, and that form is read as the same.

use p2p_net::endpoint::{MAX_ENDPOINT_LEN, MAX_NAME_LEN};
use p2p_net::{Addr, Endpoint};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        let written = endpoint.to_string();
        assert!(text.trim_ascii().len() <= MAX_ENDPOINT_LEN && written.len() <= MAX_ENDPOINT_LEN, "{written}");
        assert_eq!(written.parse().as_ref(), Ok(&endpoint), "{written}");
        assert!(!written.bytes().any(|byte| byte.is_ascii_control() || byte == b' '), "{written:?}");
        check_addr(endpoint.addr());
    }
    if let Ok(addr) = text.parse::<Addr>() {
        check_addr(&addr);
    }
}

fn check_addr(addr: &Addr) {
    let written = addr.to_string();
    assert_eq!(written.parse().as_ref(), Ok(addr), "{written}");
    match addr {
        Addr::Ip(ip) => assert_eq!(*ip, ip.to_canonical()),
        name => assert!(written.len() <= MAX_NAME_LEN && written == written.to_ascii_lowercase(), "{name:?}"),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let id = crate::input::peer(3);
    let texts = [
        "tcp://192.0.2.1:9000".to_owned(),
        "tls://[2001:db8::1]:1".into(),
        format!("quic://{id}@example.org:65535"),
        format!("udp://{id}@[::ffff:192.0.2.1]:0"),
        "tcp://a-b_c.D.example:443".into(),
        format!("tcp://{}:1", [&"a".repeat(63)[..]; 4].join(".")),
        "192.0.2.256".into(),
        "1.2.3".into(),
        "QUIC://Example.org.:9000\n".into(),
        "tcp://[fe80::1%eth0]:9000".into(),
    ];
    texts.map(String::into_bytes).into()
}
