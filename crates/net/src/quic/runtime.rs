//! Our runtime as quinn wants it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use p2p_core::TaskGroup;

/// Gives quinn the timers and the clock of a task group's runtime, and its tasks an owner: the group.
pub(super) struct QuinnRuntime {
    tasks: Arc<TaskGroup>,
}

impl QuinnRuntime {
    pub(super) fn new(tasks: Arc<TaskGroup>) -> Self {
        Self { tasks }
    }
}

impl quinn::Runtime for QuinnRuntime {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn quinn::AsyncTimer>> {
        Box::pin(Timer(self.tasks.runtime().timer(deadline)))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tasks.spawn("quic", future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "sockets come from the runtime"))
    }

    fn now(&self) -> Instant {
        self.tasks.runtime().now()
    }
}

impl fmt::Debug for QuinnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QuinnRuntime").field(self.tasks.runtime()).finish()
    }
}

#[derive(Debug)]
struct Timer(Pin<Box<dyn p2p_core::runtime::Timer>>);

impl quinn::AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.0.as_mut().reset(deadline);
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
