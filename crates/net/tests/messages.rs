//! Messages over a multiplexed in-memory connection: order, bounds, ends, cancellation.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and runs on tokio itself")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_core::{ByteBudget, Runtime, TaskGroup, TokioRuntime};
use p2p_net::mux::Side;
use p2p_net::{
    CloseReason, Connection, EarlyStreams, Endpoint, Error, MessageReceiver, MessageSender, NetConfig, SendLimits,
    SharedMessage, Stream, TrySendError,
};
use tokio::io::AsyncWriteExt;

/// Long enough for anything that happens at all.
const DEADLINE: Duration = Duration::from_secs(120);

const MAX: usize = 1 << 20;

struct World {
    tasks: Arc<TaskGroup>,
    config: NetConfig,
    dialer: Connection,
    listener: Connection,
}

impl World {
    /// Two ends of a pipe that holds `pipe` bytes.
    fn new(pipe: usize) -> Self {
        Self::with(pipe, NetConfig::default())
    }

    fn with(pipe: usize, config: NetConfig) -> Self {
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
        let tasks = Arc::new(TaskGroup::new(runtime));
        let (a, b) = tokio::io::duplex(pipe);
        let nowhere: Endpoint = "tcp://127.0.0.1:1".parse().unwrap();
        let dialer = Connection::over(Box::new(a), Side::Dialer, nowhere.clone(), &config, &tasks);
        let listener = Connection::over(Box::new(b), Side::Listener, nowhere, &config, &tasks);
        Self { tasks, config, dialer, listener }
    }

    async fn streams(&self) -> (Stream, Stream) {
        let opened = self.dialer.open_stream().await.unwrap();
        (opened, self.listener.accept_stream().await.unwrap())
    }

