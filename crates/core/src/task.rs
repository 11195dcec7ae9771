//! Tasks with an owner.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable};
use pin_project_lite::pin_project;
use tokio::sync::Notify;

use crate::Runtime;

/// Lets the other tasks of the executor run once: for a task that always finds something to do. Cancel-safe.
pub async fn pass() {
    let mut passed = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut passed, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs `future` until `end` is ready, which wins: then the result is `None`.
pub fn until<F: Future, E: Future>(future: F, end: E) -> Until<F, E> {
    Until { future, end }
}

pin_project! {
    /// A future that runs until another one is ready; made by [`until`].
    #[derive(Debug)]
    #[must_use = "nothing happens until it is awaited"]
    pub struct Until<F, E> {
        #[pin]
        future: F,
        #[pin]
        end: E,
    }
}

impl<F: Future, E: Future> Future for Until<F, E> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.end.poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        this.future.poll(cx).map(Some)
    }
}

/// Owns the tasks it spawns: dropping the group, or [`shutdown`](Self::shutdown), ends them. A panic in a task is
/// logged and ends that task alone.
///
/// ```
/// # #[cfg(feature = "tokio")] tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use p2p_core::{TaskGroup, runtime};
///
/// let tasks = TaskGroup::new(runtime::current().unwrap());
/// tasks.spawn("forever", std::future::pending());
/// assert_eq!(tasks.len(), 1);
/// tasks.shutdown().await;
/// assert!(tasks.is_empty());
/// # });
/// ```
pub struct TaskGroup {
    runtime: Arc<dyn Runtime>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    closed: bool,
    next: u64,
    live: BTreeMap<u64, AbortHandle>,
}

/// One spawned task. Dropping the handle changes nothing.
#[derive(Debug, Clone)]
pub struct TaskHandle(AbortHandle);

impl TaskHandle {
    /// Ends the task where it waits; its future is dropped soon after, on the runtime.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after each statement, whatever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Strikes a task off the list when its future is gone, however it went: even when the runtime drops it unpolled.
struct Entry {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let emptied = {
            let mut state = self.shared.lock();
            state.live.remove(&self.id);
            state.live.is_empty()
        };
        if emptied {
            self.shared.ended.notify_waiters();
        }
    }
}

impl TaskGroup {
    /// An empty group whose tasks run on `runtime`.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, shared: Arc::default() }
    }

    /// Runs `future` until it ends, the group ends, [`TaskHandle::abort`], or its runtime is gone. After
    /// [`shutdown`](Self::shutdown) has begun the future is dropped at once.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        let (abort, registration) = AbortHandle::new_pair();
        let entry = {
            let mut state = self.shared.lock();
            if state.closed {
                abort.abort();
                return TaskHandle(abort);
            }
            let id = state.next;
            state.next += 1;
            state.live.insert(id, abort.clone());
            Entry { shared: self.shared.clone(), id }
        };
        let task = Abortable::new(AssertUnwindSafe(future).catch_unwind(), registration);
        // `map` drops the task before it calls the closure, and before it drops the closure unpolled. An async block
        // promises no such order, and the entry must outlive the task for `wait` to mean that the future is gone.
        self.runtime.spawn(Box::pin(task.map(move |outcome| {
            if let Ok(Err(panic)) = outcome {
                tracing::error!(task = name, panic = panic_message(&*panic), "a task panicked");
            }
            drop(entry);
        })));
        TaskHandle(abort)
    }

    /// Tasks that have not ended.
    pub fn len(&self) -> usize {
        self.shared.lock().live.len()
    }

    /// Whether every task has ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until every task has ended by itself.
    pub async fn wait(&self) {
        loop {
            let mut ended = pin!(self.shared.ended.notified());
            ended.as_mut().enable();
            if self.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Ends every task, refuses new ones, and waits until all are gone: every future has been dropped when this returns.
    /// Idempotent; cancel-safe. It takes a runtime that still runs, or one that has been dropped; a task that blocks its
    /// thread is waited for.
    pub async fn shutdown(&self) {
        self.abort_all();
        self.wait().await;
    }

    /// Ends every task and refuses new ones, without waiting.
    pub fn abort_all(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let live: Vec<_> = state.live.values().cloned().collect();
        drop(state);
        live.iter().for_each(AbortHandle::abort);
    }

    /// Where the tasks run.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }
}

impl Drop for TaskGroup {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup").field("live", &self.len()).finish_non_exhaustive()
    }
}

/// The message of a caught panic, as `panic!` was given it.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
