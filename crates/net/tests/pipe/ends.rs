//! How a connection ends: who learns of it, and what still gets through.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use p2p_net::mux::Side;
use p2p_net::{CloseReason, MessageReceiver, MessageSender, NetConfig, SendLimits};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use crate::common::{CLOSE, Pair, connection, frame, settle, tasks, within};

#[tokio::test]
async fn a_connection_whose_driver_never_ran_has_ended() {
    let (near, mut far) = tokio::io::duplex(1 << 10);
    let tasks = tasks();
    let connection = connection(near, Side::Dialer, &NetConfig::default(), &tasks);
    tasks.shutdown().await;
    assert!(matches!(within(connection.closed()).await, CloseReason::Local { code: 0, .. }));
    assert!(within(connection.accept_stream()).await.is_err());
    within(far.read_to_end(&mut Vec::new())).await.unwrap();
}

#[tokio::test]
async fn a_close_is_told_even_if_the_tasks_end_at_once() {
    let pair = Pair::new(64 << 10, &NetConfig::default());
    let (_near, _far) = pair.stream().await;
    pair.dialer.close(42, "had enough");
    pair.dialer_tasks.shutdown().await;
    let reason = CloseReason::Remote { code: 42, reason: "had enough".into() };
    assert_eq!(within(pair.listener.closed()).await, reason);
}

#[tokio::test]
async fn what_was_finished_arrives_though_every_handle_is_gone() {
    // The pipe holds a part of the message only: the rest must be written after everything was dropped.
    let Pair { dialer, listener, dialer_tasks, .. } = Pair::new(1 << 10, &NetConfig::default());
    let config = NetConfig::default();
    let sender =
        MessageSender::new(dialer.open_stream().await.unwrap().into_split().1, SendLimits::default(), &config.budget);
    sender.send(vec![1; 20_000]).await.unwrap();
    sender.finish();
    drop((sender, dialer, dialer_tasks));
    let (recv, _send) = within(listener.accept_stream()).await.unwrap().into_split();
    let receiver = MessageReceiver::new(recv, 1 << 20, &config.budget);
    assert_eq!(within(receiver.recv()).await.unwrap().unwrap(), vec![1; 20_000]);
    assert_eq!(within(receiver.recv()).await.unwrap(), None);
    assert_eq!(within(listener.closed()).await, CloseReason::Remote { code: 0, reason: String::new() });
}

#[tokio::test]
async fn a_write_that_is_left_to_nobody_does_not_hold_the_good_bye_up() {
    let (near, mut far) = tokio::io::duplex(64);
    let tasks = tasks();
    let connection = connection(near, Side::Dialer, &NetConfig::default(), &tasks);
    let (_recv, mut send) = connection.open_stream().await.unwrap().into_split();
    send.write_all(&[1; 1000]).await.unwrap();
    settle().await;
    connection.close(42, "");
    // The driver waits for the pipe.
    settle().await;
    let _ = Pin::new(&mut send).poll_flush(&mut Context::from_waker(Waker::noop()));
    let mut got = Vec::new();
    within(far.read_to_end(&mut got)).await.unwrap();
    assert!(got.ends_with(&frame(CLOSE, 0, &[0, 0, 0, 42])), "{:?}", &got[got.len() - 20..]);
}

/// What the remote said before the socket broke can still be read.
#[derive(Debug)]
struct Broken(DuplexStream);

impl AsyncRead for Broken {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn the_remotes_last_words_count_though_writing_fails() {
    let (near, mut far) = tokio::io::duplex(1 << 10);
    far.write_all(&frame(CLOSE, 0, b"\0\0\0\x2aenough")).await.unwrap();
    let tasks = tasks();
    let connection = connection(Broken(near), Side::Dialer, &NetConfig::default(), &tasks);
    let _stream = connection.open_stream().await.unwrap();
    let reason = CloseReason::Remote { code: 42, reason: "enough".into() };
    assert_eq!(within(connection.closed()).await, reason);
}

/// Always has something to read, up to a bound, and never tells the runtime to take turns.
#[derive(Debug)]
struct Endless(Arc<AtomicUsize>);

const ENDLESS: usize = 1_000_000;

impl AsyncRead for Endless {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0.fetch_add(1, Ordering::Relaxed) < ENDLESS {
            // Zero-length data on a stream that this side has opened.
            buf.put_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_remote_that_does_not_stop_talking_does_not_keep_the_thread() {
    let reads = Arc::new(AtomicUsize::new(0));
    let tasks = tasks();
    let connection = connection(Endless(reads.clone()), Side::Dialer, &NetConfig::default(), &tasks);
    let _stream = connection.open_stream().await.unwrap();
    settle().await;
    connection.close(0, "");
    settle().await;
    assert!(reads.load(Ordering::Relaxed) < ENDLESS, "others had their turn");
    assert_eq!(tasks.len(), 1);
}
