//! The life of a driver, and what it says at its end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use p2p_core::TaskGroup;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::decoder::Decoder;
use super::{READS_PER_TURN, SCRATCH, Shared, lock};

/// How long a connection that was closed here may take to say so, and to hear the remote's last bytes: a socket that is
/// closed with bytes unread resets the connection, which would destroy the good-bye.
const LINGER: Duration = Duration::from_secs(1);

/// Connections of one node that may linger at once: remotes that make us close one after the other, and stay, must not
/// use up the sockets. Beyond that the good-bye is what the socket takes at once.
const MAX_LINGERING: usize = 256;

/// One of [`MAX_LINGERING`] places.
struct Lingering<'a>(&'a AtomicUsize);

impl<'a> Lingering<'a> {
    fn take(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        // The guard exists before the look at the count: giving up the place is the same as leaving it.
        if count.fetch_add(1, Ordering::Relaxed) < MAX_LINGERING { Some(place) } else { None }
    }
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The driver of a connection. It keeps the group it runs in: whoever made the connection, and every handle, may be gone
/// before the last bytes are.
pub(in crate::mux) async fn run(driven: Driven, tasks: Arc<TaskGroup>) {
    let shared = &*driven.0;
    let mut freed = None;
    poll_fn(|cx| shared.poll_turn(cx, &mut freed)).await;
    shared.announce_end();
    let Some(_place) = Lingering::take(&shared.lingering) else { return };
    // Only an end that this side, or a violation, brought about leaves something to say.
    let _ = tasks.runtime().timeout(LINGER, say_goodbye(shared)).await;
}

/// A connection that has a driver. When that is gone, however it went and even if it never ran, nobody waits for it in
/// vain and the socket is closed.
pub(in crate::mux) struct Driven(pub(in crate::mux) Arc<Shared>);

impl Drop for Driven {
    fn drop(&mut self) {
        let shared = &*self.0;
        // Changes nothing unless the task was ended from outside.
        shared.with_core(|core| core.close(0, "shut down"));
        {
            let mut io = lock(&shared.io);
            // The remote is told as far as the socket takes it at once.
            let _ = shared.poll_write(&mut io, &mut Context::from_waker(Waker::noop()));
            shared.may_read(&mut io);
            io.stream = None;
            io.upload = None;
            io.batch = VecDeque::new();
            io.decoder = Decoder::new();
        }
        shared.announce_end();
    }
}

/// Writes what is left, ends the byte stream and reads it to its end.
async fn say_goodbye(shared: &Shared) -> io::Result<()> {
    poll_fn(|cx| shared.poll_write(&mut lock(&shared.io), cx)).await?;
    poll_fn(|cx| match &mut lock(&shared.io).stream {
        Some(stream) => Pin::new(stream).poll_shutdown(cx),
        None => Poll::Ready(Ok(())),
    })
    .await?;
    poll_fn(|cx| {
        let Some(stream) = &mut lock(&shared.io).stream else { return Poll::Ready(Ok(())) };
        let mut stream = Pin::new(stream);
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..READS_PER_TURN {
                let mut buf = ReadBuf::new(scratch);
                std::task::ready!(stream.as_mut().poll_read(cx, &mut buf))?;
                if buf.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            // A remote that goes on talking must not keep the thread, nor the time-out from coming.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    })
    .await
}
