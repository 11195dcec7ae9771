//! [`Sim`].

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use p2p_core::{Runtime, Sleep, runtime};

use crate::error::Stuck;
use crate::executor::{Notifier, Runnable};
use crate::host::{Host, HostConfig, HostId, Machine};
use crate::nat::{Nat, NatBox, NatId};
use crate::nat_config::NatConfig;
use crate::network::SimNetwork;
use crate::plan::Plan;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::timeline::Nanos;
use crate::trace::{Line, Report};
use crate::world::{Due, Event, HostEntry, Place, World, nanos};

/// A world: hosts, a network, time, and one seed for all that is random. Cheap to clone; when the last clone is gone, its tasks are
/// dropped. Give a task of the world its [`Host`], not the `Sim`, which would then never go.
///
/// ```
/// use p2p_sim::Sim;
/// use std::time::Duration;
///
/// let sim = Sim::new(7);
/// let host = sim.host("one");
/// sim.block_on(async {
///     sim.sleep(Duration::from_secs(3600)).await; // takes no time
///     host.trace("an hour later");
/// });
/// assert_eq!(sim.now(), Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct Sim {
    owner: Arc<Owner>,
}

/// Ends the world when the last `Sim` is gone: tasks hold the world that holds them.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Sim {
    /// A world of this seed with the default settings.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Settings::default())
    }

    /// A world of this seed with these settings.
    pub fn with(seed: u64, settings: Settings) -> Self {
        let this = Self { owner: Arc::new(Owner(Shared::new(seed, settings))) };
        this.host("test");
        this
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.shared().seed
    }

    /// Virtual time since the world began.
    pub fn now(&self) -> Duration {
        self.shared().time()
    }

    /// A new host with the usual properties.
    ///
    /// # Panics
    /// If there is a host of this name.
    pub fn host(&self, name: impl Into<String>) -> Host {
        self.add_host(HostConfig::new(name))
    }

    /// A new host.
    ///
    /// # Panics
    /// If there is a host of this name or with one of its addresses.
    pub fn add_host(&self, config: HostConfig) -> Host {
        let shared = self.shared().clone();
        let machine = shared.with(|world| world.add_host(shared.seed, config));
        shared.tasks().add_host();
        Host { shared, machine }
    }

    /// A new NAT box or firewall, for [`HostConfig::behind`].
    ///
    /// # Panics
    /// If its address is somebody's.
    pub fn nat(&self, config: NatConfig) -> Nat {
        let shared = self.shared().clone();
        let id = shared.with(|world| world.add_nat(config));
        Nat { shared, id }
    }

    /// The network.
    pub fn network(&self) -> SimNetwork {
        SimNetwork { shared: self.shared().clone() }
    }

    /// The runtime of the test itself, which is host number 0: its sockets reach all hosts. It is the current one inside
    /// [`block_on`](Self::block_on).
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        self.test_host().runtime()
    }

    /// The host that the test itself runs on: number 0, named "test".
    pub fn test_host(&self) -> Host {
        let shared = self.shared().clone();
        Host { machine: shared.with(|world| world.hosts[0].machine.clone()), shared }
    }

    /// Waits for `duration` of virtual time.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.runtime().sleep(duration)
    }

    /// Waits until `condition` holds, which is looked at after each millisecond of virtual time; false if it does not within `limit`.
    pub async fn eventually(&self, limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let runtime = self.runtime();
        let deadline = runtime.now() + limit;
        while !condition() {
            if runtime.now() >= deadline {
                return false;
            }
            runtime.sleep(Duration::from_millis(1)).await;
        }
        true
    }

    /// Runs the world until `future` has ended.
    ///
    /// # Panics
    /// If it cannot end: see [`Stuck`]. If the world is running already.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.try_block_on(future).unwrap_or_else(|stuck| panic!("{stuck}"))
    }

    /// Runs the world until `future` has ended.
    ///
    /// # Errors
    /// [`Stuck`] when it cannot end. The future is dropped then; the world can be run again.
    ///
    /// # Panics
    /// If the world is running already.
    pub fn try_block_on<T>(&self, future: impl Future<Output = T>) -> Result<T, Stuck> {
        let mut future = pin!(future);
        let limit = nanos(self.shared().settings.time_limit);
        match self.drive(limit, |cx| future.as_mut().poll(cx))? {
            Driven::Ended(output) => Ok(output),
            Driven::Limit => Err(Stuck::TimeLimit { at: self.now() }),
            Driven::Idle => Err(Stuck::Idle { at: self.now(), paused: self.paused() }),
        }
    }

    /// Runs the world for `duration`.
    ///
    /// # Panics
    /// If time stops going on. If the world is running already.
    pub fn run_for(&self, duration: Duration) {
        let end = self.shared().now().saturating_add(nanos(duration));
        if let Err(stuck) = self.drive::<()>(end, |_| Poll::Pending) {
            panic!("{stuck}");
        }
        // Whatever is left to happen comes later.
        self.shared().with(|world| world.now = end);
        self.shared().set_now(end);
    }

    /// Runs the world until `condition` holds; false if it does not within `limit`.
    ///
    /// # Panics
    /// As [`run_for`](Self::run_for).
    pub fn run_until(&self, limit: Duration, condition: impl FnMut() -> bool) -> bool {
        self.block_on(self.eventually(limit, condition))
    }

    /// Lets the faults of a plan happen, counted from now.
    ///
    /// # Panics
    /// If it names a host that does not exist.
    pub fn schedule(&self, plan: &Plan) {
        self.shared().with(|world| {
            for (after, fault) in plan.iter() {
                let known = fault.hosts().iter().all(|host| host.index() < world.hosts.len());
                assert!(known, "{fault:?} names a host that does not exist");
                world.schedule_in(*after, Event::Fault(Box::new(fault.clone())));
            }
        });
    }

    /// Writes a line to the trace. It is part of the hash.
    pub fn trace(&self, text: impl AsRef<str>) {
        self.shared().with(|world| world.trace.text(world.now, None, text.as_ref()));
    }

    /// The latest lines of the trace, as many as [`Settings::trace_lines`] says.
    pub fn trace_lines(&self) -> Vec<Line> {
        self.shared().with(|world| world.trace.kept())
    }

    /// What the run came to so far.
    pub fn report(&self) -> Report {
        let shared = self.shared();
        let (hash, lines, packets) = shared.with(|world| (world.trace.hash(), world.trace.lines(), world.packets));
        Report {
            seed: shared.seed,
            hash,
            events: shared.events.load(Ordering::Relaxed),
            packets,
            lines,
            panics: shared.panics.load(Ordering::Relaxed),
            time: shared.time(),
        }
    }

    /// Timers, packets and faults that are to come.
    pub fn scheduled(&self) -> usize {
        self.shared().with(|world| world.scheduled())
    }

    /// The hosts, in the order of their numbers.
    pub fn hosts(&self) -> Vec<Host> {
        let shared = self.shared();
        let machines: Vec<_> = shared.with(|world| world.hosts.iter().map(|host| host.machine.clone()).collect());
        machines.into_iter().map(|machine| Host { shared: shared.clone(), machine }).collect()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.0
    }

    /// Runs the world until `main` is ready or nothing happens before `limit`.
    fn drive<T>(&self, limit: Nanos, mut main: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Result<Driven<T>, Stuck> {
        let shared = self.shared();
        let _running = Running::begin(shared);
        let notifier = Notifier::main(&shared.ready);
        let waker = Waker::from(notifier.clone());
        let ambient = self.runtime();
        waker.wake_by_ref();
        let mut steps = 0;
        loop {
            let before = shared.now();
            match shared.pick() {
                Some(Runnable::Task(id)) => shared.poll_task(id),
                Some(Runnable::Main) => {
                    notifier.begin();
                    let _entered = runtime::enter(ambient.clone());
                    if let Poll::Ready(output) = main(&mut Context::from_waker(&waker)) {
                        return Ok(Driven::Ended(output));
                    }
                }
                None => match shared.advance(limit) {
                    Due::Done | Due::Fault(_) => {}
                    Due::Later => return Ok(Driven::Limit),
                    Due::Never => return Ok(Driven::Idle),
                },
            }
            shared.events.fetch_add(1, Ordering::Relaxed);
            steps = if shared.now() == before { steps + 1 } else { 0 };
            if steps >= shared.settings.max_steps_at_once {
                return Err(Stuck::Spinning { at: shared.time(), steps, host: self.last_polled() });
            }
        }
    }

    fn last_polled(&self) -> String {
        let host = self.shared().tasks().last_polled();
        host.map_or("test".to_owned(), |id| self.hosts()[id.index()].name().to_owned())
    }

    fn paused(&self) -> String {
        let tasks = self.shared().tasks();
        let count =
            self.shared().with(|world| world.hosts.iter().filter(|host| tasks.is_paused(host.machine.id)).count());
        if count == 0 { String::new() } else { format!("; hosts that are paused: {count}") }
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("seed", &self.seed()).field("now", &self.now()).finish_non_exhaustive()
    }
}

