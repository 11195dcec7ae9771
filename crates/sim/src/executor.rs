//! Tasks, and which of those that are ready runs next: the seed decides.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use p2p_core::Runtime;
use p2p_core::runtime::{self, BoxFuture};
use p2p_core::task::panic_message;

use crate::arena::{Arena, Id};
use crate::fault;
use crate::host::HostId;
use crate::rng::{Rng, Stream};
use crate::shared::{Shared, lock};
use crate::timeline::Nanos;
use crate::world::{Due, World};

/// What can run now.
#[derive(Debug)]
pub(crate) struct Ready(Mutex<(Vec<Runnable>, Rng)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runnable {
    /// The future that [`Sim::block_on`](crate::Sim::block_on) was given.
    Main,
    Task(Id),
}

impl Ready {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new((Vec::new(), Rng::new(seed, Stream::Schedule))))
    }

    fn push(&self, runnable: Runnable) {
        lock(&self.0).0.push(runnable);
    }

    fn pick(&self) -> Option<Runnable> {
        let mut guard = lock(&self.0);
        let (queue, rng) = &mut *guard;
        match queue.len() {
            0 => None,
            1 => queue.pop(),
            len => Some(queue.swap_remove(rng.below(len as u64) as usize)),
        }
    }

    fn clear(&self) {
        lock(&self.0).0.clear();
    }
}

/// Makes one task ready, once until it has been polled.
pub(crate) struct Notifier {
    runnable: OnceLock<Runnable>,
    is_queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Notifier {
    pub(crate) fn main(ready: &Arc<Ready>) -> Arc<Self> {
        let this = Self::new(ready);
        this.set(Runnable::Main);
        this
    }

    fn new(ready: &Arc<Ready>) -> Arc<Self> {
        Arc::new(Self { runnable: OnceLock::new(), is_queued: AtomicBool::new(false), ready: ready.clone() })
    }

    fn set(&self, runnable: Runnable) {
        // Set once, by whoever made it.
        let _ = self.runnable.set(runnable);
    }

    /// From now on it may be queued again.
    pub(crate) fn begin(&self) {
        self.is_queued.store(false, Ordering::Release);
    }
}

impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel)
            && let Some(runnable) = self.runnable.get()
        {
            self.ready.push(*runnable);
        }
    }
}

/// All tasks, and which of their hosts may run.
#[derive(Default)]
pub(crate) struct Tasks {
    all: Arena<Task>,
    hosts: Vec<HostTasks>,
    is_closed: bool,
    last_polled: Option<HostId>,
}

#[derive(Default)]
struct HostTasks {
    live: usize,
    is_paused: bool,
    /// Became ready during a pause.
    parked: Vec<Id>,
}

struct Task {
    host: HostId,
    runtime: Arc<dyn Runtime>,
    /// Away while it is polled.
    future: Option<BoxFuture<()>>,
    notifier: Arc<Notifier>,
    waker: Waker,
}

impl Tasks {
    pub(crate) fn add_host(&mut self) {
        self.hosts.push(HostTasks::default());
    }

    pub(crate) fn live(&self, host: HostId) -> usize {
        self.hosts[host.index()].live
    }

    pub(crate) fn pause(&mut self, host: HostId) {
        self.hosts[host.index()].is_paused = true;
    }

    pub(crate) fn is_paused(&self, host: HostId) -> bool {
        self.hosts[host.index()].is_paused
    }

    /// The host of the task that ran last.
    pub(crate) fn last_polled(&self) -> Option<HostId> {
        self.last_polled
    }

    fn remove(&mut self, id: Id) -> Option<Task> {
        let task = self.all.remove(id)?;
        self.hosts[task.host.index()].live -= 1;
        Some(task)
    }
}

impl Shared {
    /// Starts a task. Once the world is closed, its future is dropped.
    pub(crate) fn spawn(&self, host: HostId, runtime: Arc<dyn Runtime>, future: BoxFuture<()>) {
        let notifier = Notifier::new(&self.ready);
        let waker = Waker::from(notifier.clone());
        let mut tasks = self.tasks();
        if tasks.is_closed {
            drop(tasks);
            return drop_guarded(future);
        }
        tasks.hosts[host.index()].live += 1;
        let id = tasks.all.insert(Task {
            host,
            runtime,
            future: Some(future),
            notifier: notifier.clone(),
            waker: waker.clone(),
        });
        drop(tasks);
        notifier.set(Runnable::Task(id));
        waker.wake();
    }

    /// What is ready next, in the seed's order.
    pub(crate) fn pick(&self) -> Option<Runnable> {
        self.ready.pick()
    }

