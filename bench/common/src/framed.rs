//! The scenarios for stacks that give streams of bytes: each stream has the four-byte length codec at its default sizes,
//! `feed` to coalesce and `send` to flush.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::{DELIVERY, LIMIT, Measured, STOPPED, Times, cpu_time, turns};

/// What a stream is.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A stream of messages.
pub type Codec<S> = Framed<S, LengthDelimitedCodec>;

/// Both ends of a stream of messages.
pub type Ends<S> = (Codec<S>, Codec<S>);

/// Puts the codec on a stream.
pub fn framed<S: Stream>(stream: S) -> Codec<S> {
    Framed::new(stream, LengthDelimitedCodec::new())
}

/// Both ends of a stream, over which one byte has gone.
pub async fn pair<S: Stream>(near: impl Future<Output = S>, far: impl Future<Output = S>) -> Ends<S> {
    let opening = async {
        let mut stream = framed(near.await);
        stream.send(Bytes::from_static(b"x")).await.unwrap();
        stream
    };
    let accepting = async {
        let mut stream = framed(far.await);
        stream.next().await.unwrap().unwrap();
        stream
    };
    tokio::join!(opening, accepting)
}

/// Sends back what comes, until nothing does.
pub async fn echo<S: Stream>(mut stream: Codec<S>) {
    while let Some(Ok(message)) = stream.next().await {
        if stream.send(message.freeze()).await.is_err() {
            break;
        }
    }
}

/// Sends a message at once and awaits its echo.
async fn ask<S: Stream>(near: Arc<Mutex<Codec<S>>>, message: Bytes) {
    let mut near = near.lock().await;
    near.send(message).await.unwrap();
    near.next().await.unwrap().unwrap();
}

/// A message there and back, one in flight: each is flushed.
pub async fn rtt<S: Stream>((near, far): Ends<S>, count: usize) -> Measured {
    tokio::spawn(echo(far));
    let (near, message) = (Arc::new(Mutex::new(near)), Bytes::from(vec![7; 64]));
    let asking = tokio::spawn(Times::of(count, move || ask(near.clone(), message.clone())));
    Measured::new(asking.await.unwrap().median_us())
}

/// Messages of `len` bytes one way, coalesced by hand; `unit` of them per message.
pub async fn one_way<S: Stream>((near, mut far): Ends<S>, count: usize, len: usize, unit: f64) -> Measured {
    let message = Bytes::from(vec![7; len]);
    let start = Instant::now();
    let _sending = tokio::spawn(send(near, message, count));
    let receiving = tokio::spawn(async move { receive(&mut far, count, LIMIT).await });
    let received = receiving.await.unwrap();
    Measured::new(received as f64 * unit / start.elapsed().as_secs_f64())
}

/// Feeds `count` messages and flushes.
async fn send<S: Stream>(mut stream: Codec<S>, message: Bytes, count: usize) -> Codec<S> {
    for _ in 0..count {
        stream.feed(message.clone()).await.unwrap();
    }
    SinkExt::<Bytes>::flush(&mut stream).await.unwrap();
    stream
}

/// Takes `count` messages, or those that come before it takes too long.
async fn receive<S: Stream>(stream: &mut Codec<S>, count: usize, limit: Duration) -> usize {
    let mut received = 0;
    let all = async {
        while received < count {
            stream.next().await.unwrap().unwrap();
            received += 1;
        }
    };
    let _ = timeout(limit, all).await;
    received
}

/// Sends until nothing more is taken.
pub async fn fill<S: Stream>(stream: &mut Codec<S>) {
    let message = Bytes::from(vec![7; 1_024]);
    while timeout(Duration::from_millis(500), stream.feed(message.clone())).await.is_ok() {}
}

/// The flow on a stream that is alone on its connection, and on one that is not, in turns.
pub async fn hol<S: Stream>(alone: Ends<S>, beside: Ends<S>, count: usize) -> Measured {
    let (mut alone, mut beside) = (Some(alone), Some(beside));
    turns(async || flow(&mut alone, count).await, async || flow(&mut beside, count).await).await
}

