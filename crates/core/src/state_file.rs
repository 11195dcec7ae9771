//! [`StateFile`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Runtime;

/// A file that is replaced from time to time, by a disk that may take long: nothing waits for it but
/// [`saved`](Self::saved). Of what is to be saved while the disk is busy, the newest is; a failure is logged, and the
/// next content tried. Clones are the same file.
#[derive(Clone)]
pub struct StateFile(Arc<Inner>);

struct Inner {
    runtime: Arc<dyn Runtime>,
    path: PathBuf,
    state: Mutex<State>,
    idle: Notify,
}

#[derive(Default)]
struct State {
    wanted: Option<Vec<u8>>,
    /// Whether somebody writes: one at a time, or an older content might come last.
    busy: bool,
}

impl StateFile {
    /// The file at `path` of the runtime's disk. Nothing is read or written.
    pub fn new(runtime: Arc<dyn Runtime>, path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Inner { runtime, path: path.into(), state: Mutex::default(), idle: Notify::new() }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Replaces the file with `content` soon. Returns at once.
    pub fn save(&self, content: Vec<u8>) {
        {
            let mut state = self.0.lock();
            state.wanted = Some(content);
            if std::mem::replace(&mut state.busy, true) {
                return;
            }
        }
        let writer = Writer { inner: self.0.clone(), done: false };
        self.0.runtime.run_blocking(Box::new(move || writer.write()));
    }

    /// Waits until all that was to be saved is, has failed, or never will be since the runtime has ended. Cancel-safe.
    pub async fn saved(&self) {
        loop {
            let mut idle = pin!(self.0.idle.notified());
            idle.as_mut().enable();
            if !self.0.lock().busy {
                return;
            }
            idle.await;
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Both fields are valid after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever writes. A runtime that has ended drops it unused.
struct Writer {
    inner: Arc<Inner>,
    /// Whether it has handed over: from then on the state is the next writer's.
    done: bool,
}

impl Writer {
    fn write(mut self) {
        while let Some(content) = self.next() {
            let Inner { runtime, path, .. } = &*self.inner;
            if let Err(error) = runtime.files().replace(path, &content) {
                tracing::warn!(
                    path = %path.display(), %error,
                    "what is to be remembered cannot be saved, and a restart will not know of it: make the path writable",
                );
            }
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut state = self.inner.lock();
        let content = state.wanted.take();
        state.busy = content.is_some();
        self.done = !state.busy;
        content
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.done {
            *self.inner.lock() = State::default();
        }
        self.inner.idle.notify_waiters();
    }
}

impl fmt::Debug for StateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateFile").field("path", &self.0.path).finish_non_exhaustive()
    }
}
