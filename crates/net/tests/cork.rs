//! What is sent while a connection is corked: it goes out together, and nobody waits for it in vain.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and runs on tokio itself")]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use p2p_core::{ByteBudget, Runtime, TaskGroup, TokioRuntime};
use p2p_net::mux::Side;
use p2p_net::{Connection, Endpoint, MessageReceiver, MessageSender, NetConfig, SendLimits};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Long enough for anything that happens at all.
const DEADLINE: Duration = Duration::from_secs(120);

/// A pipe that counts the writes into it.
#[derive(Debug)]
struct Counting(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A connection with one stream on which each message is answered.
struct World {
    writes: Arc<AtomicUsize>,
    near: Connection,
    far: Connection,
    sender: MessageSender,
    receiver: MessageReceiver,
    budget: ByteBudget,
    _tasks: Arc<TaskGroup>,
}

impl World {
    async fn new() -> Self {
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
        let tasks = Arc::new(TaskGroup::new(runtime));
        let config = NetConfig::default();
        let (a, b) = tokio::io::duplex(1 << 20);
        let writes = Arc::new(AtomicUsize::new(0));
        let nowhere: Endpoint = "tcp://127.0.0.1:1".parse().unwrap();
        let io = Box::new(Counting(a, writes.clone()));
        let near = Connection::over(io, Side::Dialer, nowhere.clone(), &config, &tasks);
        let far = Connection::over(Box::new(b), Side::Listener, nowhere, &config, &tasks);
        let (recv, send) = near.open_stream().await.unwrap().into_split();
        let budget = config.budget.clone();
        let sender = MessageSender::new(send, SendLimits::default(), &budget);
        let receiver = MessageReceiver::new(recv, 1 << 20, &budget);
        let (far_recv, far_send) = far.accept_stream().await.unwrap().into_split();
        let answers = MessageSender::new(far_send, SendLimits::default(), &budget);
        let questions = MessageReceiver::new(far_recv, 1 << 20, &budget);
        tasks.spawn("echo", async move {
            while let Ok(Some(message)) = questions.recv().await {
                answers.send(message).await.unwrap();
            }
        });
        let world = Self { writes, near, far, sender, receiver, budget, _tasks: tasks };
        world.ask(b"the driver is at work").await;
        world.writes.store(0, Ordering::Relaxed);
        world
    }

    async fn ask(&self, question: &'static [u8]) {
        self.sender.send(Bytes::from_static(question)).await.unwrap();
        assert_eq!(within(self.receiver.recv()).await.unwrap().unwrap(), question);
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it takes no longer than the deadline")
}

#[tokio::test]
async fn what_is_said_on_several_streams_is_one_write() {
    let world = World::new().await;
    let cork = world.sender.cork();
    world.sender.send(Bytes::from_static(b"one")).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..5 {
        let (_recv, send) = world.near.open_stream().await.unwrap().into_split();
        let sender = MessageSender::new(send, SendLimits::default(), &world.budget);
        sender.send(Bytes::from_static(b"head")).await.unwrap();
        sender.finish();
        others.push(sender);
    }
    world.sender.send(Bytes::from_static(b"two")).await.unwrap();
    let inner = others[0].cork();
    drop(inner);
    assert_eq!(world.writes(), 0, "one of two corks is drawn");
    drop(cork);
    assert_eq!(world.writes(), 1);
    for expected in [&b"one"[..], b"two"] {
        assert_eq!(within(world.receiver.recv()).await.unwrap().unwrap(), expected);
    }
    for _ in 0..5 {
        let (recv, _send) = within(world.far.accept_stream()).await.unwrap().into_split();
        let receiver = MessageReceiver::new(recv, 100, &world.budget);
        assert_eq!(within(receiver.recv()).await.unwrap().unwrap(), &b"head"[..]);
        assert_eq!(within(receiver.recv()).await.unwrap(), None);
    }
    // And it is as it was.
    world.ask(b"three").await;
}

#[tokio::test]
async fn who_waits_for_an_answer_has_asked() {
    let world = World::new().await;
    let cork = world.sender.cork();
    for question in [&b"one"[..], b"two"] {
        world.sender.send(Bytes::from_static(question)).await.unwrap();
        assert_eq!(within(cork.wait(world.receiver.recv())).await.unwrap().unwrap(), question);
    }
    drop(cork);
    assert_eq!(world.writes(), 2, "dropping it had nothing to write");
}

#[tokio::test]
async fn a_full_queue_and_a_flush_wait_for_no_cork() {
    let world = World::new().await;
    let cork = world.sender.cork();
    let messages = 10 * SendLimits::default().queue_messages;
    let large = Bytes::from(vec![7; 8 << 10]);
    let sending = async {
        for _ in 0..messages {
            world.sender.send(large.clone()).await.unwrap();
        }
        world.sender.flush().await.unwrap();
    };
    let receiving = async {
        for _ in 0..messages {
            assert_eq!(world.receiver.recv().await.unwrap().unwrap(), large);
        }
    };
    within(async { tokio::join!(sending, receiving) }).await;
    assert_eq!(world.sender.queued(), 0);
    drop(cork);
}

#[tokio::test]
async fn a_connection_that_ends_corked_is_over() {
    let world = World::new().await;
    let cork = world.sender.cork();
    world.sender.send(Bytes::from_static(b"lost")).await.unwrap();
    world.far.close(7, "enough");
    within(world.near.closed()).await;
    drop(cork);
    assert!(within(world.sender.send(Bytes::from_static(b"late"))).await.is_err());
}
