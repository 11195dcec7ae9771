use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{accept, connected, free, within, without_ipv6};
use crate::runtime::{ByteStream, Runtime};

/// Listening, dialing and addresses: ports are chosen and told, both ends agree, bytes go both ways (vectored, too), a
/// port in use and a port nobody listens on are the errors they should be, IPv6 is IPv6 only.
pub async fn tcp(runtime: &Arc<dyn Runtime>) {
    let listener = runtime.tcp_listen(free(Ipv4Addr::LOCALHOST)).expect("a free port can be listened on");
    let addr = listener.local_addr();
    assert_ne!(addr.port(), 0, "the port that was chosen is told");
    let in_use = runtime.tcp_listen(addr).expect_err("a port is listened on once");
    assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);

    let mut dialed = within(runtime, "a connect ends", runtime.tcp_connect(addr)).await.expect("a listener is reached");
    let mut accepted = accept(runtime, &*listener).await;
    assert_eq!(dialed.peer_addr(), addr);
    assert_eq!(accepted.local_addr(), addr);
    assert_eq!(accepted.peer_addr(), dialed.local_addr(), "both ends know the same addresses");

    let mut answer = [0; 4];
    within(runtime, "bytes go both ways", async {
        dialed.write_all(b"ping").await?;
        accepted.read_exact(&mut answer).await?;
        let parts = [IoSlice::new(b"p"), IoSlice::new(b"on"), IoSlice::new(b"g")];
        let written = accepted.write_vectored(&parts).await?;
        accepted.write_all(&b"pong"[written..]).await?;
        accepted.flush().await?;
        dialed.read_exact(&mut answer).await
    })
    .await
    .expect("bytes go both ways");
    assert_eq!(&answer, b"pong");

    let small = runtime.tcp_connect_small(addr);
    let mut small = within(runtime, "a connect ends", small).await.expect("a listener is reached");
    let mut accepted = accept(runtime, &*listener).await;
    let whole = vec![7; 100_000];
    let mut read = vec![0; whole.len()];
    let (written, got) = within(runtime, "bytes go in small segments", async {
        futures_util::future::join(small.write_all(&whole), accepted.read_exact(&mut read)).await
    })
    .await;
    assert!(written.is_ok() && got.is_ok() && read == whole, "all of it arrives");

    drop(listener);
    let refused = within(runtime, "a refused connect ends", runtime.tcp_connect_small(addr)).await;
    assert_eq!(refused.expect_err("nobody listens").kind(), io::ErrorKind::ConnectionRefused);
    let refused = within(runtime, "a refused connect ends", runtime.tcp_connect(addr)).await;
    assert_eq!(refused.expect_err("nobody listens").kind(), io::ErrorKind::ConnectionRefused);
    v6_only(runtime).await;
}

async fn v6_only(runtime: &Arc<dyn Runtime>) {
    // Another process may take the IPv4 port in between: then it is tried with another.
    for _ in 0..10 {
        let v6 = match runtime.tcp_listen(free(Ipv6Addr::UNSPECIFIED)) {
            Err(error) if without_ipv6(&error) => return,
            v6 => v6.expect("a free IPv6 port can be listened on"),
        };
        let port = v6.local_addr().port();
        let Ok(v4) = runtime.tcp_listen((Ipv4Addr::UNSPECIFIED, port).into()) else { continue };
        let dialing = runtime.tcp_connect((Ipv4Addr::LOCALHOST, port).into());
        let dialed = within(runtime, "a connect ends", dialing).await.expect("a listener is reached");
        assert_eq!(accept(runtime, &*v4).await.peer_addr(), dialed.local_addr(), "IPv4 goes to the IPv4 listener");
        return;
    }
    panic!("an IPv6 listener leaves the same IPv4 port to others");
}

/// A shutdown ends one direction: the other side reads to the end and can still answer.
pub async fn tcp_half_close(runtime: &Arc<dyn Runtime>) {
    let (mut asking, mut answering) = connected(runtime).await;
    within(runtime, "a half-closed connection works", async {
        asking.write_all(b"question").await?;
        asking.shutdown().await?;
        let mut question = Vec::new();
        answering.read_to_end(&mut question).await?;
        assert_eq!(question, b"question", "all that was written before a shutdown is read");
        assert_eq!(answering.read(&mut [0; 8]).await?, 0, "the end is the end, however often it is read");
        answering.write_all(b"answer").await?;
        answering.shutdown().await?;
        let mut answer = Vec::new();
        asking.read_to_end(&mut answer).await?;
        assert_eq!(answer, b"answer", "a side that has shut down still reads");
        assert!(asking.write_all(b"more").await.is_err(), "nothing is written after a shutdown");
        io::Result::Ok(())
    })
    .await
    .expect("a half-closed connection works");
}

