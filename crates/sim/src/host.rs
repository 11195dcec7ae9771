//! Hosts: machines with a process, a disk, clocks and addresses.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_core::Runtime;
use p2p_core::runtime::BoxFuture;
use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::fault::{Fault, SocketFault};
use crate::join::JoinHandle;
use crate::nat::{Nat, NatId};
use crate::network::SimNetwork;
use crate::rng::{Rng, Stream};
use crate::runtime::SimRuntime;
use crate::shared::{Shared, lock};

/// Where wall clocks begin: 2027-01-15T08:00:00Z.
const WALL_CLOCK_START: Duration = Duration::from_secs(1_800_000_000);

/// The number of a host in its world, in the order of creation. Number 0 is the test itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HostId(pub u32);

impl HostId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What a host is like.
#[derive(Debug, Clone)]
pub struct HostConfig {
    pub(crate) name: String,
    pub(crate) addresses: Option<Vec<IpAddr>>,
    pub(crate) nat: Option<NatId>,
    pub(crate) max_sockets: Option<usize>,
}

impl HostConfig {
    /// A host of this name, which others can look up, with a public IPv4 and a public IPv6 address, each in a prefix (/24, /48) of
    /// its own.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), addresses: None, nat: None, max_sockets: None }
    }

    /// With these addresses instead: of one family only, of a shared prefix, as the test wants. Behind a NAT box they are beside
    /// the private one.
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = Some(addresses.into_iter().collect());
        self
    }

    /// Behind a NAT box, with a private IPv4 address; behind a firewall, with the usual public ones.
    pub fn behind(mut self, nat: &Nat) -> Self {
        self.nat = Some(nat.id());
        self
    }

    /// With so many sockets at most.
    pub fn max_sockets(mut self, most: usize) -> Self {
        self.max_sockets = Some(most);
        self
    }
}

/// What a host is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostState {
    /// Its programs run.
    Up,
    /// Its programs stand still; its kernel goes on.
    Paused,
    /// Its programs are gone; its kernel refuses what comes for them.
    Killed,
    /// It has no power.
    Off,
}

type Program = Arc<dyn Fn(Host) -> BoxFuture<()> + Send + Sync>;

/// What outlives a crash of a host, and what its handles share.
pub(crate) struct Machine {
    pub(crate) id: HostId,
    pub(crate) name: String,
    pub(crate) disk: Disk,
    /// Counts starts and ends: even while programs may run.
    epoch: AtomicU64,
    entropy: Mutex<Rng>,
    /// How far the wall clock is off, in milliseconds.
    clock: AtomicI64,
    programs: Mutex<Vec<Program>>,
}

