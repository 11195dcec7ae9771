//! Messages and streams between two pools.

#![cfg(any(feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "what a test runs beside the pools is tokio's")]

mod common;

use bytes::Bytes;
use common::{Pair, config, everywhere};
use p2p_identity::{Error, Version};
use p2p_peer_pool::{Direction, Limits, PoolConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_in_order_in_both_directions() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        for (from, to) in [(&pair.a_conn, &pair.b_conn), (&pair.b_conn, &pair.a_conn)] {
            let sending = async {
                for n in 0..1000u32 {
                    from.send_msg(&n).await.unwrap();
                }
                from.flush().await.unwrap();
            };
            let receiving = async {
                for n in 0..1000u32 {
                    assert_eq!(to.recv_msg::<u32>().await.unwrap(), n);
                }
            };
            tokio::join!(sending, receiving);
        }
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_the_limit_and_beyond_it_all_goes_on() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        let limit = pair.a.pool.config().limits.message;
        let error = pair.a_conn.send(vec![0; limit + 1]).await.unwrap_err();
        assert!(matches!(error, Error::MessageTooLarge { len, max } if len == limit + 1 && max == limit), "{error}");
        let message = Bytes::from(vec![7; limit]);
        let (sent, received) = tokio::join!(pair.a_conn.send(message.clone()), pair.b_conn.recv());
        sent.unwrap();
        assert_eq!(received.unwrap(), message);
        pair.a_conn.send(Bytes::new()).await.unwrap();
        assert!(pair.b_conn.recv().await.unwrap().is_empty());
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_knows_both_ends() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        assert_eq!((pair.a_conn.peer_id(), pair.b_conn.peer_id()), (pair.b.id(), pair.a.id()));
        assert_eq!((pair.a_conn.direction(), pair.b_conn.direction()), (Direction::Outbound, Direction::Inbound));
        assert_eq!(pair.a_conn.remote_endpoint(), &pair.b.endpoint);
        assert_eq!(pair.a_conn.remote_version(), &"0.1.0".parse::<Version>().unwrap());
        assert_eq!(pair.a.pool.outbound_peers().keys().collect::<Vec<_>>(), [&pair.b.id()]);
        assert_eq!(pair.b.pool.inbound_peers().keys().collect::<Vec<_>>(), [&pair.a.id()]);
        assert_eq!(pair.a.pool.peer(&pair.b.id()).unwrap().connection_id, pair.a_conn.connection_id());
        // The first ping comes soon.
        while pair.a_conn.rtt().is_none() {
            // Real time: it is only looked at again.
            runtime.sleep(std::time::Duration::from_millis(5)).await;
        }
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_streams_go_both_ways_beside_messages() {
    everywhere(|runtime, transport| async move {
        let pair = Pair::new(&runtime, transport).await;
        for (from, to) in [(&pair.a_conn, &pair.b_conn), (&pair.b_conn, &pair.a_conn)] {
            let mut opened = from.open_stream().await.unwrap();
            let mut accepted = to.accept_stream().await.unwrap();
            let data: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
            let sending = async {
                opened.write_all(&data).await.unwrap();
                opened.shutdown().await.unwrap();
                let mut back = Vec::new();
                opened.read_to_end(&mut back).await.unwrap();
                assert_eq!(back, b"thanks");
            };
            let receiving = async {
                let mut got = Vec::new();
                accepted.read_to_end(&mut got).await.unwrap();
                assert!(got == data);
                accepted.write_all(b"thanks").await.unwrap();
                accepted.shutdown().await.unwrap();
            };
            tokio::join!(sending, receiving);
            from.send(&b"still here"[..]).await.unwrap();
            assert_eq!(to.recv().await.unwrap(), &b"still here"[..]);
        }
        pair.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_accepts_are_refused_beyond_a_bound() {
    everywhere(|runtime, transport| async move {
        let bound = 16;
        let limits = Limits { waiting_streams: bound, ..Limits::default() };
        let pair = Pair::with(&runtime, transport, config(), PoolConfig { limits, ..config() }).await;
        let mut streams = Vec::new();
        for _ in 0..bound + 1 {
            streams.push(pair.a_conn.open_stream().await.unwrap());
        }
        // Which one finds the queue full is the transport's business, but one of them is told.
        let reads = streams.into_iter().map(|mut stream| {
            Box::pin(async move {
                let end = stream.read(&mut [0]).await;
                drop(stream);
                end
            })
        });
        let (end, ..) = futures_util::future::select_all(reads).await;
        assert!(end.is_err());
        for _ in 0..bound {
            pair.b_conn.accept_stream().await.unwrap();
        }
        pair.shutdown().await;
    })
    .await;
}
