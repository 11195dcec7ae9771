//! Streams carry bytes, in both directions, over IPv4 and IPv6.

use p2p_net::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{echo, for_each_transport, stream};

#[test]
fn streams_opened_by_either_side_carry_bytes_both_ways() {
    for_each_transport(async |net| {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let pair = net.pair_at(host).await;
            let (mut near, mut far) = stream(&pair.a, &pair.b).await;
            echo(&mut near, &mut far, b"hello").await;
            let (mut near, mut far) = stream(&pair.b, &pair.a).await;
            echo(&mut near, &mut far, b"hello").await;
        }
    });
}

#[test]
fn both_sides_know_each_other() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        assert_eq!(*pair.a.remote_endpoint(), pair.listener.local_endpoint());
        assert_eq!(pair.b.local_addr(), pair.listener.local_endpoint().socket_addr().unwrap());
        assert_eq!(pair.b.remote_endpoint().port(), pair.a.local_addr().port());
        for end in [&pair.a, &pair.b] {
            let certificates = end.peer_certificates().map_or(0, <[_]>::len);
            assert_eq!(certificates, usize::from(net.transport.is_secure()));
            assert_eq!(end.rtt().is_some(), net.transport == Transport::Quic);
        }
    });
}

#[test]
fn the_remote_accepts_a_stream_with_its_first_byte() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let mut opened = pair.a.open_stream().await.unwrap();
        opened.write_all(b"h").await.unwrap();
        let mut accepted = pair.b.accept_stream().await.unwrap();
        assert_eq!(accepted.read_u8().await.unwrap(), b'h');
    });
}

#[test]
fn a_stream_larger_than_every_window_arrives_whole() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, far) = stream(&pair.a, &pair.b).await;
        let before = pair.b.bytes_received();
        let sent: Vec<u8> = (0..40 << 20).map(|n: u32| (n ^ (n >> 11)) as u8).collect();
        let expected = sent.clone();
        let (_near_recv, mut send) = near.into_split();
        let (mut recv, _far_send) = far.into_split();
        let writing = async {
            send.write_all(&sent).await.unwrap();
            send.shutdown().await.unwrap();
        };
        let reading = async {
            let mut received = Vec::new();
            recv.read_to_end(&mut received).await.unwrap();
            received
        };
        let ((), received) = tokio::join!(writing, reading);
        assert!(received == expected);
        assert!(pair.b.bytes_received() - before >= expected.len() as u64);
    });
}

#[test]
fn many_streams_at_once_do_not_mix() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let mut streams = Vec::new();
        for _ in 0..100 {
            streams.push(stream(&pair.a, &pair.b).await);
        }
        for (number, (near, _)) in streams.iter_mut().enumerate() {
            near.write_all(&[number as u8; 1000]).await.unwrap();
        }
        for (number, (_, far)) in streams.iter_mut().enumerate() {
            let mut buf = [0; 1000];
            far.read_exact(&mut buf).await.unwrap();
            assert_eq!(buf, [number as u8; 1000]);
        }
    });
}
