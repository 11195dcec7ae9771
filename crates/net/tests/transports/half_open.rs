//! QUIC dialers that send their first datagram and are never heard of again.

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;

use p2p_core::runtime::{Datagrams, RecvMeta, UdpSocket};
use p2p_net::{Endpoint, Transport};

use crate::common::{Net, connect, echo, for_each, stream};

/// Handshakes under way above which dialers have to prove their address.
const VALIDATE_ABOVE: usize = 128;

/// The first datagrams of `count` dials to a socket where nobody answers.
async fn first_datagrams(net: &Net, socket: &Arc<dyn UdpSocket>, count: usize) -> Vec<Vec<u8>> {
    let nowhere = Endpoint::from_socket_addr(Transport::Quic, socket.local_addr());
    let node = net.node();
    for _ in 0..count {
        let (node, nowhere) = (node.clone(), nowhere.clone());
        net.spawn(async move {
            let _ = node.dial(&nowhere).await;
        });
    }
    let mut datagrams = Vec::new();
    let mut buf = vec![0; 1 << 16];
    while datagrams.len() < count {
        let mut metas = [RecvMeta::default()];
        poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut metas)).await.unwrap();
        // What is shorter is of somebody else, who had the port before.
        for datagram in buf[..metas[0].len].chunks(metas[0].stride).filter(|datagram| datagram.len() >= 1200) {
            // A dialer that hears nothing repeats itself, with another packet number but to the same connection id.
            let connection_id = |datagram: &[u8]| datagram[6..14].to_vec();
            if !datagrams.iter().any(|known: &Vec<u8>| connection_id(known) == connection_id(datagram)) {
                datagrams.push(datagram.to_vec());
            }
        }
    }
    node.shutdown().await;
    datagrams
}

async fn send(socket: &Arc<dyn UdpSocket>, destination: SocketAddr, contents: &[u8]) {
    let datagrams = Datagrams { destination, ecn: None, contents, segment_size: None, src_ip: None };
    while socket.try_send(&datagrams).is_err() {
        socket.clone().writable().await.unwrap();
    }
}

#[test]
fn they_delay_nobody() {
    for_each(&[Transport::Quic], async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = net.listen(&acceptor).await;
        let addr = listener.local_endpoint().socket_addr().unwrap();
        let socket = net.runtime.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
        for datagram in first_datagrams(&net, &socket, VALIDATE_ABOVE + 50).await {
            send(&socket, addr, &datagram).await;
        }
        for _ in 0..VALIDATE_ABOVE {
            let incoming = listener.accept().await.unwrap();
            assert_eq!(incoming.remote_addr(), socket.local_addr());
            net.spawn(async move {
                let _ = incoming.accept().await;
            });
        }
        // From here on the others are asked to prove their address, which they do not, and so do not come through.
        let (a, b) = connect(&dialer, &listener).await;
        assert_eq!(b.remote_endpoint().port(), a.local_addr().port());
        let (mut near, mut far) = stream(&a, &b).await;
        echo(&mut near, &mut far, b"unharmed").await;
    });
}

#[test]
fn garbage_is_ignored() {
    for_each(&[Transport::Quic], async |net| {
        let pair = net.pair().await;
        let addr = pair.listener.local_endpoint().socket_addr().unwrap();
        let socket = net.runtime.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut garbage = [0; 1200];
        for length in 0..garbage.len() {
            net.runtime.fill_random(&mut garbage);
            send(&socket, addr, &garbage[..length]).await;
        }
        let (mut near, mut far) = stream(&pair.a, &pair.b).await;
        echo(&mut near, &mut far, b"unharmed").await;
        connect(&pair.dialer, &pair.listener).await;
    });
}
