//! How a stream ends, and what the other side sees of it.

use p2p_net::{Error, RecvStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{for_each_transport, stream};

/// Reads until something other than data comes.
async fn end_of(recv: &mut RecvStream) -> Result<(), Error> {
    while recv.read_chunk().await?.is_some() {}
    Ok(())
}

#[test]
fn a_finished_half_leaves_the_other_open() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (mut near, mut far) = stream(&pair.a, &pair.b).await;
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut question = String::new();
        far.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");

        far.write_all(b"answer").await.unwrap();
        far.shutdown().await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        // The end stays the end.
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn a_finished_half_takes_no_more() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, _far) = stream(&pair.a, &pair.b).await;
        let (_recv, mut send) = near.into_split();
        send.end().unwrap();
        send.end().unwrap();
        assert!(matches!(send.write_all_bytes("late".into()).await, Err(Error::Finished)));
    });
}

#[test]
fn a_reset_shows_its_code_every_time() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, far) = stream(&pair.a, &pair.b).await;
        let (_near_recv, send) = near.into_split();
        let (mut recv, _far_send) = far.into_split();
        send.reset(7);
        assert!(matches!(end_of(&mut recv).await, Err(Error::Reset(7))));
        assert!(matches!(end_of(&mut recv).await, Err(Error::Reset(7))));
    });
}

#[test]
fn a_half_dropped_unfinished_is_a_reset_with_code_0() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, far) = stream(&pair.a, &pair.b).await;
        let (_near_recv, mut send) = near.into_split();
        let (mut recv, _far_send) = far.into_split();
        send.write_all(b"half a mess").await.unwrap();
        drop(send);
        assert!(matches!(end_of(&mut recv).await, Err(Error::Reset(0))));
    });
}

#[test]
fn a_half_dropped_finished_is_no_reset() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, mut far) = stream(&pair.a, &pair.b).await;
        let (_near_recv, mut send) = near.into_split();
        send.write_all(b"all").await.unwrap();
        send.end().unwrap();
        drop(send);
        let mut all = String::new();
        far.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "all");
    });
}

#[test]
fn a_reader_that_stops_tells_the_writer_its_code() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        for stop in [Some(9), None] {
            let (near, far) = stream(&pair.a, &pair.b).await;
            let (_near_recv, mut send) = near.into_split();
            let (recv, _far_send) = far.into_split();
            match stop {
                Some(code) => recv.stop(code),
                None => drop(recv),
            }
            let stopped = loop {
                if let Err(error) = send.write_all_bytes(vec![0; 1000].into()).await {
                    break error;
                }
                tokio::task::yield_now().await;
            };
            assert!(matches!(stopped, Error::Stopped(code) if code == stop.unwrap_or(0)), "{stopped:?}");
        }
    });
}

#[test]
fn a_stream_given_up_before_anything_was_written_is_reset() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        pair.a.open_stream().await.unwrap().reset(5);
        let (mut recv, _send) = pair.b.accept_stream().await.unwrap().into_split();
        assert!(matches!(end_of(&mut recv).await, Err(Error::Reset(5))));
    });
}