    /// Polls a task, unless it is gone or its host is paused.
    pub(crate) fn poll_task(&self, id: Id) {
        let mut tasks = self.tasks();
        let Some(task) = tasks.all.get_mut(id) else { return };
        let host = task.host;
        if tasks.hosts[host.index()].is_paused {
            tasks.hosts[host.index()].parked.push(id);
            return;
        }
        tasks.last_polled = Some(host);
        let Some(task) = tasks.all.get_mut(id) else { return };
        let Some(mut future) = task.future.take() else { return };
        let (runtime, waker) = (task.runtime.clone(), task.waker.clone());
        task.notifier.begin();
        drop(tasks);

        let _entered = runtime::enter(runtime);
        let mut cx = Context::from_waker(&waker);
        let outcome = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(&mut cx)));
        let ended = match outcome {
            Ok(Poll::Pending) => {
                let mut tasks = self.tasks();
                match tasks.all.get_mut(id) {
                    Some(task) => {
                        task.future = Some(future);
                        return;
                    }
                    // Its host went down meanwhile.
                    None => None,
                }
            }
            Ok(Poll::Ready(())) => self.tasks().remove(id),
            Err(panic) => {
                self.panicked(host, panic_message(&*panic));
                self.tasks().remove(id)
            }
        };
        drop(ended);
        drop_guarded(future);
    }

    fn panicked(&self, host: HostId, message: &str) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%host, panic = message, "a task panicked");
        self.with(|world| world.trace.text(world.now, Some(host), &format!("a task panicked: {message}")));
    }

    /// Lets the next event happen, unless it is later than `limit`. False if there was none.
    pub(crate) fn advance(self: &Arc<Self>, limit: Nanos) -> Due {
        let due = self.with(|world| {
            let due = world.advance(limit);
            self.set_now(world.now);
            due
        });
        match due {
            Due::Fault(fault) => {
                fault::apply(self, *fault);
                Due::Done
            }
            due => due,
        }
    }

    /// Ends all tasks of a host. Their futures are dropped on it.
    pub(crate) fn end_tasks(&self, host: HostId) {
        let mut ended = Vec::new();
        {
            let mut tasks = self.tasks();
            let ids: Vec<_> = tasks.all.iter().filter(|(_, task)| task.host == host).map(|(id, _)| id).collect();
            ended.extend(ids.into_iter().filter_map(|id| tasks.remove(id)));
            let entry = &mut tasks.hosts[host.index()];
            entry.is_paused = false;
            entry.parked.clear();
        }
        drop_tasks(ended);
    }

    pub(crate) fn resume(&self, host: HostId) {
        let parked = {
            let mut tasks = self.tasks();
            let entry = &mut tasks.hosts[host.index()];
            entry.is_paused = false;
            std::mem::take(&mut entry.parked)
        };
        parked.into_iter().for_each(|id| self.ready.push(Runnable::Task(id)));
    }

    /// Ends all tasks of all hosts, and refuses new ones.
    pub(crate) fn close(&self) {
        let ended: Vec<_> = {
            let mut tasks = self.tasks();
            tasks.is_closed = true;
            let ids: Vec<_> = tasks.all.iter().map(|(id, _)| id).collect();
            ids.into_iter().filter_map(|id| tasks.remove(id)).collect()
        };
        drop_tasks(ended);
        self.ready.clear();
        // What programs hold may hold timers and sockets, whose end locks the world.
        let machines: Vec<_> = self.with(|world| world.hosts.iter().map(|host| host.machine.clone()).collect());
        machines.iter().for_each(|machine| machine.forget_programs());
        let left = self.with(World::clear);
        drop(left);
    }
}

fn drop_tasks(ended: Vec<Task>) {
    for Task { runtime, future, .. } in ended {
        let _entered = runtime::enter(runtime);
        future.into_iter().for_each(drop_guarded);
    }
}

/// Drops a future; a panic of a destructor ends there.
fn drop_guarded(future: BoxFuture<()>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
        tracing::error!(panic = panic_message(&*panic), "a destructor panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_order() {
        let order = |seed| {
            let ready = Ready::new(seed);
            let mut ids = Arena::default();
            let ids: Vec<_> = (0..20).map(|n| ids.insert(n)).collect();
            ids.iter().for_each(|id| ready.push(Runnable::Task(*id)));
            let picked: Vec<_> = std::iter::from_fn(|| ready.pick()).collect();
            assert!(ids.iter().all(|id| picked.contains(&Runnable::Task(*id))), "each is picked once");
            picked
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
