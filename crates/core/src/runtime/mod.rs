//! [`Runtime`]: where time, tasks, entropy, sockets, host names and files come from.
//!
//! Hot operations are `poll_*` methods on trait objects; boxing happens once per task, timer, socket or look-up.

mod forward;
mod recovery;
mod route;
mod steady_udp;
mod time;
mod udp;

#[cfg(any(feature = "tokio", feature = "smol"))]
mod host;
#[cfg(feature = "smol")]
mod smol;
#[cfg(any(feature = "tokio", feature = "smol"))]
mod tcp_table;
#[cfg(feature = "tokio")]
mod tokio;
#[cfg(feature = "tokio")]
mod tokio_alive;

#[cfg(feature = "testing")]
pub mod contract;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use ::tokio::io::{AsyncRead, AsyncWrite};

pub use self::recovery::{Recovery, Remedy, SocketEvent};
pub use self::route::{choose_local, is_unknown_family, is_unroutable, lacks_family};
#[cfg(feature = "smol")]
pub use self::smol::SmolRuntime;
pub use self::steady_udp::SteadyUdp;
pub use self::time::{Elapsed, Interval, Sleep, Timeout};
#[cfg(feature = "tokio")]
pub use self::tokio::TokioRuntime;
pub use self::udp::{ConnectedUdp, Datagrams, RecvMeta, UdpSocket};

use crate::file::FileSystem;

/// A future on the heap, as runtimes take and give them.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Everything that touches the world. Used as `Arc<dyn Runtime>`; what is built on these methods (sleeping,
/// time-outs, intervals, random numbers) is on `dyn Runtime` itself.
///
/// An implementation passes the contract tests in `runtime::contract` (feature `testing`).
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Starts a task that nobody owns yet: use a [`TaskGroup`](crate::TaskGroup), which owns what it spawns.
    fn spawn(&self, future: BoxFuture<()>);

    /// Runs work that blocks its thread, such as reading a file, where no task waits for it. Returns at once. A runtime that
    /// has ended drops it. The default runs it right here, which suits runtimes whose disks take no time.
    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    /// Whether what is asked of it will be done: it has not ended, and has timers and sockets. Quick. The default never
    /// complains.
    ///
    /// # Errors
    /// [`Error::RuntimeEnded`](crate::Error::RuntimeEnded), [`Error::NoDriver`](crate::Error::NoDriver).
    fn check(&self) -> crate::Result<()> {
        Ok(())
    }

    /// Monotonic time.
    fn now(&self) -> Instant;

    /// Wall-clock time: for people and logs, never for deciding anything about a remote.
    fn system_time(&self) -> SystemTime;

    /// A timer that fires at `deadline`, or when the runtime has ended: whoever still waits then goes on.
    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>>;

    /// Fills `bytes` with unpredictable ones.
    fn fill_random(&self, bytes: &mut [u8]);

    /// Opens a TCP connection with `TCP_NODELAY` set.
    fn tcp_connect(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn ByteStream>>>;

    /// As [`tcp_connect`](Self::tcp_connect), with segments of at most [`TCP_SMALL_SEGMENT`] bytes in both directions where
    /// the system can do that, else as it is: for a path that swallows large packets without a word.
    fn tcp_connect_small(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn ByteStream>>> {
        self.tcp_connect(addr)
    }

    /// Whether the remote of a TCP connection is alive and has no room for what is sent to it, since nobody reads there:
    /// its system acknowledges and takes nothing. `false` where this system does not tell, as by default. Not for every
    /// connection all the time: it may take as long as there are connections.
    fn tcp_remote_is_full(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let _ = (local, remote);
        false
    }

    /// Listens for TCP connections; an IPv6 socket takes IPv6 only.
    ///
    /// # Errors
    /// What the system says, such as [`io::ErrorKind::AddrInUse`].
    fn tcp_listen(&self, addr: SocketAddr) -> io::Result<Box<dyn ByteListener>>;

    /// Opens a UDP socket with buffers of [`UDP_BUFFER_BYTES`] where the system allows; an IPv6 socket takes IPv6 only.
    ///
    /// # Errors
    /// What the system says.
    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn UdpSocket>>;

    /// Opens a UDP socket that talks to `remote` only, from the address and the port that the system chooses. Sends
    /// nothing.
    ///
    /// # Errors
    /// What the system says, such as [`io::ErrorKind::NetworkUnreachable`] when there is no route.
    fn udp_connect(&self, remote: SocketAddr) -> io::Result<Box<dyn ConnectedUdp>>;

    /// The addresses of a host name, in the system's order of preference. A look-up may go on in the background after
    /// the future is dropped.
    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>>;

    /// The addresses of this machine's network interfaces that others may reach, sorted: no loopback and no link-local
    /// ones. It is quick, and asked every few seconds, to notice that the network has changed.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::Unsupported`] where it cannot be asked, which is what this does if it is not
    /// implemented.
    fn local_addresses(&self) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The disk.
    fn files(&self) -> &dyn FileSystem;
}

/// Size asked for a UDP socket's send and receive buffers: the 208 KiB that Linux gives drop packets when many
/// QUIC handshakes arrive together.
pub const UDP_BUFFER_BYTES: usize = 4 << 20;

/// Unsent bytes that a new TCP socket may hold in the kernel (`TCP_NOTSENT_LOWAT`), where the system has that limit. What
/// is below it cannot be overtaken by control frames, so it bounds how late a ping goes out on a slow link; see
/// [`ByteStream::unsent_limit`], which raises it on lines that turn out to be fast.
pub const TCP_UNSENT_BYTES: u32 = 8 << 10;

/// Sets how many unsent bytes the system may hold for a byte stream. Clones set the same stream's; a stream for which the
/// system has no such limit takes no notice.
#[derive(Debug, Clone)]
pub struct UnsentLimit(Arc<AtomicU32>);

impl Default for UnsentLimit {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(TCP_UNSENT_BYTES)))
    }
}

