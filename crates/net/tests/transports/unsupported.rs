//! What does not go says so at once.

use p2p_net::{Error, NetConfig, Transport, Transports};

use crate::common::{for_each, for_each_transport};

#[test]
fn udp_has_no_connections() {
    for_each(&[Transport::Udp], async |net| {
        let node = net.node();
        let endpoint = net.endpoint("127.0.0.1:1");
        assert!(matches!(node.dial(&endpoint).await, Err(Error::Unsupported { .. })));
        assert!(matches!(node.listen(&endpoint).await, Err(Error::Unsupported { .. })));
    });
}

#[test]
fn without_an_identity_there_is_only_tcp() {
    for_each(&[Transport::Tls, Transport::Quic], async |net| {
        let node = Transports::new(net.runtime.clone(), NetConfig::default());
        let endpoint = net.endpoint("127.0.0.1:1");
        let error = node.dial(&endpoint).await.unwrap_err();
        assert!(error.to_string().contains("NetConfig::tls"), "{error}");
        assert!(matches!(node.listen(&endpoint).await, Err(Error::Unsupported { .. })));
        assert!(node.listen(&"tcp://127.0.0.1:0".parse().unwrap()).await.is_ok());
    });
}

#[test]
fn an_address_that_is_only_for_listening_is_not_dialed() {
    for_each_transport(async |net| {
        let (node, acceptor) = (net.node(), net.node());
        let listener = acceptor.listen(&net.endpoint("0.0.0.0:0")).await.unwrap();
        let port = listener.local_endpoint().port();
        for (host, says) in [
            (format!("0.0.0.0:{port}"), "dial one of them"),
            (format!("[::]:{port}"), "dial one of them"),
            ("127.0.0.1:0".to_owned(), "port 0 is for listening"),
            (format!("[fe80::1]:{port}"), "dial another address"),
        ] {
            let error = node.dial(&net.endpoint(&host)).await.unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{host}: {error:?}");
            assert!(error.to_string().contains(says), "{host}: {error}");
        }
    });
}

#[cfg(not(feature = "quic"))]
#[test]
fn a_build_without_quic_says_so() {
    for_each(&[Transport::Tcp], async |net| {
        let error = net.node().dial(&"quic://127.0.0.1:1".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("built without quic"), "{error}");
    });
}
