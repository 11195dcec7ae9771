//! Every listener gets every event in order; a slow one loses its own oldest, and knows.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use p2p_core::{EventBus, EventListener, RecvError};
use proptest::prelude::*;

fn drain<E: Clone>(listener: &mut EventListener<E>) -> Vec<Result<E, RecvError>> {
    std::iter::from_fn(|| listener.try_recv().filter(|event| !matches!(event, Err(RecvError::Closed)))).collect()
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn each_listener_gets_each_event_from_its_registration_on() {
    let bus = EventBus::new(8);
    assert!(!bus.has_listeners());
    bus.emit(0);
    let mut early = bus.register();
    bus.emit(1);
    let mut late = bus.clone().register();
    bus.emit(2);
    assert!(bus.has_listeners());
    assert_eq!(drain(&mut early), [Ok(1), Ok(2)]);
    assert_eq!(drain(&mut late), [Ok(2)]);
    drop((early, late));
    assert!(!bus.has_listeners());
    bus.emit(3);
}

proptest! {
    /// Any order of sending and reading, against the plainest model of a bounded queue.
    #[test]
    fn a_full_queue_loses_its_oldest_and_counts(len in 0..6usize, sends in prop::collection::vec(any::<bool>(), 0..60)) {
        let bus = EventBus::new(len);
        let mut listener = bus.register();
        let (mut model, mut missed, mut lost) = (std::collections::VecDeque::new(), 0, 0);
        for (n, send) in sends.into_iter().enumerate() {
            if send {
                bus.emit(n);
                if model.len() == len.max(1) {
                    model.pop_front();
                    missed += 1;
                    lost += 1;
                }
                model.push_back(n);
            } else if missed > 0 {
                prop_assert_eq!(listener.try_recv(), Some(Err(RecvError::Lagged(missed))));
                missed = 0;
            } else {
                prop_assert_eq!(listener.try_recv(), model.pop_front().map(Ok));
            }
            prop_assert_eq!(listener.lost(), lost);
        }
    }
}

#[test]
fn a_slow_listener_harms_no_other() {
    let bus = EventBus::new(2);
    let (mut slow, mut quick) = (bus.register(), bus.register());
    for n in 0..100 {
        bus.emit(n);
        assert_eq!(quick.try_recv(), Some(Ok(n)));
    }
    assert_eq!(drain(&mut slow), [Err(RecvError::Lagged(98)), Ok(98), Ok(99)]);
    assert_eq!((slow.lost(), quick.lost()), (98, 0));
}

#[test]
fn listeners_end_after_the_last_handle_and_the_last_event() {
    let bus = EventBus::new(4);
    let other = bus.clone();
    let mut listener = bus.register();
    bus.emit(1);
    drop(bus);
    other.emit(2);
    drop(other);
    assert_eq!(drain(&mut listener), [Ok(1), Ok(2)]);
    for _ in 0..2 {
        assert_eq!(listener.try_recv(), Some(Err(RecvError::Closed)));
    }
}

#[test]
fn the_end_wakes_who_waits() {
    let bus = EventBus::<u8>::new(4);
    let mut listener = bus.register();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(listener.poll_recv(&mut cx).is_pending());
    drop(bus);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(listener.poll_recv(&mut cx), Poll::Ready(Err(RecvError::Closed)));
}

#[test]
fn it_is_a_stream_with_gaps_as_items() {
    let bus = EventBus::new(2);
    let mut listener = bus.register();
    (0..3).for_each(|n| bus.emit(n));
    drop(bus);
    let mut next = || Pin::new(&mut listener).poll_next(&mut Context::from_waker(Waker::noop()));
    assert_eq!(next(), Poll::Ready(Some(Err(RecvError::Lagged(1)))));
    assert_eq!(next(), Poll::Ready(Some(Ok(1))));
    assert_eq!(next(), Poll::Ready(Some(Ok(2))));
    assert_eq!((next(), next()), (Poll::Ready(None), Poll::Ready(None)));
}

#[test]
fn a_look_does_not_unregister_the_task_that_waits() {
    let bus = EventBus::new(2);
    let mut listener = bus.register();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(listener.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(listener.try_recv(), None);
    bus.emit(());
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_dropped_recv_takes_no_event() {
    let bus = EventBus::new(2);
    let mut listener = bus.register();
    {
        let mut recv = pin!(listener.recv());
        assert!(recv.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        bus.emit(1);
    }
    assert_eq!(listener.try_recv(), Some(Ok(1)));
}

/// The code of an event runs while no lock is held: it may use the bus that carries it.
#[test]
fn events_may_use_their_bus() {
    #[derive(Clone)]
    struct Curious {
        bus: EventBus<Curious>,
        heard: Arc<Mutex<Vec<bool>>>,
    }
    impl Drop for Curious {
        fn drop(&mut self) {
            self.heard.lock().unwrap().push(self.bus.has_listeners());
        }
    }
    let bus = EventBus::new(1);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut first = bus.register();
    let second = bus.register();
    for _ in 0..3 {
        bus.emit(Curious { bus: bus.clone(), heard: heard.clone() });
    }
    assert_eq!(heard.lock().unwrap().len(), 2, "an event is not cloned for each listener");
    assert!(matches!(first.try_recv(), Some(Err(RecvError::Lagged(2)))));
    drop(first.try_recv());
    drop(bus);
    // Dropping the listener drops the last event, which holds the last handle of the bus.
    drop(second);
    drop(first);
    assert_eq!(heard.lock().unwrap().len(), 4);
}

/// Emitting and going to sleep race with each other: no event may be left behind with nobody woken.
#[tokio::test]
async fn a_closed_bus_ends_for_all_listeners_once_they_have_read_what_came_before() {
    let bus = EventBus::new(4);
    let (mut early, mut waits) = (bus.register(), bus.register());
    let closing = async {
        bus.emit(1);
        tokio::task::yield_now().await;
        bus.close();
        bus.emit(2);
        assert!(!bus.has_listeners());
    };
    let (waited, ()) = tokio::join!(async { (waits.recv().await, waits.recv().await) }, closing);
    assert_eq!((early.recv().await, early.recv().await), (Ok(1), Err(RecvError::Closed)));
    assert_eq!(waited, (Ok(1), Err(RecvError::Closed)));
    assert_eq!(bus.register().recv().await, Err(RecvError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() {
    const EVENTS: usize = 20_000;
    let bus = EventBus::new(EVENTS);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut listener = bus.register();
        tasks.spawn(async move {
            let mut received = Vec::new();
            while let Ok(event) = listener.recv().await {
                received.push(event);
                // Now and then from another task's waker.
                if received.len() % 1000 == 0 {
                    poll_fn(|cx| {
                        let _ = pin!(listener.recv()).poll(cx).map(|event| received.extend(event));
                        Poll::Ready(())
                    })
                    .await;
                    tokio::task::yield_now().await;
                }
            }
            received
        });
    }
    for sender in 0..2 {
        let bus = bus.clone();
        tasks.spawn(async move {
            for n in 0..EVENTS / 2 {
                bus.emit((sender, n));
                if n % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Vec::new()
        });
    }
    drop(bus);
    let received: Vec<_> = tasks.join_all().await.into_iter().filter(|events| !events.is_empty()).collect();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0], received[1], "all listeners see one order");
    for sender in 0..2 {
        let of_sender: Vec<_> = received[0].iter().filter(|event| event.0 == sender).map(|event| event.1).collect();
        assert_eq!(of_sender, (0..EVENTS / 2).collect::<Vec<_>>(), "nothing lost, doubled or out of order");
    }
}
