//! [`SimRuntime`].

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use p2p_core::runtime::{BoxFuture, ByteListener, ByteStream, ConnectedUdp, Timer, UdpSocket};
use p2p_core::{FileSystem, Runtime};

use crate::files::SimFiles;
use crate::host::Machine;
use crate::shared::Shared;
use crate::sockets::{Dialing, SimConnected, SimListener, SimUdp};
use crate::timer::SimTimer;

/// The world as the programs of one host see it, from a start of that host until it goes down. After that nothing works any
/// more: what is spawned is dropped, and sockets are errors. Made by [`Host::runtime`](crate::Host::runtime).
pub struct SimRuntime {
    shared: Arc<Shared>,
    machine: Arc<Machine>,
    epoch: u64,
    files: SimFiles,
    me: Weak<Self>,
}

impl SimRuntime {
    pub(crate) fn new(shared: Arc<Shared>, machine: Arc<Machine>) -> Arc<Self> {
        let epoch = machine.epoch();
        let files = SimFiles { machine: machine.clone(), epoch };
        Arc::new_cyclic(|me| Self { shared, machine, epoch, files, me: me.clone() })
    }

    fn check(&self) -> io::Result<()> {
        if self.machine.is_alive(self.epoch) { Ok(()) } else { Err(io::ErrorKind::NetworkDown.into()) }
    }
}

impl Runtime for SimRuntime {
    fn spawn(&self, future: BoxFuture<()>) {
        // Whoever calls holds a handle, so there is one to keep.
        if self.machine.is_alive(self.epoch)
            && let Some(me) = self.me.upgrade()
        {
            self.shared.spawn(self.machine.id, me, future);
        }
    }

    fn now(&self) -> Instant {
        self.shared.instant()
    }

    fn system_time(&self) -> SystemTime {
        self.machine.wall_clock(self.shared.time())
    }

    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>> {
        Box::pin(SimTimer::new(self.shared.clone(), deadline))
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.machine.fill_random(bytes);
    }

    fn tcp_connect(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn ByteStream>>> {
        let alive = self.check();
        let (shared, host) = (self.shared.clone(), self.machine.id);
        Box::pin(async move {
            alive?;
            let id = shared.with(|world| world.dial(host, addr))?;
            let dialing = Dialing::new(shared, id);
            let stream = dialing.await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn tcp_listen(&self, addr: SocketAddr) -> io::Result<Box<dyn ByteListener>> {
        self.check()?;
        let (id, local) = self.shared.with(|world| world.listen(self.machine.id, addr))?;
        Ok(Box::new(SimListener::new(self.shared.clone(), id, local)))
    }

    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn UdpSocket>> {
        self.check()?;
        let (id, local) = self.shared.with(|world| world.bind_udp(self.machine.id, addr))?;
        Ok(Arc::new(SimUdp::new(self.shared.clone(), id, local)))
    }

    fn udp_connect(&self, remote: SocketAddr) -> io::Result<Box<dyn ConnectedUdp>> {
        self.check()?;
        let (id, local) = self.shared.with(|world| world.connect_udp(self.machine.id, remote))?;
        Ok(Box::new(SimConnected(SimUdp::new(self.shared.clone(), id, local))))
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        if let Ok(literal) = host.parse() {
            return Box::pin(async move { Ok(vec![literal]) });
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            return Box::pin(async { Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]) });
        }
        let found = self.check().map(|()| self.shared.with(|world| world.names.get(&name).cloned()));
        let mut wait = self.wait(self.shared.settings.lookup);
        Box::pin(async move {
            poll_fn(|cx| wait.as_mut().poll(cx)).await;
            found?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
        })
    }

    fn local_addresses(&self) -> io::Result<Vec<IpAddr>> {
        self.check()?;
        let mut addresses = self.shared.with(|world| world.hosts[self.machine.id.index()].addresses.clone());
        addresses.sort();
        Ok(addresses)
    }

    fn files(&self) -> &dyn FileSystem {
        &self.files
    }
}

impl SimRuntime {
    fn wait(&self, duration: Duration) -> Pin<Box<dyn Timer>> {
        self.timer(self.now() + duration)
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRuntime")
            .field("host", &self.machine.name)
            .field("seed", &self.shared.seed)
            .finish_non_exhaustive()
    }
}
