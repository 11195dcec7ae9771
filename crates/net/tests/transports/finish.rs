//! Waiting until the remote has read a stream to its end.

use std::task::Poll;

use p2p_net::{CloseReason, Error, MessageReceiver, MessageSender, NetConfig, SendLimits, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{Pair, echo, for_each_transport, stream};

/// Polls once.
async fn is_finished(send: &mut SendStream) -> Option<Result<(), Error>> {
    let mut finish = std::pin::pin!(send.finish());
    std::future::poll_fn(|cx| match finish.as_mut().poll(cx) {
        Poll::Ready(finished) => Poll::Ready(Some(finished)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn it_ends_when_the_remote_has_read_to_the_end() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, far) = stream(&pair.a, &pair.b).await;
        let ((_recv, mut send), (mut reads, mut writes)) = (near.into_split(), far.into_split());
        send.write_all(b"all").await.unwrap();
        send.shutdown().await.unwrap();
        let mut all = [0; 3];
        reads.read_exact(&mut all).await.unwrap();
        // A round trip, on which a receipt would have come.
        writes.write_u8(1).await.unwrap();
        let mut recv = _recv;
        recv.read_u8().await.unwrap();
        assert!(is_finished(&mut send).await.is_none(), "the end was not read");
        assert_eq!(reads.read(&mut all).await.unwrap(), 0);
        send.finish().await.unwrap();
        // The same again.
        send.finish().await.unwrap();
        pair.a.delivered().await;
    });
}

#[test]
fn both_directions_and_many_streams_are_told_apart() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let mut streams = Vec::new();
        for n in 0..20 {
            let (opener, other) = if n % 2 == 0 { (&pair.a, &pair.b) } else { (&pair.b, &pair.a) };
            streams.push(stream(opener, other).await);
        }
        for (n, (mut near, mut far)) in streams.into_iter().enumerate() {
            near.write_all(&vec![1; n * 1000]).await.unwrap();
            far.write_all(&vec![2; n * 1000]).await.unwrap();
            let ((mut near_recv, mut near_send), (mut far_recv, mut far_send)) = (near.into_split(), far.into_split());
            let (mut there, mut back) = (Vec::new(), Vec::new());
            let (sent, answered, ..) = tokio::join!(
                near_send.finish(),
                far_send.finish(),
                near_recv.read_to_end(&mut back),
                far_recv.read_to_end(&mut there)
            );
            sent.unwrap();
            answered.unwrap();
            assert_eq!((there.len(), back.len()), (n * 1000, n * 1000));
        }
    });
}

#[test]
fn who_drops_what_arrived_is_told_of() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        for code in [None, Some(9)] {
            for len in [1, 30_000] {
                let (near, far) = stream(&pair.a, &pair.b).await;
                let (mut send, mut reads) = (near.into_split().1, far.into_split().0);
                send.write_all(&vec![0; len]).await.unwrap();
                send.end().unwrap();
                // Something of it has come, and on the whole the end too.
                let mut first = [0];
                if len > 1 {
                    reads.read_exact(&mut first).await.unwrap();
                }
                match code {
                    None => drop(reads),
                    Some(code) => reads.stop(code),
                }
                let told = send.finish().await;
                assert!(matches!(told, Err(Error::Stopped(told)) if told == code.unwrap_or(0)), "{told:?}");
            }
        }
        pair.a.delivered().await;
    });
}

#[test]
fn a_connection_that_ends_is_an_error() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, _far) = stream(&pair.a, &pair.b).await;
        let mut send = near.into_split().1;
        send.end().unwrap();
        let (finished, ()) = tokio::join!(send.finish(), async { pair.b.close(7, "enough") });
        let reason = CloseReason::Remote { code: 7, reason: "enough".into() };
        assert!(matches!(finished, Err(Error::Closed(was)) if was == reason));
        pair.a.delivered().await;
        let (near, _far) = (pair.a.open_stream().await, ());
        assert!(near.is_err());
    });
}

#[test]
fn streams_are_delivered_although_their_handles_are_gone() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let mut there = Vec::new();
        for _ in 0..10 {
            let (mut near, far) = stream(&pair.a, &pair.b).await;
            near.write_all(&[5; 10_000]).await.unwrap();
            near.shutdown().await.unwrap();
            there.push(far);
        }
        {
            let mut delivered = std::pin::pin!(pair.a.delivered());
            let pending = std::future::poll_fn(|cx| Poll::Ready(delivered.as_mut().poll(cx).is_pending())).await;
            assert!(pending, "nothing was read");
        }
        let reading = async {
            for far in &mut there {
                let mut all = Vec::new();
                far.read_to_end(&mut all).await.unwrap();
                assert_eq!(all.len(), 10_000);
            }
        };
        tokio::join!(pair.a.delivered(), reading);
    });
}