impl UnsentLimit {
    /// In bytes; counts from the next write on.
    pub fn set(&self, bytes: u32) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// In bytes.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The most bytes in a segment of [`Runtime::tcp_connect_small`]: with all headers less than the 1,280 bytes that each
/// link of IPv6 carries (RFC 8200 §5), and some tunnel around it.
pub const TCP_SMALL_SEGMENT: u32 = 1000;

/// A byte stream such as a TCP connection. Shutting it down ends its writing half only. What is written goes out without
/// a flush. Its futures may be polled on any thread and inside any runtime.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug {
    /// The other side.
    fn peer_addr(&self) -> SocketAddr;

    /// This side.
    fn local_addr(&self) -> SocketAddr;

    /// Where to set how many bytes may be unsent in the system. What is written beyond it waits with whoever writes.
    fn unsent_limit(&self) -> UnsentLimit {
        UnsentLimit::default()
    }
}

/// Accepts byte streams.
pub trait ByteListener: Send + Sync + fmt::Debug {
    /// The next connection. Wakes one task: the last that polled. A connection that its dialer broke off while it
    /// waited is passed over.
    ///
    /// An error, such as the process being out of file descriptors, leaves the listener usable; it may come back at once,
    /// so wait a little before the next call.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn ByteStream>>>;

    /// Where it listens, with the port the system chose.
    fn local_addr(&self) -> SocketAddr;
}

/// Fires at its deadline, never before.
pub trait Timer: Send + Sync + fmt::Debug {
    /// Ready once the deadline has passed, and from then on until it is moved. Wakes one task: the last that polled.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Moves the deadline; the timer fires again, if it had. Poll it afterwards.
    fn reset(self: Pin<&mut Self>, deadline: Instant);
}

impl dyn Runtime {
    /// Reads a file as [`FileSystem::read`] does, and blocks nobody.
    ///
    /// # Errors
    /// Those of [`FileSystem::read`].
    pub async fn read_file(self: &Arc<Self>, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
        let (runtime, path) = (self.clone(), path.to_owned());
        let (tell, told) = ::tokio::sync::oneshot::channel();
        self.run_blocking(Box::new(move || {
            // Whoever asked may have given up.
            let _ = tell.send(runtime.files().read(&path, max_len));
        }));
        told.await.unwrap_or_else(|_| Err(io::Error::other("the runtime has ended")))
    }

    /// A random number, uniform over all of `u64`.
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_random(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Puts `items` into a random order (Fisher–Yates).
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            // The bias of a modulo over 2^64 is far below anything that matters for an order.
            items.swap(last, (self.random_u64() % (last as u64 + 1)) as usize);
        }
    }
}

thread_local! {
    static AMBIENT: RefCell<Option<Arc<dyn Runtime>>> = const { RefCell::new(None) };
}

/// Makes `runtime` what [`current`] finds on this thread, until the guard is dropped. A simulator does so while it
/// polls a task.
pub fn enter(runtime: Arc<dyn Runtime>) -> EnterGuard {
    EnterGuard { previous: AMBIENT.with(|ambient| ambient.replace(Some(runtime))), not_send: std::marker::PhantomData }
}

/// Ends what [`enter`] began.
#[derive(Debug)]
#[must_use = "the runtime is ambient only while the guard lives"]
pub struct EnterGuard {
    previous: Option<Arc<dyn Runtime>>,
    not_send: std::marker::PhantomData<*const ()>,
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        // Dropped outside of the borrow: the last handle of a runtime may run code that asks for the current one.
        let left = AMBIENT.with(|ambient| ambient.replace(self.previous.take()));
        drop(left);
    }
}

/// The runtime around the caller: one that was [entered](enter), else tokio's if called inside it, else smol's if that
/// feature is on.
///
/// # Errors
/// [`Error::NoRuntime`](crate::Error::NoRuntime).
pub fn current() -> crate::Result<Arc<dyn Runtime>> {
    if let Some(runtime) = AMBIENT.with(|ambient| ambient.borrow().clone()) {
        return Ok(runtime);
    }
    #[cfg(feature = "tokio")]
    if let Some(runtime) = TokioRuntime::current() {
        return Ok(Arc::new(runtime));
    }
    #[cfg(feature = "smol")]
    return Ok(Arc::new(SmolRuntime::new()));
    #[cfg(not(feature = "smol"))]
    Err(crate::Error::NoRuntime)
}