    /// A sender on one side and its receiver on the other; the other direction is kept open by the halves returned.
    async fn messages(
        &self,
        limits: SendLimits,
    ) -> (MessageSender, MessageReceiver, Vec<Box<dyn std::any::Any + Send>>) {
        let (near, far) = self.streams().await;
        let (near_recv, near_send) = near.into_split();
        let (far_recv, far_send) = far.into_split();
        let budget = &self.config.budget;
        let sender = MessageSender::new(near_send, limits, budget);
        (sender, MessageReceiver::new(far_recv, MAX, budget), vec![Box::new(near_recv), Box::new(far_send)])
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it takes no longer than the deadline")
}

fn message(n: usize, len: usize) -> Bytes {
    (0..len).map(|at| (at * 31 + n * 7) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_all_sizes_arrive_in_order() {
    let sizes = [0, 1, 63, 64, 65, 4095, 4096, 4097, 16_383, 16_384, 65_535, 65_536, 65_545, 200_000, MAX];
    for pipe in [100, 70_000, 1 << 20] {
        let world = World::new(pipe);
        let (sender, receiver, _rest) = world.messages(SendLimits::default()).await;
        let sending = tokio::spawn(async move {
            for (n, &len) in sizes.iter().enumerate() {
                sender.send(message(n, len)).await.unwrap();
            }
            for n in 0..2_000 {
                sender.send(message(n, n % 300)).await.unwrap();
            }
            sender.flush().await.unwrap();
            assert_eq!(sender.queued(), 0);
            sender.finish();
        });
        within(async {
            for (n, &len) in sizes.iter().enumerate() {
                assert!(receiver.recv().await.unwrap().unwrap() == message(n, len), "message {n} of {len} bytes");
            }
            for n in 0..2_000 {
                assert_eq!(receiver.recv().await.unwrap().unwrap(), message(n, n % 300));
            }
            assert_eq!(receiver.recv().await.unwrap(), None);
            assert_eq!(receiver.recv().await.unwrap(), None, "the end stays the end");
        })
        .await;
        sending.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_messages_keep_their_place_among_others() {
    // Every other one is shared; of both kinds some are short, and some are longer than what is copied.
    let len = |n: usize| [10, 700, 1_500, 9_000, 300][n / 2 % 5];
    for pipe in [100, 70_000, 1 << 20] {
        let world = World::new(pipe);
        let limits = SendLimits { queue_messages: 50, ..SendLimits::default() };
        let (sender, receiver, _rest) = world.messages(limits).await;
        let sending = tokio::spawn(async move {
            for n in 0..2_000 {
                let message = message(n, len(n));
                if n % 2 == 1 {
                    sender.send(message).await.unwrap();
                } else {
                    let shared = SharedMessage::new(message);
                    while let Err(error) = sender.try_send_shared(&shared) {
                        assert!(matches!(error, TrySendError::Busy), "{error}");
                        tokio::task::yield_now().await;
                    }
                }
                assert!(sender.queued() <= 50);
            }
            sender.finish();
        });
        within(async {
            for n in 0..2_000 {
                assert!(receiver.recv().await.unwrap().unwrap() == message(n, len(n)), "message {n}");
            }
            assert_eq!(receiver.recv().await.unwrap(), None);
        })
        .await;
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn an_unread_stream_fills_its_queue_and_leaves_the_others_alone() {
    let world = World::new(8 << 10);
    let limits = SendLimits { queue_messages: 10, queue_bytes: 100_000, ..SendLimits::default() };
    let (stalled, unread, _rest) = world.messages(limits).await;
    within(async {
        loop {
            match stalled.try_send(message(0, 9_000)) {
                Ok(()) => tokio::task::yield_now().await,
                Err(TrySendError::Busy) => break,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    let waiting = within(async {
        // What the transport still took has settled once the queue is full and stays so.
        let mut before = 0;
        while before != stalled.queued() || stalled.try_send(message(0, 9_000)).is_ok() {
            before = stalled.queued();
            tokio::task::yield_now().await;
        }
        before
    })
    .await;
    assert!((1..=10).contains(&waiting), "{waiting} messages wait");

    let (sender, receiver, _more) = world.messages(SendLimits::default()).await;
    within(async {
        for n in 0..1_000 {
            sender.send(message(n, 500)).await.unwrap();
            assert_eq!(receiver.recv().await.unwrap().unwrap(), message(n, 500));
        }
    })
    .await;
    // A call that is given up has queued nothing, and reading lets the rest through.
    let given_up = stalled.send(message(7, 8_999));
    assert!(futures_poll_once(given_up).is_none());
    let reader = tokio::spawn(async move {
        let mut count = 0;
        while let Some(message) = unread.recv().await.unwrap() {
            assert_eq!(message.len(), 9_000);
            count += 1;
        }
        count
    });
    within(stalled.flush()).await.unwrap();
    stalled.finish();
    assert!(within(reader).await.unwrap() > 10);
}

/// Polls once and drops.
fn futures_poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_an_error_and_the_stream_lives() {
    let world = World::new(8 << 10);
    let (sender, receiver, _rest) = world.messages(SendLimits { max_message: 10, ..SendLimits::default() }).await;
    let error = sender.send(vec![0; 11]).await.unwrap_err();
    assert!(matches!(error, Error::MessageTooLarge { len: 11, max: 10 }), "{error}");
    sender.send(vec![1; 10]).await.unwrap();
    assert_eq!(within(receiver.recv()).await.unwrap().unwrap(), vec![1; 10]);
}

#[tokio::test]
async fn a_false_length_ends_the_stream_with_a_clear_error() {
    type Check = fn(&Error) -> bool;
    let claims: [(&[u8], Check); 4] = [
        (&[0xff; 8], |e| matches!(e, Error::MessageTooLarge { len, .. } if *len == (1 << 62) - 1)),
        (&[0x80, 0x10, 0x00, 0x01], |e| matches!(e, Error::MessageTooLarge { len: 0x10_0001, max: MAX })),
        (&[0x40, 0x01, 0x00], |e| matches!(e, Error::LengthEncoding)),
        (&[0x05, 1, 2], |e| matches!(e, Error::Truncated)),
    ];
    for (bytes, expected) in claims {
        let world = World::new(8 << 10);
        let (mut near, far) = world.streams().await;
        // In single bytes: the length itself arrives in pieces.
        for byte in bytes {
            near.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        near.shutdown().await.unwrap();
        let receiver = MessageReceiver::new(far.into_split().0, MAX, &world.config.budget);
        for _ in 0..2 {
            let error = within(receiver.recv()).await.unwrap_err();
            assert!(expected(&error), "{bytes:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_sender_that_is_dropped_resets_and_one_that_finished_does_not() {
    let world = World::new(8 << 10);
    let (sender, receiver, _rest) = world.messages(SendLimits::default()).await;
    drop(sender);
    assert!(matches!(within(receiver.recv()).await, Err(Error::Reset(0))));

    let (sender, receiver, _rest) = world.messages(SendLimits::default()).await;
    // More than the pipe holds, so that the end has to wait in the queue.
    for n in 0..5 {
        sender.send(message(n, 20_000)).await.unwrap();
    }
    sender.finish();
    assert!(matches!(sender.send("late").await, Err(Error::Finished)));
    drop(sender);
    within(async {
        for n in 0..5 {
            assert_eq!(receiver.recv().await.unwrap().unwrap(), message(n, 20_000));
        }
        assert_eq!(receiver.recv().await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_stops_the_sender() {
    let world = World::new(8 << 10);
    let (sender, receiver, _rest) = world.messages(SendLimits::default()).await;
    receiver.stop(77);
    let error = within(async {
        loop {
            if let Err(error) = sender.send(message(0, 1_000)).await {
                break error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(matches!(error, Error::Stopped(77)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_receivers_share_the_messages() {
    let world = World::new(64 << 10);
    let (sender, receiver, _rest) = world.messages(SendLimits::default()).await;
    let receiver = Arc::new(receiver);
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let receiver = receiver.clone();
            tokio::spawn(async move {
                let mut got = Vec::new();
                while let Some(message) = receiver.recv().await.unwrap() {
                    got.push(u32::from_be_bytes(message[..].try_into().unwrap()));
                }
                got
            })
        })
        .collect();
    for n in 0..5_000u32 {
        sender.send(Bytes::copy_from_slice(&n.to_be_bytes())).await.unwrap();
    }
    sender.finish();
    let mut all = Vec::new();
    for reader in readers {
        let got = within(reader).await.unwrap();
        assert!(got.is_sorted(), "each reader sees the order");
        all.extend(got);
    }
    all.sort_unstable();
    assert_eq!(all, (0..5_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn calls_that_need_not_wait_are_small() {
    let world = World::new(64 << 10);
    let (sender, receiver, _rest) = world.messages(SendLimits::default()).await;
    // A call is moved several times before it is polled: its size is time.
    assert!(size_of_val(&sender.send(Bytes::new())) <= 192, "{}", size_of_val(&sender.send(Bytes::new())));
    assert!(size_of_val(&receiver.recv()) <= 64, "{}", size_of_val(&receiver.recv()));
}

#[tokio::test]
async fn what_waits_is_within_the_budget_and_goes_on_when_there_is_room() {
    let world = World::new(1 << 10);
    let budget = ByteBudget::new(100_000);
    let taken = budget.try_reserve(90_000).unwrap();
    let (near, far) = world.streams().await;
    let sender = MessageSender::new(near.into_split().1, SendLimits::default(), &budget);
    assert!(matches!(sender.try_send(message(0, 50_000)), Err(TrySendError::Busy)));
    let waiting = tokio::spawn(async move {
        sender.send(message(0, 50_000)).await.unwrap();
        sender.finish();
        sender
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(taken);
    let receiver = MessageReceiver::new(far.into_split().0, MAX, &budget);
    assert_eq!(within(receiver.recv()).await.unwrap().unwrap(), message(0, 50_000));
    drop(within(waiting).await.unwrap());
    drop(receiver);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_close_reaches_everybody_with_its_reason() {
    let world = World::new(64 << 10);
    let (sender, receiver, _rest) = world.messages(SendLimits::default()).await;
    sender.send("last words").await.unwrap();
    world.dialer.close(42, "had enough");
    let reason = CloseReason::Remote { code: 42, reason: "had enough".into() };
    assert_eq!(within(receiver.recv()).await.unwrap().unwrap(), "last words");
    assert!(matches!(within(receiver.recv()).await, Err(Error::Closed(got)) if got == reason));
    assert!(matches!(within(world.listener.accept_stream()).await, Err(Error::Closed(got)) if got == reason));
    within(world.tasks.wait()).await;
    assert!(matches!(sender.send("more").await, Err(Error::Closed(CloseReason::Local { code: 42, .. }))));
}

#[tokio::test]
async fn the_last_handle_closes_the_connection_and_ends_its_tasks() {
    let world = World::new(64 << 10);
    let (near, far) = world.streams().await;
    let World { dialer, listener, tasks, .. } = world;
    drop((dialer, listener, far));
    assert_eq!(tasks.len(), 2, "a stream keeps its connection");
    drop(near);
    within(tasks.wait()).await;
}

#[tokio::test]
async fn ending_the_tasks_ends_what_waits() {
    let world = World::new(64 << 10);
    let (_sender, receiver, _rest) = world.messages(SendLimits::default()).await;
    let World { tasks, dialer: _dialer, listener: _listener, .. } = world;
    let waiting = tokio::spawn(async move { receiver.recv().await });
    tokio::task::yield_now().await;
    tasks.shutdown().await;
    assert!(matches!(within(waiting).await.unwrap(), Err(Error::Closed(CloseReason::Local { code: 0, .. }))));
}

#[tokio::test]
async fn a_claim_alone_takes_nothing_from_the_budget() {
    let world = World::new(64 << 10);
    let budget = ByteBudget::new(256 << 10);
    let mut held = Vec::new();
    for _ in 0..3 {
        let (mut near, far) = world.streams().await;
        // The length of a message of 1 MiB, and one byte of it.
        near.write_all(&[0x80, 0x10, 0, 0, 7]).await.unwrap();
        let receiver = MessageReceiver::new(far.into_split().0, MAX, &budget);
        held.push((near, Box::pin(async move { receiver.recv().await })));
    }
    within(async {
        while budget.used() < 3 * (64 << 10) {
            held.iter_mut().for_each(|(_, recv)| assert!(futures_poll_once(recv.as_mut()).is_none()));
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(budget.used(), 3 * (64 << 10), "as much as the first piece of each may take");
}

/// What is handed over needs no part of the credit that other streams take after it, though nothing is written yet.
#[tokio::test]
async fn what_was_handed_over_is_ahead_of_a_stream_that_takes_all_credit() {
    let mut config = NetConfig::default();
    config.early_streams = Some(EarlyStreams::new(2));
    let world = World::with(1 << 20, config);
    let (first, heard, _first_halves) = world.messages(SendLimits::default()).await;
    let (flood, _unheard, _flood_halves) = world.messages(SendLimits::default()).await;
    let cork = first.cork();
    first.send(vec![1; 1000]).await.unwrap();
    first.hand_over().await.unwrap();
    assert_eq!(first.queued(), 0);
    // The queue, and behind it all that may be sent before the remote has accepted.
    while flood.try_send(vec![2; 1000]).is_ok() {}
    drop(cork);
    let message = tokio::time::timeout(DEADLINE, heard.recv()).await.expect("no credit was left").unwrap().unwrap();
    assert_eq!(message, vec![1; 1000]);
}
