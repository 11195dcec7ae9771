//! How a connection ends, and what both sides learn of it.

use p2p_net::{CloseReason, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{for_each_transport, stream};

fn remote(code: u32, reason: &str) -> CloseReason {
    CloseReason::Remote { code, reason: reason.into() }
}

#[test]
fn code_and_reason_reach_everybody_who_waits() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (mut near, mut far) = stream(&pair.a, &pair.b).await;
        let b = [pair.b.clone(), pair.b.clone()];
        let waiting = async {
            let mut buf = [0; 8];
            let (first, second, accept, opened, read) = tokio::join!(
                b[0].closed(),
                b[1].closed(),
                b[0].accept_stream(),
                b[1].accept_stream(),
                far.read(&mut buf)
            );
            assert_eq!(first, remote(42, "bye"));
            assert_eq!(second, first);
            for result in [accept.map(drop), opened.map(drop)] {
                assert!(matches!(result, Err(Error::Closed(reason)) if reason == first));
            }
            assert!(read.is_err());
        };
        let closing = async {
            tokio::task::yield_now().await;
            pair.a.close(42, "bye");
        };
        tokio::join!(waiting, closing);
        assert_eq!(pair.b.close_reason(), Some(remote(42, "bye")));
        let CloseReason::Local { code: 42, reason } = pair.a.closed().await else { panic!("closed here") };
        assert_eq!(reason, "bye");
        assert!(near.write_all(b"late").await.is_err());
        assert!(matches!(pair.a.open_stream().await, Err(Error::Closed(_))));
    });
}

#[test]
fn the_first_close_counts() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        assert_eq!(pair.a.close_reason(), None);
        pair.a.close(1, "first");
        pair.a.close(2, "second");
        let reason = pair.a.close_reason().unwrap();
        assert!(matches!(&reason, CloseReason::Local { code: 1, .. }));
        assert_eq!(pair.b.closed().await, remote(1, "first"));
        pair.b.close(3, "third");
        assert_eq!(pair.b.close_reason(), Some(remote(1, "first")));
    });
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        pair.a.close(u32::MAX, &"ä".repeat(1000));
        assert_eq!(pair.b.closed().await, remote(u32::MAX, &"ä".repeat(128)));
    });
}

#[test]
fn what_had_arrived_before_the_close_can_still_be_read() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (mut near, mut far) = stream(&pair.a, &pair.b).await;
        near.write_all(b"last words").await.unwrap();
        near.shutdown().await.unwrap();
        let mut first = [0; 4];
        far.read_exact(&mut first).await.unwrap();
        let mut rest = String::new();
        // The end of the stream has arrived when it was read; the close comes after it.
        far.read_to_string(&mut rest).await.unwrap();
        pair.a.close(0, "");
        pair.b.closed().await;
        assert_eq!(rest, " words");
    });
}
