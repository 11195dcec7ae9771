//! A stream that nobody reads stops its own writer and no other.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use p2p_net::SendStream;

use crate::common::{echo, for_each_transport, stream};

/// Writes until the stream takes no more and the last that was taken has had its time to be sent.
async fn fill(send: &mut SendStream) -> usize {
    let mut written = 0;
    let mut idle = 0;
    while idle < 1000 {
        let mut chunks = [Bytes::from_static(&[0; 1 << 16])];
        let taken = poll_fn(|cx| Poll::Ready(send.poll_write_chunks(cx, &mut chunks))).await;
        match taken {
            Poll::Ready(taken) => {
                written += taken.unwrap();
                idle = 0;
            }
            Poll::Pending => idle += 1,
        }
        tokio::task::yield_now().await;
    }
    written
}

#[test]
fn stalled_streams_leave_the_others_alone() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (mut near, mut far) = stream(&pair.a, &pair.b).await;
        let mut stalled = Vec::new();
        for _ in 0..8 {
            let (near, far) = stream(&pair.a, &pair.b).await;
            let (recv, mut send) = near.into_split();
            assert!(fill(&mut send).await > 0);
            stalled.push((recv, send, far));
        }
        echo(&mut near, &mut far, &[7; 50_000]).await;
    });
}

#[test]
fn one_write_larger_than_every_window_is_sent_as_room_comes() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, far) = stream(&pair.a, &pair.b).await;
        let (_near_recv, mut send) = near.into_split();
        let (mut recv, _far_send) = far.into_split();
        let large = Bytes::from(vec![7; 20 << 20]);
        let writing = async {
            send.write_all_bytes(large.clone()).await.unwrap();
            send.finish().unwrap();
        };
        let reading = async {
            let mut received = 0;
            while let Some(chunk) = recv.read_chunk().await.unwrap() {
                received += chunk.len();
            }
            received
        };
        let ((), received) = tokio::join!(writing, reading);
        assert_eq!(received, large.len());
    });
}
