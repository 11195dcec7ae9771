//! Typed messages on streams.

#![cfg(any(feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "what a test runs beside the pools is tokio's")]

mod common;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use common::{Pair, everywhere};
use p2p_identity::Error;
use p2p_peer_pool::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn streams(pair: &Pair) -> (Stream, Stream) {
    (pair.a_conn.open_stream().await.unwrap(), pair.b_conn.accept_stream().await.unwrap())
}

/// Polls a future once and drops it, as a `select!` whose other branch is ready does.
fn look_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_asked_and_answered_on_a_stream_with_bytes_after_it() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        let (mut near, mut far) = streams(&pair).await;
        let content = vec![7_u8; 300_000];
        let serving = async {
            let (name, from): (String, u64) = far.recv_msg().await.unwrap();
            assert_eq!((name.as_str(), from), ("file", 5));
            far.send_msg(&(content.len() as u64)).await.unwrap();
            far.write_all(&content).await.unwrap();
            far.send_msg("done").await.unwrap();
            assert!(matches!(far.recv_msg::<u8>().await, Err(Error::StreamEnded)));
            far.finish().await.unwrap();
        };
        let asking = async {
            near.send_msg(&("file", 5_u64)).await.unwrap();
            near.shutdown().await.unwrap();
            let len: u64 = near.recv_msg().await.unwrap();
            let mut got = vec![0; len as usize];
            near.read_exact(&mut got).await.unwrap();
            assert_eq!(got, content);
            assert_eq!(near.recv_msg::<String>().await.unwrap(), "done");
            for _ in 0..2 {
                assert!(matches!(near.recv_msg::<String>().await, Err(Error::StreamEnded)));
            }
        };
        tokio::join!(serving, asking);
        drop((near, far));
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_is_refused_on_both_sides() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        let max = pair.a.pool.config().limits.message;
        let (mut near, mut far) = streams(&pair).await;
        // The sender goes on.
        let error = near.send_msg(&vec![0_u8; max]).await.unwrap_err();
        assert!(matches!(error, Error::MessageTooLarge { len, max: m } if len > max && m == max), "{error}");
        let largest = vec![9_u8; max - 3];
        let sending = async { near.send_msg(&largest).await.unwrap() };
        let (received, ()) = tokio::join!(far.recv_msg::<Vec<u8>>(), sending);
        assert_eq!(received.unwrap(), largest);

        // A remote that claims 2^62 − 1 bytes, or one too many, costs nothing but its stream.
        for claim in [[0xff; 8], ((max as u64 + 1) | 0xc000_0000_0000_0000).to_be_bytes()] {
            let (mut near, mut far) = streams(&pair).await;
            near.write_all(&claim).await.unwrap();
            near.write_all(b"rest").await.unwrap();
            for _ in 0..2 {
                let error = far.recv_msg::<Vec<u8>>().await.unwrap_err();
                let refused = matches!(error, Error::MessageTooLarge { max: m, .. } if m == max);
                // The second claim has a shorter form.
                assert!(refused || matches!(error, Error::Net(p2p_net::Error::LengthEncoding)), "{error}");
            }
        }
        near.send_msg("still here").await.unwrap();
        assert_eq!(far.recv_msg::<String>().await.unwrap(), "still here");
        assert!(pair.a.pool.peer(&pair.b.id()).is_some());
        drop((near, far));
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_such_value_or_breaks_off_is_a_typed_error() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        let (mut near, mut far) = streams(&pair).await;
        near.send_msg(&300_u16).await.unwrap();
        near.send_msg(&7_u8).await.unwrap();
        assert!(matches!(far.recv_msg::<String>().await, Err(Error::Decode(_))));
        assert_eq!(far.recv_msg::<u8>().await.unwrap(), 7, "the next one is whole");
        near.write_all(&[5, 1, 2]).await.unwrap();
        near.shutdown().await.unwrap();
        for _ in 0..2 {
            assert!(matches!(far.recv_msg::<[u8; 5]>().await, Err(Error::Net(p2p_net::Error::Truncated))));
        }
        let (near, mut far) = streams(&pair).await;
        near.reset(9);
        assert!(matches!(far.recv_msg::<u8>().await, Err(Error::Net(p2p_net::Error::Reset(9)))));
        drop(far);
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_is_dropped_loses_nothing_for_messages_or_bytes() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        let (mut near, mut far) = streams(&pair).await;
        // Far more than a window: it arrives in pieces, and each call is dropped after one look.
        let large = vec![4_u8; 600_000];
        let receiving = async {
            loop {
                if let Poll::Ready(message) = look_once(far.recv_msg::<Vec<u8>>()) {
                    break message.unwrap();
                }
                tokio::task::yield_now().await;
            }
        };
        let (sent, received) = tokio::join!(near.send_msg(&large), receiving);
        sent.unwrap();
        assert_eq!(received, large);

        // A byte, and after it some of a message of 100 bytes.
        let framed = [&[0x40, 100][..], &[3; 100]].concat();
        near.write_all(&[&[8][..], &framed[..42]].concat()).await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), 8);
        assert!(look_once(far.recv_msg::<Vec<u8>>()).is_pending());
        near.write_all(&framed[42..]).await.unwrap();
        let mut bytes = [0; 102];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[..], framed);
        near.send_msg("and again").await.unwrap();
        assert_eq!(far.recv_msg::<String>().await.unwrap(), "and again");
        drop((near, far));
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_is_dropped_half_way_is_sent_whole_before_what_follows() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        for with_end in [false, true] {
            let (mut near, mut far) = streams(&pair).await;
            // More than windows and buffers hold while nobody reads.
            let large = vec![1_u8; pair.a.pool.config().limits.message - 3];
            let mut sent = 0;
            while look_once(near.send_msg(&large)).is_ready() {
                sent += 1;
                assert!(sent < 1000, "it is never full");
            }
            let sending = async {
                if with_end {
                    near.finish().await.unwrap();
                } else {
                    near.send_msg(&[2_u8][..]).await.unwrap();
                    near.shutdown().await.unwrap();
                }
            };
            let receiving = async {
                for _ in 0..=sent {
                    assert_eq!(far.recv_msg::<Vec<u8>>().await.unwrap(), large);
                }
                if !with_end {
                    assert_eq!(far.recv_msg::<Vec<u8>>().await.unwrap(), [2]);
                }
                assert!(matches!(far.recv_msg::<Vec<u8>>().await, Err(Error::StreamEnded)));
            };
            tokio::join!(sending, receiving);
        }
        pair.shutdown().await;
    })
    .await;
}