/// Messages per second of 1 KiB from one end to the other; none, and no stream any more, if they stop coming.
async fn flow<S: Stream>(stream: &mut Option<Ends<S>>, count: usize) -> f64 {
    let Some((near, mut far)) = stream.take() else { return 0.0 };
    let start = Instant::now();
    let sending = tokio::spawn(send(near, Bytes::from(vec![7; 1_024]), count));
    let receiving = tokio::spawn(async move {
        for _ in 0..count {
            timeout(STOPPED, far.next()).await.ok()?.unwrap().unwrap();
        }
        Some(far)
    });
    let far = receiving.await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let Some(far) = far else {
        sending.abort();
        return 0.0;
    };
    *stream = Some((sending.await.unwrap(), far));
    count as f64 / seconds
}

/// A message there and back on one stream while another one on the same connection is full.
pub async fn busy<S: Stream>((full, mut end): Ends<S>, (near, far): Ends<S>, count: usize) -> Measured {
    tokio::spawn(send(full, Bytes::from(vec![7; 64 << 10]), usize::MAX));
    tokio::spawn(async move { while let Some(Ok(_)) = end.next().await {} });
    tokio::spawn(echo(far));
    let (near, message) = (Arc::new(Mutex::new(near)), Bytes::from(vec![7; 64]));
    let asking = tokio::spawn(Times::within_limit(count, move || ask(near.clone(), message.clone())));
    asking.await.unwrap().late_ms()
}

/// A hub gives each of its peers so many messages: deliveries per second until the last peer has its last. A stream is the
/// hub's end and the peer's.
///
/// The hub has a task for each peer, which feeds that peer's codec and flushes it when it is full, and at the end. Nothing
/// keeps the peers in step, and there is no queue: the most that can be had by hand. One task that goes from peer to peer
/// needs half as much CPU time again, and one with a queue for each peer three times as much.
pub async fn fanout<S: Stream>(mut streams: Vec<Ends<S>>, count: usize) -> Measured {
    let cpu = cpu_time();
    let rounds = count / streams.len();
    let all = (rounds * streams.len()) as f64;
    let rate = deliver(&mut streams, rounds, LIMIT).await.0;
    Measured::new(rate).beside("CPU µs", (cpu_time() - cpu).as_secs_f64() * 1e6 / all)
}

/// Delivery to the peers of two hubs, in turns: one whose peers all read, and one of whose peers the last does not. Counts
/// what the peers that read have got.
pub async fn stalled<S: Stream>(mut all: Vec<Ends<S>>, mut others: Vec<Ends<S>>, rounds: usize) -> Measured {
    let (mut unread, _peer) = others.pop().unwrap();
    fill(&mut unread).await;
    // The hub's task for it goes on trying.
    tokio::spawn(async move { unread.send(Bytes::from(vec![7; 1_024])).await });
    let rate = async |streams: &mut Vec<_>| match deliver(streams, rounds, DELIVERY).await {
        (rate, true) => rate,
        (_, false) => 0.0,
    };
    turns(async || rate(&mut all).await, async || rate(&mut others).await).await
}

/// Sends `rounds` messages on each stream and gives how many arrived per second until the last one, and whether all did
/// before it took too long. If not, the streams are of no use any more.
async fn deliver<S: Stream>(streams: &mut Vec<Ends<S>>, rounds: usize, limit: Duration) -> (f64, bool) {
    let message = Bytes::from(vec![7; 1_024]);
    let start = Instant::now();
    let peers: Vec<_> = streams
        .drain(..)
        .map(|(hub, mut peer)| {
            let sending = tokio::spawn(send(hub, message.clone(), rounds));
            let receiving = tokio::spawn(async move { (receive(&mut peer, rounds, limit).await, peer) });
            (sending, receiving)
        })
        .collect();
    let (mut delivered, mut senders) = (0, Vec::new());
    for (sending, receiving) in peers {
        let (received, peer) = receiving.await.unwrap();
        delivered += received;
        senders.push((sending, peer));
    }
    let seconds = start.elapsed().as_secs_f64();
    let all = delivered == rounds * senders.len();
    for (sending, peer) in senders {
        if all {
            streams.push((sending.await.unwrap(), peer));
        } else {
            sending.abort();
        }
    }
    (delivered as f64 / seconds, all)
}
