//! Host names, with one address or many.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use p2p_core::Runtime;
use p2p_core::runtime::BoxFuture;
use p2p_net::{DialError, Endpoint, Error, Transports};

use crate::common::{Net, echo, for_each_transport, stream};

#[test]
fn localhost_can_be_listened_at_and_dialed() {
    for_each_transport(async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = acceptor.listen(&net.endpoint("localhost:0")).await.unwrap();
        let name = net.endpoint("localhost:0").with_port(listener.local_endpoint().port());
        let addresses = dialer.resolve(&name).await.unwrap();
        assert!(addresses.contains(&listener.local_endpoint()), "{addresses:?}");
        let there = listener.local_endpoint();
        let (a, b) = tokio::join!(dialer.dial(&there), async { listener.accept().await?.accept().await });
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(*a.remote_endpoint(), listener.local_endpoint());
        let (mut near, mut far) = stream(&a, &b).await;
        echo(&mut near, &mut far, b"hello").await;
    });
}

/// Which of its addresses leads to the right node only shows above.
#[test]
fn a_name_is_not_dialed_but_its_addresses() {
    for_each_transport(async |net| {
        let dialer = with_names(&net, vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]);
        let peer_id = (1..).find_map(|n| p2p_core::PeerId::from_bytes([n; 32]).ok()).unwrap();
        let name: Endpoint = net.endpoint("many.test:9000").with_peer_id(peer_id);
        let error = dialer.dial(&name).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        let expected = ["[::1]:9000", "127.0.0.1:9000"].map(|at| net.endpoint(at).with_peer_id(peer_id));
        assert_eq!(dialer.resolve(&name).await.unwrap(), expected);
        assert_eq!(dialer.resolve(&expected[1]).await.unwrap(), expected[1..], "an address is its own");
    });
}

#[test]
fn a_name_without_an_address_is_an_error() {
    for_each_transport(async |net| {
        let (dialer, name) = (with_names(&net, Vec::new()), net.endpoint("none.test:9000"));
        let error = dialer.resolve(&name).await.unwrap_err();
        assert!(matches!(error, Error::Dial { reason: DialError::Resolve(_), .. }), "{error:?}");
    });
}

fn with_names(net: &Net, addresses: Vec<IpAddr>) -> Transports {
    let runtime = Arc::new(Names { runtime: net.runtime.clone(), addresses });
    Transports::new(runtime, net.config.clone())
}

/// A runtime for which every name has the same addresses.
#[derive(Debug)]
struct Names {
    runtime: Arc<dyn Runtime>,
    addresses: Vec<IpAddr>,
}

impl Runtime for Names {
    p2p_core::forward_runtime!(runtime: spawn, now, system_time, timer, fill_random, tcp_connect);
    p2p_core::forward_runtime!(runtime: tcp_listen, udp_bind, udp_connect, files);

    fn resolve(&self, _: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        let addresses = self.addresses.clone();
        Box::pin(async move { Ok(addresses) })
    }
}
