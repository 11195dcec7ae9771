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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::SocketAddr;
    use std::task::Context;

    use p2p_core::TokioRuntime;

    use super::*;

    /// Fails with these errors, then takes connections of a real socket.
    #[derive(Debug)]
    struct Failing(Mutex<VecDeque<io::Error>>, Box<dyn ByteListener>);

    impl ByteListener for Failing {
        fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn ByteStream>>> {
            match self.0.lock().unwrap().pop_front() {
                Some(error) => Poll::Ready(Err(error)),
                None => self.1.poll_accept(cx),
            }
        }

        fn local_addr(&self) -> SocketAddr {
            self.1.local_addr()
        }
    }

    async fn accept_after(errors: impl IntoIterator<Item = io::Error>) -> Duration {
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
        let socket = runtime.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = runtime.tcp_connect(socket.local_addr()).await.unwrap();
        let failing = Failing(Mutex::new(errors.into_iter().collect()), socket);
        let listener = StreamListener::new(runtime.clone(), Box::new(failing));
        let begin = runtime.now();
        listener.accept().await.unwrap();
        runtime.now().duration_since(begin)
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_gone_cause_no_pause() {
        let gone = (0..1000).map(|_| io::ErrorKind::ConnectionAborted.into());
        assert_eq!(accept_after(gone).await, Duration::ZERO);
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_system_without_file_descriptors_is_asked_again_after_a_while() {
        const EMFILE: i32 = 24;
        let waited = accept_after((0..10).map(|_| io::Error::from_raw_os_error(EMFILE))).await;
        assert!(waited > Duration::from_secs(3) && waited < Duration::from_secs(10), "{waited:?}");
    }

    #[tokio::test]
    async fn nothing_comes_from_a_closed_socket() {
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
        let socket = runtime.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = StreamListener::new(runtime, socket);
        listener.close();
        assert!(listener.accept().await.is_none());
    }
}
