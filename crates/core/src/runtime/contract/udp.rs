use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::{free, within, without_ipv6};
use crate::runtime::{Datagrams, RecvMeta, Runtime, UdpSocket};

/// Datagrams arrive whole, one by one and in batches, with their sender's address; a socket tells where it is bound; IPv6
/// is IPv6 only.
pub async fn udp(runtime: &Arc<dyn Runtime>) {
    round_trips(runtime, Ipv4Addr::LOCALHOST.into()).await;
    match runtime.udp_bind(free(Ipv6Addr::LOCALHOST)) {
        Err(error) if without_ipv6(&error) => {}
        bound => {
            drop(bound.expect("a free IPv6 port can be bound"));
            round_trips(runtime, Ipv6Addr::LOCALHOST.into()).await;
            v6_only(runtime);
        }
    }
}

/// A socket that is connected knows which address its route uses, hears its remote alone, and is told when nobody has the
/// remote's port; a socket that is not connected goes on whatever becomes of what it sends.
pub async fn udp_connected(runtime: &Arc<dyn Runtime>) {
    let bind = || runtime.udp_bind(free(Ipv4Addr::LOCALHOST)).expect("a free port can be bound");
    let (there, stranger) = (bind(), bind());
    let here = runtime.udp_connect(there.local_addr()).expect("a remote on loopback has a route");
    assert_eq!(here.local_addr().ip(), Ipv4Addr::LOCALHOST, "what is sent to loopback comes from there");
    here.try_send(b"hello").expect("loopback takes datagrams");
    assert_eq!(receive(runtime, &there, 1).await, [(here.local_addr(), b"hello".to_vec())]);
    send(runtime, &stranger, here.local_addr(), b"psst", None).await;
    send(runtime, &there, here.local_addr(), b"answer", None).await;
    let mut buf = [0; 64];
    let len = within(runtime, "an answer arrives", poll_fn(|cx| here.poll_recv(cx, &mut buf))).await;
    assert_eq!(&buf[..len.expect("the socket works")], b"answer", "a stranger is not heard");

    let gone = there.local_addr();
    drop(there);
    here.try_send(b"hello?").expect("the first datagram is sent");
    let refused = within(runtime, "a refusal is told", poll_fn(|cx| here.poll_recv(cx, &mut buf))).await;
    let kind = refused.expect_err("nobody is there").kind();
    assert!(matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset), "{kind:?}");
    send(runtime, &stranger, gone, b"hello?", None).await;
    let other = bind();
    send(runtime, &stranger, other.local_addr(), b"hello", None).await;
    assert_eq!(receive(runtime, &other, 1).await, [(stranger.local_addr(), b"hello".to_vec())]);
}

async fn round_trips(runtime: &Arc<dyn Runtime>, ip: IpAddr) {
    let bind = || runtime.udp_bind(free(ip)).expect("a free port can be bound");
    let (here, there) = (bind(), bind());
    assert_eq!(there.local_addr().ip(), ip);
    assert_ne!(there.local_addr().port(), 0, "the port that was chosen is told");
    let in_use = runtime.udp_bind(there.local_addr()).expect_err("a port is bound once");
    assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
    assert!(here.max_send_segments() >= 1 && here.max_recv_segments() >= 1);

    // There and back, the largest that fits an IPv6 packet everywhere and the smallest.
    for len in [1, 1232, 0] {
        let payload = vec![7; len];
        send(runtime, &here, there.local_addr(), &payload, None).await;
        assert_eq!(receive(runtime, &there, 1).await, [(here.local_addr(), payload.clone())]);
        send(runtime, &there, here.local_addr(), &payload, None).await;
        assert_eq!(receive(runtime, &here, 1).await, [(there.local_addr(), payload)]);
    }

    // As many segments as one call takes, the last one shorter.
    let segments = here.max_send_segments().min(16);
    let contents: Vec<u8> = (0..segments as u8)
        .flat_map(|n| vec![n; if n == 0 { 1200 } else { 1200 - usize::from(n == segments as u8 - 1) }])
        .collect();
    send(runtime, &here, there.local_addr(), &contents, Some(1200)).await;
    let received = receive(runtime, &there, segments).await;
    let expected: Vec<_> = contents.chunks(1200).map(|datagram| (here.local_addr(), datagram.to_vec())).collect();
    assert_eq!(received, expected, "a batch arrives as the datagrams it was made of");
}

fn v6_only(runtime: &Arc<dyn Runtime>) {
    // Another process may take the IPv4 port in between: then it is tried with another.
    let free_for_v4 = |_| {
        let v6 = runtime.udp_bind(free(Ipv6Addr::UNSPECIFIED)).expect("a free IPv6 port can be bound");
        runtime.udp_bind((Ipv4Addr::UNSPECIFIED, v6.local_addr().port()).into()).is_ok()
    };
    assert!((0..10).any(free_for_v4), "an IPv6 socket leaves the same IPv4 port to others");
}

async fn send(
    runtime: &Arc<dyn Runtime>,
    socket: &Arc<dyn UdpSocket>,
    destination: SocketAddr,
    contents: &[u8],
    segment_size: Option<usize>,
) {
    let datagrams = Datagrams { destination, ecn: None, contents, segment_size, src_ip: None };
    let sending = async {
        loop {
            match socket.try_send(&datagrams) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.clone().writable().await?,
                sent => return sent,
            }
        }
    };
    within(runtime, "a datagram can be sent", sending).await.expect("loopback takes datagrams");
}

/// The next `count` datagrams and who sent them.
async fn receive(runtime: &Arc<dyn Runtime>, socket: &Arc<dyn UdpSocket>, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut received = Vec::new();
    while received.len() < count {
        let mut storage = [vec![0; 64 << 10], vec![0; 64 << 10]];
        let mut metas = [RecvMeta::default(); 2];
        let filled = {
            let mut bufs = storage.each_mut().map(|buf| IoSliceMut::new(buf));
            let receiving = poll_fn(|cx| socket.poll_recv(cx, &mut bufs, &mut metas));
            within(runtime, "a datagram arrives on loopback", receiving).await.expect("the socket works")
        };
        assert!((1..=2).contains(&filled), "as many buffers are filled as there are");
        for (buf, meta) in storage.iter().zip(&metas[..filled]) {
            if meta.len == 0 {
                received.push((meta.addr, Vec::new()));
            }
            assert!(meta.len == 0 || meta.stride > 0, "a stride is told with what was received");
            received.extend(buf[..meta.len].chunks(meta.stride.max(1)).map(|datagram| (meta.addr, datagram.to_vec())));
        }
    }
    received
}
