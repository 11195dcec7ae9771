//! A stream that nobody reads stops its own writer and no other.

use bytes::Bytes;

use crate::common::{echo, fill, for_each_transport, stream};

#[test]
fn stalled_streams_leave_the_others_alone() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (mut near, mut far) = stream(&pair.a, &pair.b).await;
        let mut stalled = Vec::new();
        for _ in 0..8 {
            let (near, far) = stream(&pair.a, &pair.b).await;
            let (recv, mut send) = near.into_split();
            fill(&mut send).await;
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
            send.end().unwrap();
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
