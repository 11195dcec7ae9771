//! Whether a tokio runtime can do what is asked of it, which tokio itself answers with panics.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::{Error, Result};

/// What is known of one runtime.
#[derive(Debug, Default)]
pub(super) struct Alive {
    ended: Arc<AtomicBool>,
    /// A task on the runtime that waits for its end: tokio drops all tasks before it stops the timers.
    watching: OnceLock<AbortHandle>,
    /// What it was built without.
    lacks: OnceLock<Option<&'static str>>,
}

/// Dropped with the runtime.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(task) = self.watching.get() {
            task.abort();
        }
    }
}

impl Alive {
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// From now on [`has_ended`](Self::has_ended) knows.
    #[inline]
    pub(super) fn watch(&self, handle: &Handle) {
        self.watching.get_or_init(|| {
            let ended = Ended(self.ended.clone());
            #[expect(clippy::disallowed_methods, reason = "it ends with the last that looks at it")]
            let task = handle.spawn(async move {
                let _ended = ended;
                pending::<()>().await;
            });
            task.abort_handle()
        });
    }

    pub(super) fn check(&self, handle: &Handle) -> Result<()> {
        self.watch(handle);
        if self.has_ended() {
            return Err(Error::RuntimeEnded);
        }
        self.lacks.get_or_init(|| lacks(handle)).map_or(Ok(()), |driver| Err(Error::NoDriver(driver)))
    }
}

/// What a runtime was built without. There is no question for it, only a panic, which prints its text.
#[expect(clippy::disallowed_methods, reason = "it asks tokio itself")]
fn lacks(handle: &Handle) -> Option<&'static str> {
    let _context = handle.enter();
    if panics(|| drop(tokio::time::sleep(std::time::Duration::ZERO))) {
        return Some("time driver");
    }
    // Quick, and needs no network. That the system refuses it is nothing that the runtime lacks.
    #[cfg(unix)]
    let socket = || drop(tokio::net::UnixDatagram::unbound());
    #[cfg(not(unix))]
    let socket = || {
        if let Ok(socket) = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)) {
            // It need not be non-blocking to be registered.
            let _ = socket.set_nonblocking(true);
            drop(tokio::net::UdpSocket::from_std(socket));
        }
    };
    panics(socket).then_some("I/O driver")
}

fn panics(call: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}
