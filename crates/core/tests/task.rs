//! Tasks end with their group, and a group knows when they have.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::pending;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p_core::{Runtime, TaskGroup, TokioRuntime, runtime};
use tokio::sync::oneshot;

fn group() -> TaskGroup {
    TaskGroup::new(runtime::current().unwrap())
}

/// Runs its closure when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_drops_every_future_before_it_returns() {
    for _ in 0..50 {
        let tasks = group();
        let held = Arc::new(());
        for n in 0..20 {
            let held = held.clone();
            tasks.spawn("holds", async move {
                let _held = OnDrop(move || {
                    // Long enough that a shutdown that does not wait returns first.
                    if n == 0 {
                        std::thread::yield_now();
                    }
                    let _ = &held;
                });
                pending::<()>().await;
            });
        }
        tasks.shutdown().await;
        assert!(tasks.is_empty());
        assert_eq!(Arc::strong_count(&held), 1);
        tasks.shutdown().await;
    }
}

#[tokio::test]
async fn a_task_that_never_ran_is_dropped_too() {
    let tasks = group();
    let held = Arc::new(());
    let inner = held.clone();
    tasks.spawn("never polled before the end", async move { drop(inner) });
    tasks.shutdown().await;
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test]
async fn a_spawn_after_shutdown_drops_its_future_at_once() {
    let tasks = group();
    tasks.abort_all();
    let held = Arc::new(());
    let inner = held.clone();
    let handle = tasks.spawn("too late", async move { drop(inner) });
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(tasks.is_empty());
    handle.abort();
    tasks.wait().await;
}

#[tokio::test]
async fn dropping_the_group_ends_its_tasks() {
    let tasks = group();
    let (sender, receiver) = oneshot::channel::<()>();
    let handle = tasks.spawn("holds", async move {
        pending::<()>().await;
        drop(sender);
    });
    drop(handle);
    tokio::task::yield_now().await;
    drop(tasks);
    assert!(receiver.await.is_err(), "the future is gone, and its sender with it");
}

#[tokio::test]
async fn abort_ends_one_task() {
    let tasks = group();
    let stays = tasks.spawn("stays", pending());
    let goes = tasks.spawn("goes", pending());
    goes.abort();
    while tasks.len() > 1 {
        tokio::task::yield_now().await;
    }
    goes.abort();
    stays.abort();
    tasks.wait().await;
}

#[tokio::test]
async fn a_task_may_shut_its_own_group_down() {
    let tasks = Arc::new(group());
    let inner = tasks.clone();
    tasks.spawn("ends all, itself included", async move { inner.shutdown().await });
    tasks.wait().await;
}

#[tokio::test]
async fn wait_may_be_dropped_and_begun_again() {
    let tasks = group();
    let (sender, receiver) = oneshot::channel::<()>();
    tasks.spawn("waits", async { drop(receiver.await) });
    assert!(tasks.runtime().timeout(Duration::from_millis(5), tasks.wait()).await.is_err());
    sender.send(()).unwrap();
    tokio::join!(tasks.wait(), tasks.wait());
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_is_logged_with_its_task_and_harms_no_other() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio.block_on(async {
            let tasks = group();
            let (sender, receiver) = oneshot::channel();
            tasks.spawn("fragile", async { panic!("broke {}", 7) });
            tasks.spawn("fragile too", async { panic!("broke plainly") });
            tasks.spawn("odd", async { std::panic::panic_any(7) });
            tasks.spawn("sound", async { sender.send(7).unwrap() });
            tasks.wait().await;
            assert_eq!(receiver.await, Ok(7));
        });
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for said in ["fragile", "broke 7", "fragile too", "broke plainly", "odd", "a panic without a message", "ERROR"] {
        assert!(log.contains(said), "{said:?} is not in: {log}");
    }
}

/// Some tasks have run and wait, some were never polled: with the runtime all go, each before the group forgets it.
#[test]
fn tasks_end_with_their_runtime() {
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::new(tokio.handle().clone()));
    let tasks = Arc::new(TaskGroup::new(runtime));
    let counted = Arc::new(Mutex::new(Vec::new()));
    let task = || {
        let (tasks, counted) = (tasks.clone(), counted.clone());
        let seen = OnDrop(move || counted.lock().unwrap().push(tasks.len()));
        async move {
            let _seen = seen;
            pending::<()>().await;
        }
    };
    tasks.spawn("polled", task());
    tokio.block_on(tokio::task::yield_now());
    tasks.spawn("never polled", task());
    drop(tokio);
    assert!(tasks.is_empty());
    assert_eq!(*counted.lock().unwrap(), [2, 1], "a future is dropped while it still counts");
    tasks.spawn("nowhere to run", task());
    assert!(tasks.is_empty(), "a runtime that is gone drops what it is given");
    let elsewhere = tokio::runtime::Builder::new_current_thread().build().unwrap();
    elsewhere.block_on(tasks.shutdown());
}
