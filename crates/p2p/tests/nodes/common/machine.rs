//! A machine with something wrong.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use p2p::Runtime;
use p2p::runtime::{BoxFuture, ByteListener, ByteStream, ConnectedUdp, UdpSocket};
use p2p_core::FileSystem;

/// A write that waits for so long stands in somebody's way.
const TOO_LONG: Duration = Duration::from_secs(20);

/// A runtime on such a machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) disk: Arc<Disk>,
    /// What the system says of IPv6 sockets, if it has none.
    pub(crate) no_ipv6: Option<fn() -> io::Error>,
}

/// A disk that can stand still.
#[derive(Debug)]
pub(crate) struct Disk {
    files: Arc<dyn Runtime>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stands_still: bool,
    waiting: usize,
    gave_up: bool,
}

impl Machine {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Self {
        let disk = Disk { files: runtime.clone(), state: Mutex::default(), changed: Condvar::new() };
        Self { runtime, disk: Arc::new(disk), no_ipv6: None }
    }

    fn family(&self, addr: SocketAddr) -> io::Result<()> {
        self.no_ipv6.filter(|_| addr.is_ipv6()).map_or(Ok(()), |error| Err(error()))
    }
}

impl Disk {
    /// From now on all writes wait.
    pub(crate) fn stand_still(&self) {
        self.state.lock().unwrap().stands_still = true;
    }

    pub(crate) fn go_on(&self) {
        self.state.lock().unwrap().stands_still = false;
        self.changed.notify_all();
    }

    /// Writes that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().unwrap().waiting
    }

    /// Whether a write has waited in vain for whoever was to let the disk go on.
    pub(crate) fn gave_up(&self) -> bool {
        self.state.lock().unwrap().gave_up
    }

    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        let (mut state, waited) = self.changed.wait_timeout_while(state, TOO_LONG, |state| state.stands_still).unwrap();
        state.waiting -= 1;
        state.gave_up |= waited.timed_out();
    }
}

impl FileSystem for Disk {
    fn read(&self, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
        self.files.files().read(path, max_len)
    }

    fn create_private(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.wait();
        self.files.files().create_private(path, content)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.wait();
        self.files.files().replace(path, content)
    }
}

impl Runtime for Machine {
    p2p_core::forward_runtime!(runtime: spawn, run_blocking, now, system_time, timer, fill_random, resolve);

    fn tcp_connect(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn ByteStream>>> {
        match self.family(addr) {
            Ok(()) => self.runtime.tcp_connect(addr),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn tcp_listen(&self, addr: SocketAddr) -> io::Result<Box<dyn ByteListener>> {
        self.family(addr)?;
        self.runtime.tcp_listen(addr)
    }

    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn UdpSocket>> {
        self.family(addr)?;
        self.runtime.udp_bind(addr)
    }

    fn udp_connect(&self, remote: SocketAddr) -> io::Result<Box<dyn ConnectedUdp>> {
        self.family(remote)?;
        self.runtime.udp_connect(remote)
    }

    fn files(&self) -> &dyn FileSystem {
        &*self.disk
    }
}
