//! The harness: each scenario as a function of a [`Net`], run for every transport on every runtime.

mod identity;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use p2p_core::{Runtime, SmolRuntime, TaskGroup, TokioRuntime};
use p2p_net::{Connection, Endpoint, Listener, NetConfig, SendStream, Stream, Transport, Transports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) use identity::tls_configs;

/// The longest a scenario may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where a scenario takes place.
#[derive(Clone)]
pub(crate) struct Net {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) transport: Transport,
    pub(crate) config: NetConfig,
    tasks: Arc<TaskGroup>,
}

pub(crate) fn for_each_transport<F: Future<Output = ()>>(scenario: impl Fn(Net) -> F) {
    for_each(&[Transport::Tcp, Transport::Tls, Transport::Quic], scenario);
}

pub(crate) fn for_each<F: Future<Output = ()>>(transports: &[Transport], scenario: impl Fn(Net) -> F) {
    for &transport in transports {
        if transport == Transport::Quic && cfg!(not(feature = "quic")) {
            continue;
        }
        let run = async |runtime: Arc<dyn Runtime>| {
            let tasks = Arc::new(TaskGroup::new(runtime.clone()));
            let mut config = NetConfig::default();
            config.tls = Some(tls_configs());
            // Nobody is given up because the machine is busy.
            (config.dial_timeout, config.accept_timeout) = (PATIENCE, PATIENCE);
            let net = Net { runtime: runtime.clone(), transport, config, tasks };
            let done = runtime.timeout(PATIENCE, scenario(net)).await;
            assert!(done.is_ok(), "the scenario hangs over {transport} on {runtime:?}");
        };
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        tokio.block_on(run(Arc::new(TokioRuntime::new(tokio.handle().clone()))));
        smol::block_on(run(Arc::new(SmolRuntime::new())));
    }
}

/// Two connected nodes.
pub(crate) struct Pair {
    pub(crate) dialer: Transports,
    pub(crate) acceptor: Transports,
    pub(crate) listener: Listener,
    /// The dialer's end.
    pub(crate) a: Connection,
    /// The acceptor's end.
    pub(crate) b: Connection,
}

impl Net {
    pub(crate) fn node(&self) -> Transports {
        Transports::new(self.runtime.clone(), self.config.clone())
    }

    pub(crate) fn endpoint(&self, host_and_port: &str) -> Endpoint {
        format!("{}://{host_and_port}", self.transport).parse().unwrap()
    }

    pub(crate) async fn listen(&self, node: &Transports) -> Listener {
        node.listen(&self.endpoint("127.0.0.1:0")).await.unwrap()
    }

    pub(crate) async fn pair(&self) -> Pair {
        self.pair_at("127.0.0.1:0").await
    }

    pub(crate) async fn pair_at(&self, host_and_port: &str) -> Pair {
        let (dialer, acceptor) = (self.node(), self.node());
        let listener = acceptor.listen(&self.endpoint(host_and_port)).await.unwrap();
        let (a, b) = connect(&dialer, &listener).await;
        Pair { dialer, acceptor, listener, a, b }
    }

    /// Runs something beside the scenario, until the scenario ends.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn("test", future);
    }
}

/// Both ends of a new connection.
pub(crate) async fn connect(dialer: &Transports, listener: &Listener) -> (Connection, Connection) {
    let endpoint = listener.local_endpoint();
    let (dialed, accepted) = tokio::join!(dialer.dial(&endpoint), async { listener.accept().await?.accept().await });
    (dialed.unwrap(), accepted.unwrap())
}

/// Both ends of a new stream; the opener has written the one byte `!`, which the other has read.
pub(crate) async fn stream(opener: &Connection, other: &Connection) -> (Stream, Stream) {
    let mut opened = opener.open_stream().await.unwrap();
    opened.write_all(b"!").await.unwrap();
    let mut accepted = other.accept_stream().await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'!');
    (opened, accepted)
}

/// Sends `text` there and back.
pub(crate) async fn echo(near: &mut Stream, far: &mut Stream, text: &[u8]) {
    near.write_all(text).await.unwrap();
    let mut there = vec![0; text.len()];
    far.read_exact(&mut there).await.unwrap();
    far.write_all(&there).await.unwrap();
    let mut back = vec![0; text.len()];
    near.read_exact(&mut back).await.unwrap();
    assert_eq!(back, text);
}

/// Writes until the stream takes no more and the last that was taken has had its time to be sent; something at least.
pub(crate) async fn fill(send: &mut SendStream) -> usize {
    let chunk = Bytes::from_static(&[0; 1 << 16]);
    send.write_all_bytes(chunk.slice(..1)).await.unwrap();
    let mut written = 1;
    let mut idle = 0;
    while idle < 1000 {
        let mut chunks = [chunk.clone()];
        let taken = poll_fn(|cx| Poll::Ready(send.poll_write_chunks(cx, &mut chunks))).await;
        match taken {
            Poll::Ready(taken) => {
                written += taken.unwrap();
                idle = 0;
            }
            Poll::Pending => idle += 1,
        }
        tokio::task::yield_now().await;
    }
    written
}
