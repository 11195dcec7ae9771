//! What comes of a task that a test has started on a host.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// Waits for the output of a task. Dropping it changes nothing for the task.
#[derive(Debug)]
pub struct JoinHandle<T>(oneshot::Receiver<std::thread::Result<T>>);

/// Why a task has no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It panicked.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// Its host went down, or the world ended.
    #[error("the task is gone with its host")]
    Gone,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(receiver: oneshot::Receiver<std::thread::Result<T>>) -> Self {
        Self(receiver)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|received| match received {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(panic)) => Err(JoinError::Panicked(p2p_core::task::panic_message(&*panic).to_owned())),
            Err(_) => Err(JoinError::Gone),
        })
    }
}
