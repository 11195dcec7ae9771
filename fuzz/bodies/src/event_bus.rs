//! The event bus: any order of sending, listening and reading, against plain bounded queues.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use p2p_core::{EventBus, EventListener, RecvError};

use crate::input::Input;

/// Listeners at once.
const LISTENERS: usize = 6;

struct Heard {
    listener: EventListener<u32>,
    queue: VecDeque<u32>,
    missed: u64,
    lost: u64,
    waiting: bool,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Heard {
    fn expected(&mut self, closed: bool) -> Option<Result<u32, RecvError>> {
        if self.missed > 0 {
            return Some(Err(RecvError::Lagged(std::mem::take(&mut self.missed))));
        }
        self.queue.pop_front().map(Ok).or(closed.then_some(Err(RecvError::Closed)))
    }
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let len = input.below(9);
    let mut buses = vec![EventBus::new(len)];
    let mut listeners: Vec<Heard> = Vec::new();
    let mut event = 0;
    while !input.is_empty() {
        let (what, which) = (input.below(8), input.byte());
        let closed = buses.is_empty();
        let count = listeners.len();
        let heard = listeners.get_mut(usize::from(which) % count.max(1));
        match (what, heard) {
            (0, _) if count < LISTENERS => listeners.extend(buses.last().map(|bus| Heard {
                listener: bus.register(),
                queue: VecDeque::new(),
                missed: 0,
                lost: 0,
                waiting: false,
                woken: Arc::default(),
            })),
            (1..=3, _) => {
                let Some(bus) = buses.last() else { continue };
                event += 1;
                assert_eq!(bus.has_listeners(), count > 0);
                bus.emit(event);
                for heard in &mut listeners {
                    if heard.queue.len() == len.max(1) {
                        heard.queue.pop_front();
                        heard.missed += 1;
                        heard.lost += 1;
                    }
                    heard.queue.push_back(event);
                }
            }
            (4, Some(heard)) => assert_eq!(heard.listener.try_recv(), heard.expected(closed)),
            (5, Some(heard)) => {
                heard.woken.0.store(false, Ordering::Relaxed);
                let waker = Waker::from(heard.woken.clone());
                let polled = heard.listener.poll_recv(&mut Context::from_waker(&waker));
                heard.waiting = polled.is_pending();
                assert_eq!(polled, heard.expected(closed).map_or(Poll::Pending, Poll::Ready));
            }
            (6, Some(_)) => drop(listeners.swap_remove(usize::from(which) % count)),
            (7, _) if which & 3 == 0 => drop(buses.pop()),
            (7, _) => buses.extend(buses.last().cloned()),
            _ => {}
        }
        for heard in &listeners {
            assert_eq!(heard.listener.lost(), heard.lost);
            let ready = heard.missed > 0 || !heard.queue.is_empty() || buses.is_empty();
            assert!(!(heard.waiting && ready) || heard.woken.0.load(Ordering::Relaxed), "a listener sleeps on");
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![vec![2, 0, 0, 0, 1, 5, 0, 1, 0, 1, 0, 1, 0, 4, 0, 4, 0, 5, 1, 6, 0, 1, 0, 7, 0, 5, 0, 5, 0]]
}
