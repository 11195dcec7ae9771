//! What the multiplexer and the framing of messages take, without a socket: a connection over a pipe in memory, both ends
//! on one thread.
//!
//! `cargo bench -p p2p-net --bench pipe`

use std::sync::Arc;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use p2p_core::{Runtime, TaskGroup, TokioRuntime};
use p2p_net::mux::Side;
use p2p_net::{Connection, Endpoint, MessageReceiver, MessageSender, NetConfig, SendLimits};

const MAX: usize = 1 << 20;

/// A stream from one side to the other.
struct Pipe {
    runtime: tokio::runtime::Runtime,
    sender: MessageSender,
    receiver: MessageReceiver,
    /// Both connections, and the halves of the other direction.
    _rest: Box<dyn std::any::Any>,
}

impl Pipe {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (sender, receiver, rest) = runtime.block_on(async {
            let handle: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().expect("this is tokio"));
            let tasks = Arc::new(TaskGroup::new(handle));
            let config = NetConfig::default();
            let (a, b) = tokio::io::duplex(256 << 10);
            let nowhere: Endpoint = "tcp://127.0.0.1:1".parse().expect("an endpoint");
            let near = Connection::over(Box::new(a), Side::Dialer, nowhere.clone(), &config, &tasks);
            let far = Connection::over(Box::new(b), Side::Listener, nowhere, &config, &tasks);
            let (near_recv, send) = near.open_stream().await.expect("a stream").into_split();
            let (recv, far_send) = far.accept_stream().await.expect("a stream").into_split();
            let sender = MessageSender::new(send, SendLimits::default(), &config.budget);
            let receiver = MessageReceiver::new(recv, MAX, &config.budget);
            (sender, receiver, (near, far, near_recv, far_send, tasks))
        });
        Self { runtime, sender, receiver, _rest: Box::new(rest) }
    }

    fn transfer(&self, message: &Bytes, count: usize) {
        let sending = async {
            for _ in 0..count {
                self.sender.send(message.clone()).await.expect("it is open");
            }
        };
        let receiving = async {
            for _ in 0..count {
                self.receiver.recv().await.expect("it is open");
            }
        };
        self.runtime.block_on(async { tokio::join!(sending, receiving) });
    }
}

/// Messages of this length from one side to the other, about 1 MiB of them but 10,000 at most.
#[divan::bench(args = [64, 1 << 10, 16 << 10, 64 << 10, 1 << 20])]
fn one_way(bencher: Bencher<'_, '_>, len: usize) {
    let pipe = Pipe::new();
    let message = Bytes::from(vec![7; len]);
    let count = (MAX / len).min(10_000);
    bencher
        .counter(ItemsCount::new(count))
        .counter(BytesCount::new(count * len))
        .bench_local(|| pipe.transfer(&message, count));
}

fn main() {
    divan::main();
}
