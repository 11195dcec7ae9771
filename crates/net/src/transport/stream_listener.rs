//! Accepting byte streams, whatever goes wrong with some of them.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use p2p_core::runtime::{ByteListener, ByteStream};
use p2p_core::{Backoff, Runtime};

/// The pause after the system could not accept, and the longest one while it goes on.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A listening socket that can be closed while somebody waits on it.
#[derive(Debug)]
pub(super) struct StreamListener {
    runtime: Arc<dyn Runtime>,
    socket: Mutex<Option<Box<dyn ByteListener>>>,
    /// A socket wakes one waiting task only: callers queue here.
    turn: tokio::sync::Mutex<Backoff>,
}

impl StreamListener {
    pub(super) fn new(runtime: Arc<dyn Runtime>, socket: Box<dyn ByteListener>) -> Self {
        let backoff = Backoff::new(PAUSE.0, PAUSE.1);
        Self { runtime, socket: Mutex::new(Some(socket)), turn: tokio::sync::Mutex::new(backoff) }
    }

    /// The next connection; `None` once closed. A connection that is gone before it was accepted is passed over, and
    /// when the system cannot accept (out of file descriptors, say) this waits and tries again. Cancel-safe.
    pub(super) async fn accept(&self) -> Option<Box<dyn ByteStream>> {
        let mut backoff = self.turn.lock().await;
        loop {
            match poll_fn(|cx| self.socket().as_ref().map_or(Poll::Ready(None), |s| s.poll_accept(cx).map(Some)))
                .await?
            {
                Ok(stream) => {
                    backoff.reset();
                    return Some(stream);
                }
                Err(error) if is_of_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    let pause = backoff.next(&*self.runtime);
                    tracing::warn!(%error, ?pause, "cannot accept connections; trying again");
                    self.runtime.sleep(pause).await;
                }
            }
        }
    }

    /// Gives the port back. The caller wakes whoever waits in [`accept`](Self::accept).
    pub(super) fn close(&self) {
        self.socket().take();
    }

    fn socket(&self) -> MutexGuard<'_, Option<Box<dyn ByteListener>>> {
        // An `Option` is valid whatever panicked.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the error is about the one connection only. Anybody can cause these at will, so they must not cause a pause.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted
            | K::ConnectionReset
            | K::ConnectionRefused
            | K::NotConnected
            | K::BrokenPipe
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
            | K::TimedOut
            | K::Interrupted
            // What setting an option of a connection that is gone gives on some systems.
            | K::InvalidInput
    )
}
