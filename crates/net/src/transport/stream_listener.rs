//! Accepting byte streams, whatever goes wrong with some of them.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use p2p_core::runtime::{ByteListener, ByteStream, Recovery, Remedy, SocketEvent};
use p2p_core::{EventBus, EventListener, Runtime};

/// Events that a listener may be behind with.
const EVENT_QUEUE: usize = 16;

/// Connections in a row that are gone before they are accepted: twice as many as may wait in the system. A socket that
/// gives more of them, and nothing else, is broken itself: one that was shut down says `EINVAL` for ever.
const GONE: u32 = 2048;

/// A listening socket that can be closed while somebody waits on it, and that is bound anew when it fails.
#[derive(Debug)]
pub(super) struct StreamListener {
    runtime: Arc<dyn Runtime>,
    local_addr: SocketAddr,
    socket: Mutex<Slot>,
    /// A socket wakes one waiting task only: callers queue here.
    turn: tokio::sync::Mutex<Recovery>,
    events: EventBus<SocketEvent>,
}

#[derive(Debug)]
enum Slot {
    Open(Box<dyn ByteListener>),
    /// It has failed; another one is to be bound.
    Failed,
    Closed,
}

/// What asking the socket gives.
enum Asked {
    Accepted(io::Result<Box<dyn ByteStream>>),
    Failed,
    Closed,
}

impl StreamListener {
    pub(super) fn new(runtime: Arc<dyn Runtime>, socket: Box<dyn ByteListener>) -> Self {
        Self {
            runtime,
            local_addr: socket.local_addr(),
            socket: Mutex::new(Slot::Open(socket)),
            turn: tokio::sync::Mutex::default(),
            events: EventBus::new(EVENT_QUEUE),
        }
    }

    /// The next connection; `None` once closed. A connection that is gone before it was accepted is passed over. When
    /// the system cannot accept (out of file descriptors, say) this waits and tries again; a socket whose error is its own
    /// and stays is bound anew. Cancel-safe.
    pub(super) async fn accept(&self) -> Option<Box<dyn ByteStream>> {
        let mut recovery = self.turn.lock().await;
        let mut gone = 0;
        loop {
            let asked = poll_fn(|cx| match &*self.slot() {
                Slot::Open(socket) => {
                    let asked = socket.poll_accept(cx).map(Asked::Accepted);
                    if asked.is_pending() {
                        gone = 0;
                    }
                    asked
                }
                Slot::Failed => Poll::Ready(Asked::Failed),
                Slot::Closed => Poll::Ready(Asked::Closed),
            });
            match asked.await {
                Asked::Accepted(Ok(stream)) => {
                    recovery.worked();
                    return Some(stream);
                }
                Asked::Accepted(Err(error)) if gone < GONE && is_of_connection(&error) => {
                    gone += 1;
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Asked::Accepted(Err(error)) => self.recover(&mut recovery, error).await,
                Asked::Failed => self.bind_anew(&mut recovery).await,
                Asked::Closed => return None,
            }
        }
    }

    async fn recover(&self, recovery: &mut Recovery, error: io::Error) {
        let pause = match recovery.failed(self.runtime.now(), &error, self.runtime.random_u64()) {
            Remedy::Retry => return,
            Remedy::Wait(pause) => {
                tracing::warn!(
                    local = %self.local_addr, %error, again_in = ?pause,
                    "cannot accept connections, and tries again: is the limit of open files (`ulimit -n`) too low?",
                );
                pause
            }
            Remedy::Rebind(after) => {
                tracing::warn!(local = %self.local_addr, %error, ?after, "a listening socket has failed; it is bound anew");
                self.replace(Slot::Failed);
                self.events.emit(SocketEvent::Failed(Arc::new(error)));
                after
            }
        };
        self.runtime.sleep(pause).await;
        recovery.resumed(self.runtime.now());
    }

    async fn bind_anew(&self, recovery: &mut Recovery) {
        match self.runtime.tcp_listen(self.local_addr) {
            Ok(socket) => {
                if self.replace(Slot::Open(socket)) {
                    tracing::info!(local = %self.local_addr, "a listening socket is bound anew");
                    self.events.emit(SocketEvent::Bound);
                }
                recovery.resumed(self.runtime.now());
            }
            Err(error) => {
                let wait = recovery.bind_failed(self.runtime.random_u64());
                tracing::warn!(
                    local = %self.local_addr, %error, again_in = ?wait,
                    "a listening socket cannot be bound anew, and is tried again: does another program use its port?",
                );
                self.runtime.sleep(wait).await;
            }
        }
    }

    /// Puts another socket into the place of the one there was, unless the listener is closed.
    fn replace(&self, socket: Slot) -> bool {
        let mut slot = self.slot();
        let is_closed = matches!(*slot, Slot::Closed);
        if !is_closed {
            *slot = socket;
        }
        !is_closed
    }

    /// Gives the port back. The caller wakes whoever waits in [`accept`](Self::accept).
    pub(super) fn close(&self) {
        *self.slot() = Slot::Closed;
        self.events.close();
    }

    /// What happens to the socket from now on.
    pub(super) fn events(&self) -> EventListener<SocketEvent> {
        self.events.register()
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        // A `Slot` is valid whatever panicked.
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
    use std::task::Context;
    use std::time::Duration;

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
        // Real time: none of it: tokio's clock is paused.
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

    /// Longer than anything takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(120);

    async fn is_bound_anew(broken: impl Fn() -> io::Error) {
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
        let socket = runtime.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = socket.local_addr();
        let errors = std::iter::repeat_with(broken).take(100_000).collect();
        let listener = StreamListener::new(runtime.clone(), Box::new(Failing(Mutex::new(errors), socket)));
        let mut events = listener.events();
        let accepting = runtime.timeout(PATIENCE, listener.accept());
        let dialing = async {
            assert!(matches!(events.recv().await, Ok(SocketEvent::Failed(_))));
            assert!(matches!(events.recv().await, Ok(SocketEvent::Bound)));
            runtime.tcp_connect(addr).await.unwrap()
        };
        let (accepted, _dialed) = tokio::join!(accepting, runtime.timeout(PATIENCE, dialing));
        assert_eq!(accepted.unwrap().unwrap().local_addr(), addr);
    }

    #[tokio::test]
    async fn a_socket_that_fails_for_good_is_bound_anew_at_its_port() {
        is_bound_anew(|| io::Error::other("broken")).await;
    }

    #[tokio::test]
    async fn a_socket_that_was_shut_down_is_bound_anew() {
        is_bound_anew(|| io::ErrorKind::InvalidInput.into()).await;
    }

    #[tokio::test]
    async fn a_listener_that_is_closed_while_its_socket_has_failed_stays_closed() {
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
        let socket = runtime.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = socket.local_addr();
        let broken = std::iter::repeat_with(|| io::Error::other("broken")).take(1000).collect();
        let listener = StreamListener::new(runtime.clone(), Box::new(Failing(Mutex::new(broken), socket)));
        let mut events = listener.events();
        let closing = async {
            assert!(matches!(events.recv().await, Ok(SocketEvent::Failed(_))));
            listener.close();
        };
        let (accepted, ()) = tokio::join!(runtime.timeout(PATIENCE, listener.accept()), closing);
        assert!(accepted.unwrap().is_none());
        assert!(runtime.tcp_listen(addr).is_ok(), "the port is free");
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
