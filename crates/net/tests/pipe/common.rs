use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use p2p_core::{Runtime, TaskGroup, TokioRuntime};
use p2p_net::mux::{MuxIo, Side};
use p2p_net::{Connection, Endpoint, NetConfig, Stream};

/// Long enough for anything that happens at all.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it takes no longer than the deadline")
}

/// Polls once without a waker.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets every other task of this thread go as far as it can.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn tasks() -> Arc<TaskGroup> {
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
    Arc::new(TaskGroup::new(runtime))
}

pub(crate) fn connection(
    io: impl MuxIo + 'static,
    side: Side,
    config: &NetConfig,
    tasks: &Arc<TaskGroup>,
) -> Connection {
    let nowhere: Endpoint = "tcp://127.0.0.1:1".parse().unwrap();
    Connection::over(Box::new(io), side, nowhere, config, tasks)
}

/// Two ends of a pipe, each with tasks of its own.
pub(crate) struct Pair {
    pub(crate) dialer: Connection,
    pub(crate) listener: Connection,
    pub(crate) dialer_tasks: Arc<TaskGroup>,
    pub(crate) listener_tasks: Arc<TaskGroup>,
}

impl Pair {
    pub(crate) fn new(pipe: usize, config: &NetConfig) -> Self {
        let (near, far) = tokio::io::duplex(pipe);
        let (dialer_tasks, listener_tasks) = (tasks(), tasks());
        Self {
            dialer: connection(near, Side::Dialer, config, &dialer_tasks),
            listener: connection(far, Side::Listener, config, &listener_tasks),
            dialer_tasks,
            listener_tasks,
        }
    }

    /// A stream that the dialer opened, on both sides.
    pub(crate) async fn stream(&self) -> (Stream, Stream) {
        let opened = self.dialer.open_stream().await.unwrap();
        (opened, within(self.listener.accept_stream()).await.unwrap())
    }
}

/// A frame of the multiplexer.
pub(crate) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    frame[0] = kind;
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) const DATA: u8 = 0;
pub(crate) const OPEN: u8 = 2;
pub(crate) const CLOSE: u8 = 7;