/// A writer waits when nobody reads, with a bounded number of bytes under way, and goes on once somebody does; what it
/// wrote arrives whole and in order.
pub async fn tcp_backpressure(runtime: &Arc<dyn Runtime>) {
    /// What a system may hold for one connection in both directions; Linux stays below 10 MiB.
    const UNDER_WAY: usize = 64 << 20;
    let (mut writer, mut reader) = connected(runtime).await;
    // 251 is prime, so bytes that were lost or swapped show.
    let chunk: Vec<u8> = (0..251u8).cycle().take(251 * 256).collect();
    let mut written = 0;
    let filling = async {
        loop {
            let rest = &chunk[written % chunk.len()..];
            let wrote = writer.write(rest).await.expect("a healthy connection takes bytes");
            written += wrote;
            assert!(written <= UNDER_WAY, "a writer waits when nobody reads");
        }
    };
    // Quiet for this long means full, on any machine that makes progress at all; were it not, the rest still holds.
    let quiet = std::time::Duration::from_millis(500);
    assert!(runtime.timeout(quiet, filling).await.is_err(), "a writer waits when nobody reads");

    let total = written + 4 * chunk.len();
    let writing = async {
        while written < total {
            let rest = &chunk[written % chunk.len()..];
            let rest = &rest[..rest.len().min(total - written)];
            written += writer.write(rest).await?;
        }
        writer.shutdown().await
    };
    let reading = async {
        let (mut read, mut buf) = (0, vec![0; 64 << 10]);
        loop {
            let len = reader.read(&mut buf).await?;
            if len == 0 {
                return io::Result::Ok(read);
            }
            let right = buf[..len].iter().zip(read..).all(|(&byte, at)| usize::from(byte) == at % 251);
            assert!(right, "bytes arrive in order");
            read += len;
        }
    };
    let both = futures_util::future::try_join(writing, reading);
    let ((), read) =
        within(runtime, "a writer goes on once it is read", both).await.expect("the connection is healthy");
    assert_eq!(read, total, "all bytes arrive");
}

/// A connection that one side abandons with bytes unread is seen to be broken by the other; one that breaks off before it
/// is accepted does not harm the listener.
pub async fn tcp_broken(runtime: &Arc<dyn Runtime>) {
    let (mut left, abandoned) = connected(runtime).await;
    within(runtime, "bytes are written", left.write_all(b"never read")).await.expect("the connection is healthy");
    drop(abandoned);
    // Depending on the moment a write is the first to fail or a read; either must, and soon.
    let noticing = async {
        loop {
            if left.write_all(b"hello?").await.is_err() {
                return;
            }
            runtime.sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    within(runtime, "a broken connection is noticed", noticing).await;
    let read = within(runtime, "a read of a broken connection ends", left.read(&mut [0; 8])).await;
    assert!(!matches!(read, Ok(1..)), "nothing is read that was not written: {read:?}");

    let listener = runtime.tcp_listen(free(Ipv4Addr::LOCALHOST)).expect("a free port can be listened on");
    for _ in 0..4 {
        let dialing = runtime.tcp_connect(listener.local_addr());
        drop(within(runtime, "a connect ends", dialing).await.expect("a listener is reached"));
    }
    let dialing = runtime.tcp_connect(listener.local_addr());
    let mut alive = within(runtime, "a connect ends", dialing).await.expect("a listener is reached");
    within(runtime, "bytes are written", alive.write_all(b"!")).await.expect("the connection is healthy");
    loop {
        let mut accepted: Box<dyn ByteStream> = accept(runtime, &*listener).await;
        if accepted.peer_addr() == alive.local_addr() {
            let byte = within(runtime, "bytes arrive", accepted.read_u8()).await;
            assert_eq!(byte.expect("the connection is healthy"), b'!');
            break;
        }
    }
    let idle = poll_fn(|cx| Poll::Ready(listener.poll_accept(cx).is_pending())).await;
    assert!(idle, "each connection is accepted once");
}