#[test]
fn messages_are_read_when_the_receiver_has_come_to_their_end() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let budget = NetConfig::default().budget;
        for (taken, whole) in [(2, true), (1, false)] {
            let (near, far) = stream(&pair.a, &pair.b).await;
            let receiver = MessageReceiver::new(far.into_split().0, 100, &budget);
            let mut send = near.into_split().1;
            // Two messages of one byte each, in one piece.
            send.write_all(&[1, b'a', 1, b'b']).await.unwrap();
            send.end().unwrap();
            for _ in 0..taken {
                receiver.recv().await.unwrap().unwrap();
            }
            if whole {
                assert!(receiver.recv().await.unwrap().is_none());
            }
            drop(receiver);
            let told = send.finish().await;
            assert!(if whole { told.is_ok() } else { matches!(told, Err(Error::Stopped(0))) }, "{told:?}");
        }
        // Nobody waits for what a message sender has ended.
        let (near, _far) = stream(&pair.a, &pair.b).await;
        let limits = SendLimits { max_message: 100, queue_messages: 10, queue_bytes: 1000 };
        let sender = MessageSender::new(near.into_split().1, limits, &budget);
        sender.finish();
        pair.a.delivered().await;
    });
}

#[test]
fn a_remote_that_has_stopped_with_0_is_no_error_for_shutdown() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, far) = stream(&pair.a, &pair.b).await;
        let mut send = near.into_split().1;
        drop(far.into_split().0);
        while send.write_all_bytes(vec![0; 1000].into()).await.is_ok() {
            tokio::task::yield_now().await;
        }
        send.shutdown().await.unwrap();
        assert!(matches!(send.finish().await, Err(Error::Stopped(0))));
        pair.a.delivered().await;
    });
}

/// Finishes a stream, with which a side may begin to look at receipts.
async fn finish_one(pair: &Pair) {
    let (mut near, mut far) = stream(&pair.a, &pair.b).await;
    let mut rest = Vec::new();
    let (told, read) = tokio::join!(near.finish(), far.read_to_end(&mut rest));
    told.unwrap();
    read.unwrap();
}

#[test]
fn who_was_told_of_a_code_is_told_again() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        finish_one(&pair).await;
        let (near, far) = stream(&pair.a, &pair.b).await;
        let mut send = near.into_split().1;
        far.into_split().0.stop(7);
        // What was said before has come with it.
        finish_one(&pair).await;
        for _ in 0..3 {
            let told = send.finish().await;
            assert!(matches!(told, Err(Error::Stopped(7))), "{told:?}");
        }
        pair.a.delivered().await;
    });
}

#[test]
fn a_thousand_streams_that_were_given_up_hide_no_later_one() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        finish_one(&pair).await;
        for _ in 0..1_100 {
            // Its opener reads nothing, and its acceptor says nothing.
            let (near, far) = stream(&pair.b, &pair.a).await;
            drop(near.into_split().0);
            drop(far);
        }
        let (near, far) = stream(&pair.a, &pair.b).await;
        let mut send = near.into_split().1;
        drop(far.into_split().0);
        while send.write_all_bytes(vec![0; 1000].into()).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let told = send.finish().await;
        assert!(matches!(told, Err(Error::Stopped(0))), "{told:?}");
        pair.a.delivered().await;
    });
}

#[test]
fn a_side_that_finishes_nothing_takes_receipts_without_end() {
    for_each_transport(async |mut net| {
        // Little room, so that what nobody takes shows soon.
        (net.config.stream_window, net.config.connection_window) = (4 << 10, 0);
        net.config.max_inbound_streams = 16;
        let pair = net.pair().await;
        for _ in 0..16_000 {
            // Its opener drops the sending half unfinished, its acceptor reads nothing.
            let mut near = pair.a.open_stream().await.unwrap();
            near.write_all(b"!").await.unwrap();
            drop(pair.b.accept_stream().await.unwrap());
        }
        let (mut near, mut far) = stream(&pair.a, &pair.b).await;
        echo(&mut near, &mut far, b"still there").await;
    });
}

#[test]
fn what_was_ended_is_not_taken_back() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, mut far) = stream(&pair.a, &pair.b).await;
        let mut send = near.into_split().1;
        send.write_all(&[5; 50_000]).await.unwrap();
        assert!(is_finished(&mut send).await.is_none());
        // Whoever waited has lost patience.
        send.reset(9);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 50_000);
        pair.a.delivered().await;
    });
}
