//! What one stream promises, in whatever order its calls come.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use p2p_net::{Error, NetConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{Pair, settle, within};

#[tokio::test]
async fn a_stream_that_was_finished_after_the_remote_stopped_it_gives_its_slot_back() {
    let mut config = NetConfig::default();
    config.max_inbound_streams = 1;
    let pair = Pair::new(64 << 10, &config);
    for round in 0..3 {
        let (near, far) = pair.stream().await;
        drop(near);
        settle().await;
        let (recv, mut send) = far.into_split();
        assert!(matches!(send.finish().await, Err(Error::Stopped(0))), "round {round}");
        drop((recv, send));
        settle().await;
    }
}

#[tokio::test]
async fn bytes_stay_in_order_when_the_priority_rises_between_them() {
    let pair = Pair::new(64 << 10, &NetConfig::default());
    let (near, mut far) = pair.stream().await;
    settle().await;
    let (_recv, mut send) = near.into_split();
    let mut write = |priority, bytes: &'static [u8]| {
        send.set_priority(priority);
        let mut chunks = [Bytes::from_static(bytes)];
        let taken = send.poll_write_chunks(&mut Context::from_waker(Waker::noop()), &mut chunks);
        assert!(matches!(taken, Poll::Ready(Ok(len)) if len == bytes.len()));
    };
    write(0, b"one ");
    write(1, b"two ");
    write(0, b"three ");
    write(1, b"four");
    send.shutdown().await.unwrap();
    let mut text = String::new();
    within(far.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "one two three four");
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    let pair = Pair::new(64 << 10, &NetConfig::default());
    let (near, far) = pair.stream().await;
    near.reset(5);
    let (mut recv, send) = far.into_split();
    drop(send);
    for _ in 0..2 {
        assert!(matches!(within(recv.read_chunk()).await, Err(Error::Reset(5))));
    }
}

#[tokio::test]
async fn writing_nothing_waits_for_nothing() {
    let pair = Pair::new(64 << 10, &NetConfig::default());
    let (near, _far) = pair.stream().await;
    let (_recv, mut send) = near.into_split();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(send.poll_write_chunks(cx, &mut []), Poll::Ready(Ok(0))));
}
