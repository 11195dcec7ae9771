//! A NAT box in the terms of RFC 4787: mapping, filtering, time-outs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hashlink::LinkedHashMap;

use crate::host::HostId;
use crate::shared::Shared;
use crate::timeline::Nanos;
use crate::trace::Transport;
use crate::world::nanos;

/// The first port that a box gives to a mapping.
const FIRST_PORT: u16 = 20_000;

/// Remotes that one mapping lets in; the one unused for longest makes room.
const MAX_ALLOWED: usize = 4096;

/// The number of a box in its world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NatId(pub u32);

impl NatId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What of the remote endpoint a box looks at (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatBehavior {
    /// Nothing: one port for all remotes, or everybody may send to it.
    EndpointIndependent,
    /// The address.
    AddressDependent,
    /// The address and the port.
    AddressAndPortDependent,
}

/// What a box is like. The default is the common home router: it maps endpoint-independently and filters by address and port.
#[derive(Debug, Clone)]
pub struct NatConfig {
    /// Which remotes share a port.
    pub mapping: NatBehavior,
    /// Which remotes may send to a port.
    pub filtering: NatBehavior,
    /// How long a mapping lives after the last datagram from inside.
    pub udp_timeout: Duration,
    /// How long a mapping lives after the last segment of its stream.
    pub tcp_timeout: Duration,
    /// Whether hosts behind the box reach each other by its public address.
    pub hairpin: bool,
    /// Its public address; chosen if there is none.
    pub address: Option<IpAddr>,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self {
            mapping: NatBehavior::EndpointIndependent,
            filtering: NatBehavior::AddressAndPortDependent,
            udp_timeout: Duration::from_secs(120),
            // RFC 5382 §5.
            tcp_timeout: Duration::from_secs(2 * 3600 + 4 * 60),
            hairpin: false,
            address: None,
        }
    }
}

impl NatConfig {
    /// A box that gives each remote another port ("symmetric").
    pub fn symmetric() -> Self {
        Self { mapping: NatBehavior::AddressAndPortDependent, ..Self::default() }
    }

    /// A box that lets everybody send to a mapped port ("full cone").
    pub fn open() -> Self {
        Self { filtering: NatBehavior::EndpointIndependent, ..Self::default() }
    }
}

/// A NAT box of a world. Cheap to clone.
#[derive(Clone)]
pub struct Nat {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: NatId,
}

impl Nat {
    /// Its number.
    pub fn id(&self) -> NatId {
        self.id
    }

    /// Its public address.
    pub fn address(&self) -> IpAddr {
        self.with(|nat| nat.address)
    }

    /// Passes what comes to a public port on to a host behind the box, whoever sends it, until the box is [reset](Self::reset).
    pub fn forward(&self, transport: Transport, port: u16, inner: SocketAddr) {
        self.with(|nat| nat.forwards.insert((transport, port), inner));
    }

    /// Forgets every mapping and forwarding, as when the box is switched off and on.
    pub fn reset(&self) {
        self.with(NatBox::reset);
    }

    /// Mappings that have not been forgotten.
    pub fn mappings(&self) -> usize {
        self.with(|nat| nat.udp.by_port.len() + nat.tcp.by_port.len())
    }

    fn with<R>(&self, change: impl FnOnce(&mut NatBox) -> R) -> R {
        self.shared.with(|world| change(&mut world.nats[self.id.index()]))
    }
}

impl fmt::Debug for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nat").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A box. It takes the time as an argument and moves no packet itself.
#[derive(Debug)]
pub(crate) struct NatBox {
    config: NatConfig,
    address: IpAddr,
    members: HashMap<IpAddr, HostId>,
    forwards: BTreeMap<(Transport, u16), SocketAddr>,
    udp: Table,
    tcp: Table,
}

#[derive(Debug)]
struct Table {
    timeout: Nanos,
    by_flow: HashMap<Flow, u16>,
    /// The mapping unused for longest comes first.
    by_port: LinkedHashMap<u16, Mapping>,
    next: u16,
}

/// What shares a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Flow {
    inner: SocketAddr,
    remote: Option<(IpAddr, u16)>,
}

#[derive(Debug)]
struct Mapping {
    flow: Flow,
    used: Nanos,
    /// Who may send, and when something was last sent there.
    allowed: LinkedHashMap<(IpAddr, u16), Nanos>,
}

impl NatBox {
    pub(crate) fn new(config: NatConfig, address: IpAddr) -> Self {
        let (udp, tcp) = (Table::new(config.udp_timeout), Table::new(config.tcp_timeout));
        Self { config, address, members: HashMap::new(), forwards: BTreeMap::new(), udp, tcp }
    }

    /// The private address of a new host behind the box.
    pub(crate) fn join(&mut self, host: HostId) -> IpAddr {
        let number = self.members.len() as u32 + 2;
        let ip = IpAddr::from([10, (number >> 16) as u8, (number >> 8) as u8, number as u8]);
        self.members.insert(ip, host);
        ip
    }

    /// The host behind the box that has this private address.
    pub(crate) fn member(&self, ip: IpAddr) -> Option<HostId> {
        self.members.get(&ip).copied()
    }