impl Machine {
    pub(crate) fn new(seed: u64, id: HostId, name: String) -> Arc<Self> {
        Arc::new(Self {
            id,
            name,
            disk: Disk::default(),
            epoch: AtomicU64::new(0),
            entropy: Mutex::new(Rng::new(seed, Stream::Host(id.0))),
            clock: AtomicI64::new(0),
            programs: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Whether programs run that were started in `epoch`.
    pub(crate) fn is_alive(&self, epoch: u64) -> bool {
        epoch.is_multiple_of(2) && self.epoch() == epoch
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_alive(self.epoch())
    }

    pub(crate) fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fill_random(&self, bytes: &mut [u8]) {
        lock(&self.entropy).fill(bytes);
    }

    pub(crate) fn wall_clock(&self, time: Duration) -> SystemTime {
        let right = UNIX_EPOCH + WALL_CLOCK_START + time;
        let off = self.clock.load(Ordering::Relaxed);
        let by = Duration::from_millis(off.unsigned_abs());
        let stepped = if off < 0 { right.checked_sub(by) } else { right.checked_add(by) };
        stepped.unwrap_or(UNIX_EPOCH)
    }

    pub(crate) fn step_clock(&self, seconds: i64) {
        let step = |off: i64| Some(off.saturating_add(seconds.saturating_mul(1000)));
        // The function always gives a value.
        let _ = self.clock.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    pub(crate) fn forget_programs(&self) {
        let programs = std::mem::take(&mut *lock(&self.programs));
        drop(programs);
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A host of a world. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub(crate) shared: Arc<Shared>,
    pub(crate) machine: Arc<Machine>,
}

impl Host {
    /// Its number.
    pub fn id(&self) -> HostId {
        self.machine.id
    }

    /// Its name, under which others find its addresses.
    pub fn name(&self) -> &str {
        &self.machine.name
    }

    /// What programs of this host take the world from. It serves them until the host goes down; ask again after a restart.
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        SimRuntime::new(self.shared.clone(), self.machine.clone())
    }

    /// All its addresses, without loopback ones.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.shared.with(|world| world.hosts[self.id().index()].addresses.clone())
    }

    /// Its first IPv4 address.
    ///
    /// # Panics
    /// If it has none.
    pub fn ipv4(&self) -> IpAddr {
        self.addresses().into_iter().find(IpAddr::is_ipv4).expect("the host has an IPv4 address")
    }

    /// Its first IPv6 address.
    ///
    /// # Panics
    /// If it has none.
    pub fn ipv6(&self) -> IpAddr {
        self.addresses().into_iter().find(IpAddr::is_ipv6).expect("the host has an IPv6 address")
    }

    /// Runs a task on this host. On one that is down the task is gone at once.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let (sender, receiver) = oneshot::channel();
        let mut future = Box::pin(future);
        let mut sender = Some(sender);
        let task = std::future::poll_fn(move |cx| {
            let polled = poll_caught(future.as_mut(), cx);
            polled.map(|output| {
                if let Some(sender) = sender.take() {
                    // Nobody may be waiting.
                    let _ = sender.send(output);
                }
            })
        });
        self.runtime().spawn(Box::pin(task));
        JoinHandle::new(receiver)
    }

    /// Runs a program now, if the host is up, and again after each restart. It is given the host; what it shares with the
    /// test it captures.
    pub fn on_start<F, Fut>(&self, program: F)
    where
        F: Fn(Host) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let program: Program = Arc::new(move |host| Box::pin(program(host)));
        lock(&self.machine.programs).push(program.clone());
        if self.machine.is_up() {
            self.runtime().spawn(program(self.clone()));
        }
    }

    /// Stops its programs where they wait. Its kernel goes on: packets are received until the
    /// buffers are full. Without effect on a host that is down.
    pub fn pause(&self) {
        self.note("paused");
        if self.machine.is_up() {
            self.shared.tasks().pause(self.id());
        }
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.note("resumed");
        self.shared.resume(self.id());
    }

    /// Takes the power away: every task is dropped, every socket is gone, and nobody is told. A peer learns of it when it sends to
    /// the host after its [restart](Self::restart), or when its own patience ends.
    pub fn crash(&self) {
        self.note("crashed");
        self.stop();
        self.shared.with(|world| world.power_off(self.id()));
        self.shared.end_tasks(self.id());
    }

    /// Ends its process: every task is dropped, and the kernel closes what was open, as after `SIGKILL`.
    pub fn kill(&self) {
        self.note("killed");
        self.stop();
        self.shared.with(|world| world.close_all(self.id()));
        self.shared.end_tasks(self.id());
    }

    /// Starts it (again), with the disk as it was and the programs of [`on_start`](Self::on_start). One that is up is killed first.
    pub fn restart(&self) {
        if self.machine.is_up() {
            self.kill();
        }
        self.note("restarted");
        self.shared.with(|world| world.hosts[self.id().index()].powered = true);
        self.machine.next_epoch();
        let programs = lock(&self.machine.programs).clone();
        let runtime = self.runtime();
        programs.into_iter().for_each(|program| runtime.spawn(program(self.clone())));
    }

    /// What it is doing.
    pub fn state(&self) -> HostState {
        if self.machine.is_up() {
            return if self.shared.tasks().is_paused(self.id()) { HostState::Paused } else { HostState::Up };
        }
        let powered = self.shared.with(|world| world.hosts[self.id().index()].powered);
        if powered { HostState::Killed } else { HostState::Off }
    }

    /// Its disk.
    pub fn disk(&self) -> Disk {
        self.machine.disk.clone()
    }

    /// What its wall clock shows.
    pub fn wall_clock(&self) -> SystemTime {
        self.machine.wall_clock(self.shared.time())
    }

    /// Sets its wall clock forward, or back. Monotonic time is not concerned.
    pub fn step_clock(&self, seconds: i64) {
        self.note(&format!("wall clock stepped by {seconds} s"));
        self.machine.step_clock(seconds);
    }

    /// Gives it these addresses in place of its public ones, as when a machine changes networks. What is sent from or to an
    /// address that it no longer has is lost, in silence; sockets and streams that are bound to one stay, of no use.
    ///
    /// # Panics
    /// If another host has one of them, or it is no address of a host.
    pub fn move_to(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.network().apply(Fault::Move { host: self.id(), addresses: addresses.into_iter().collect() });
    }

    fn network(&self) -> SimNetwork {
        SimNetwork { shared: self.shared.clone() }
    }

    /// From now on it may have so many sockets open: listeners, UDP sockets and streams. More are the error that a process gets
    /// which is out of file descriptors. Those that are open stay.
    pub fn set_max_sockets(&self, most: usize) {
        self.shared.with(|world| world.hosts[self.id().index()].max_sockets = most);
    }

    /// Breaks its UDP sockets and listeners, or mends them.
    pub fn set_socket_fault(&self, fault: Option<SocketFault>) {
        self.note(&format!("sockets: {fault:?}"));
        self.shared.with(|world| world.set_socket_fault(self.id(), fault));
    }

    /// Sockets that its programs have open.
    pub fn open_sockets(&self) -> usize {
        self.shared.with(|world| world.hosts[self.id().index()].open_sockets)
    }

    /// Tasks that have not ended.
    pub fn live_tasks(&self) -> usize {
        self.shared.tasks().live(self.id())
    }

    /// Writes a line to the trace. It is part of the hash.
    pub fn trace(&self, text: impl AsRef<str>) {
        self.note(text.as_ref());
    }

    fn note(&self, text: &str) {
        self.shared.with(|world| world.trace.text(world.now, Some(self.id()), text));
    }

    fn stop(&self) {
        if self.machine.is_up() {
            self.machine.next_epoch();
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("id", &self.id()).field("name", &self.name()).finish_non_exhaustive()
    }
}

fn poll_caught<T>(
    future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    cx: &mut Context<'_>,
) -> Poll<std::thread::Result<T>> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}