/// Why [`Sim::drive`] came back.
enum Driven<T> {
    Ended(T),
    Limit,
    Idle,
}

/// Marks a world as running.
struct Running<'a>(&'a Shared);

impl<'a> Running<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let was_running = shared.is_running.swap(true, Ordering::AcqRel);
        assert!(!was_running, "a world is not run from inside of itself, nor by two threads");
        Self(shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.is_running.store(false, Ordering::Release);
    }
}

impl World {
    fn add_host(&mut self, seed: u64, config: HostConfig) -> Arc<Machine> {
        let HostConfig { name, addresses, nat, max_sockets } = config;
        assert!(!self.names.contains_key(&name.to_ascii_lowercase()), "two hosts are named {name}");
        let id = HostId(self.hosts.len() as u32);
        let translates = nat.is_some_and(|nat| self.nats[nat.index()].translates());
        let chosen = if translates { Vec::new() } else { self.free_addresses(id) };
        let mut addresses = addresses.unwrap_or(chosen);
        addresses.iter().for_each(|ip| self.claim(*ip, Place::Host(id)));
        if let Some(nat) = nat {
            let number = nat.index();
            if translates {
                let (inner, outer) = self.nats[number].join(id);
                // The first has the box's own.
                outer.filter(|ip| !self.is_taken(*ip)).into_iter().for_each(|ip| self.claim(ip, Place::Nat(nat)));
                addresses.insert(0, inner);
            } else {
                addresses.iter().for_each(|ip| self.nats[number].guard(*ip, id));
            }
        }
        self.names.insert(name.to_ascii_lowercase(), addresses.clone());
        let machine = Machine::new(seed, id, name);
        let max_sockets = max_sockets.unwrap_or(self.settings.max_sockets);
        self.hosts.push(HostEntry::new(machine.clone(), addresses, nat, max_sockets));
        machine
    }

    fn add_nat(&mut self, config: NatConfig) -> NatId {
        let id = NatId(self.nats.len() as u32);
        let chosen = || IpAddr::from([62, (id.0 >> 8) as u8, id.0 as u8, 1]);
        let address = config.address.unwrap_or_else(chosen);
        self.claim(address, Place::Nat(id));
        self.nats.push(NatBox::new(config, address));
        id
    }

    /// Public addresses in prefixes that no other host has, from ranges that are neither private nor reserved.
    fn free_addresses(&self, id: HostId) -> Vec<IpAddr> {
        let number = id.0;
        let v4 = IpAddr::from([45 + (number >> 16) as u8, (number >> 8) as u8, number as u8, 10]);
        let v6 = IpAddr::from([0x2a05, (number >> 16) as u16, number as u16, 0, 0, 0, 0, 0x10]);
        [v4, v6].into_iter().filter(|ip| !self.is_taken(*ip)).collect()
    }
}