    pub(crate) fn hairpin(&self) -> bool {
        self.config.hairpin
    }

    /// Something leaves: gives the public endpoint that stands for its sender; `None` if no port is left.
    pub(crate) fn outbound(
        &mut self,
        transport: Transport,
        inner: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) -> Option<SocketAddr> {
        let fixed = self.forwards.iter().find(|((of, _), to)| *of == transport && **to == inner);
        if let Some(((_, port), _)) = fixed {
            return Some(SocketAddr::new(self.address, *port));
        }
        let flow = Flow { inner, remote: seen(self.config.mapping, remote) };
        let allowed = seen(self.config.filtering, remote);
        let taken = |port: &u16| self.forwards.contains_key(&(transport, *port));
        let table = match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp => &mut self.tcp,
        };
        let port = table.map(flow, now, taken)?;
        let mapping = table.by_port.get_mut(&port)?;
        if let Some(remote) = allowed {
            mapping.allowed.insert(remote, now);
            if mapping.allowed.len() > MAX_ALLOWED {
                mapping.allowed.pop_front();
            }
        }
        Some(SocketAddr::new(self.address, port))
    }

    /// Whom a public port stands for.
    pub(crate) fn inner(&self, transport: Transport, port: u16, now: Nanos) -> Option<SocketAddr> {
        if let Some(inner) = self.forwards.get(&(transport, port)) {
            return Some(*inner);
        }
        let table = self.table(transport);
        table.by_port.get(&port).filter(|mapping| !table.is_over(mapping.used, now)).map(|mapping| mapping.flow.inner)
    }

    /// Whether what `remote` sends to a public port may come in.
    pub(crate) fn admits(&mut self, transport: Transport, port: u16, remote: SocketAddr, now: Nanos) -> bool {
        if self.forwards.contains_key(&(transport, port)) {
            return true;
        }
        let seen = seen(self.config.filtering, remote);
        let table = self.table(transport);
        let Some(mapping) = table.by_port.get(&port) else { return false };
        let may_send = match seen {
            None => true,
            // A stream keeps its mapping alive from both sides, and the permission with it.
            Some(remote) => mapping
                .allowed
                .get(&remote)
                .is_some_and(|&used| transport == Transport::Tcp || !table.is_over(used, now)),
        };
        let admitted = may_send && !table.is_over(mapping.used, now);
        admitted && (transport == Transport::Udp || self.refresh(transport, port, now))
    }

    /// Keeps a mapping alive; false if it is gone.
    pub(crate) fn refresh(&mut self, transport: Transport, port: u16, now: Nanos) -> bool {
        if self.forwards.contains_key(&(transport, port)) {
            return true;
        }
        let table = match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp => &mut self.tcp,
        };
        let timeout = table.timeout;
        let Some(mapping) = table.by_port.get_mut(&port) else { return false };
        if now.saturating_sub(mapping.used) > timeout {
            return false;
        }
        mapping.used = now;
        table.by_port.to_back(&port);
        true
    }

    pub(crate) fn reset(&mut self) {
        self.forwards.clear();
        for table in [&mut self.udp, &mut self.tcp] {
            table.by_flow.clear();
            table.by_port.clear();
        }
    }

    fn table(&self, transport: Transport) -> &Table {
        match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        }
    }
}

impl Table {
    fn new(timeout: Duration) -> Self {
        Self { timeout: nanos(timeout), by_flow: HashMap::new(), by_port: LinkedHashMap::new(), next: FIRST_PORT }
    }

    fn is_over(&self, used: Nanos, now: Nanos) -> bool {
        now.saturating_sub(used) > self.timeout
    }

    /// The port of a flow, a new one if it has none.
    fn map(&mut self, flow: Flow, now: Nanos, is_taken: impl Fn(&u16) -> bool) -> Option<u16> {
        while let Some((_, oldest)) = self.by_port.front()
            && self.is_over(oldest.used, now)
        {
            if let Some((_, forgotten)) = self.by_port.pop_front() {
                self.by_flow.remove(&forgotten.flow);
            }
        }
        if let Some(port) = self.by_flow.get(&flow).copied() {
            if let Some(mapping) = self.by_port.get_mut(&port) {
                mapping.used = now;
            }
            self.by_port.to_back(&port);
            return Some(port);
        }
        let port = (FIRST_PORT..=u16::MAX).find_map(|_| {
            let port = self.next;
            self.next = if port == u16::MAX { FIRST_PORT } else { port + 1 };
            (!self.by_port.contains_key(&port) && !is_taken(&port)).then_some(port)
        })?;
        self.by_port.insert(port, Mapping { flow, used: now, allowed: LinkedHashMap::new() });
        self.by_flow.insert(flow, port);
        Some(port)
    }
}

/// What a box looks at of a remote endpoint.
fn seen(behavior: NatBehavior, remote: SocketAddr) -> Option<(IpAddr, u16)> {
    match behavior {
        NatBehavior::EndpointIndependent => None,
        NatBehavior::AddressDependent => Some((remote.ip(), 0)),
        NatBehavior::AddressAndPortDependent => Some((remote.ip(), remote.port())),
    }
}

#[cfg(test)]
#[path = "nat_tests.rs"]
mod tests;
