//! Host names, with one address or many.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use p2p_core::Runtime;
use p2p_core::runtime::BoxFuture;
use p2p_net::{Endpoint, Transports};

use crate::common::{Net, echo, for_each_transport, stream};

#[test]
fn localhost_can_be_listened_at_and_dialed() {
    for_each_transport(async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = acceptor.listen(&net.endpoint("localhost:0")).await.unwrap();
        let endpoint = net.endpoint("localhost:0").with_port(listener.local_endpoint().port());
        let (a, b) = tokio::join!(dialer.dial(&endpoint), async { listener.accept().await?.accept().await });
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(*a.remote_endpoint(), listener.local_endpoint());
        let (mut near, mut far) = stream(&a, &b).await;
        echo(&mut near, &mut far, b"hello").await;
    });
}

/// The name's first address, by RFC 8305, is one where nobody answers: a refusal over tcp and tls, silence over quic.
#[test]
fn a_dead_address_of_a_name_does_not_matter() {
    for_each_transport(async |net| {
        let acceptor = net.node();
        let listener = net.listen(&acceptor).await;
        let dialer = with_names(&net, vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]);
        let name = net.endpoint("many.test:0").with_port(listener.local_endpoint().port());
        let (a, b) = tokio::join!(dialer.dial(&name), async { listener.accept().await?.accept().await });
        assert_eq!(*a.unwrap().remote_endpoint(), listener.local_endpoint());
        b.unwrap();
    });
}

/// The first address accepts and says nothing.
#[test]
fn a_silent_address_of_a_name_does_not_matter() {
    for_each_transport(async |net| {
        let acceptor = net.node();
        let (listener, _silent) = loop {
            let listener = net.listen(&acceptor).await;
            let v6 = SocketAddr::new("::1".parse().unwrap(), listener.local_endpoint().port());
            // The same port of the other family may be somebody else's.
            let Ok(tcp) = net.runtime.tcp_listen(v6) else { continue };
            let Ok(udp) = net.runtime.udp_bind(v6) else { continue };
            break (listener, (tcp, udp));
        };
        if !net.transport.is_secure() {
            // Plain tcp is connected as soon as the system has accepted.
            return;
        }
        let dialer = with_names(&net, vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
        let name = net.endpoint("many.test:0").with_port(listener.local_endpoint().port());
        let (a, b) = tokio::join!(dialer.dial(&name), async { listener.accept().await?.accept().await });
        assert_eq!(*a.unwrap().remote_endpoint(), listener.local_endpoint());
        b.unwrap();
    });
}

#[test]
fn the_peer_id_of_a_name_is_kept() {
    for_each_transport(async |net| {
        let acceptor = net.node();
        let listener = net.listen(&acceptor).await;
        let peer_id = (1..).find_map(|n| p2p_core::PeerId::from_bytes([n; 32]).ok()).unwrap();
        let dialer = with_names(&net, vec!["127.0.0.1".parse().unwrap()]);
        let name: Endpoint =
            net.endpoint("one.test:0").with_port(listener.local_endpoint().port()).with_peer_id(peer_id);
        let (a, _b) = tokio::join!(dialer.dial(&name), async { listener.accept().await?.accept().await });
        assert_eq!(a.unwrap().remote_endpoint().peer_id(), Some(peer_id));
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
