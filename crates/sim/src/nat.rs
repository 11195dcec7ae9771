//! A NAT box in the terms of RFC 4787: mapping, filtering, time-outs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hashlink::LinkedHashMap;

use crate::host::HostId;
use crate::nat_config::{NatBehavior, NatConfig, NatTranslation};
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

    /// Its public address. Where each host has one of its own, that of the first; a firewall needs none.
    pub fn address(&self) -> IpAddr {
        self.with(|nat| nat.address)
    }

    /// The public address of a host behind it, given by the address it has there.
    pub fn outer(&self, inner: IpAddr) -> IpAddr {
        self.with(|nat| nat.outer_ip(inner))
    }

    /// Passes what comes to a public port on to a host behind the box, whoever sends it, until the box is [reset](Self::reset).
    pub fn forward(&self, transport: Transport, port: u16, inner: SocketAddr) {
        self.with(|nat| {
            let outer = SocketAddr::new(nat.outer_ip(inner.ip()), port);
            nat.forwards.insert((transport, outer), inner)
        });
    }

    /// Forgets every mapping and forwarding, as when the box is switched off and on.
    pub fn reset(&self) {
        self.with(NatBox::reset);
    }

    /// Mappings that have not been forgotten.
    pub fn mappings(&self) -> usize {
        self.with(|nat| nat.udp.by_outer.len() + nat.tcp.by_outer.len())
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
    /// The public addresses of those that have one of their own, and the other way round.
    outer: HashMap<IpAddr, IpAddr>,
    inner: HashMap<IpAddr, IpAddr>,
    forwards: BTreeMap<(Transport, SocketAddr), SocketAddr>,
    /// What came in through a forwarded port, from inside and from outside, and by which port it is answered.
    answers: LinkedHashMap<(Transport, SocketAddr, SocketAddr), (SocketAddr, Nanos)>,
    udp: Table,
    tcp: Table,
}

#[derive(Debug)]
struct Table {
    timeout: Nanos,
    by_flow: HashMap<Flow, SocketAddr>,
    /// By the endpoint outside; the mapping unused for longest comes first.
    by_outer: LinkedHashMap<SocketAddr, Mapping>,
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
        Self {
            config,
            address,
            members: HashMap::new(),
            outer: HashMap::new(),
            inner: HashMap::new(),
            forwards: BTreeMap::new(),
            answers: LinkedHashMap::new(),
            udp,
            tcp,
        }
    }

    /// Whether hosts behind it have private addresses.
    pub(crate) fn translates(&self) -> bool {
        self.config.translation != NatTranslation::None
    }

    /// The private address of a new host behind the box, and the public one if it has one of its own.
    pub(crate) fn join(&mut self, host: HostId) -> (IpAddr, Option<IpAddr>) {
        let number = self.members.len() as u32 + 2;
        let ip = IpAddr::from([10, (number >> 16) as u8, (number >> 8) as u8, number as u8]);
        let outer = (self.config.translation == NatTranslation::OneToOne).then(|| after(self.address, number - 2));
        if let Some(outer) = outer {
            self.outer.insert(ip, outer);
            self.inner.insert(outer, ip);
        }
        self.members.insert(ip, host);
        (ip, outer)
    }

    /// Filters what goes to and comes from a public address of a host.
    pub(crate) fn guard(&mut self, ip: IpAddr, host: HostId) {
        self.members.insert(ip, host);
    }

    /// A host has an address no more.
    pub(crate) fn leave(&mut self, ip: IpAddr) {
        self.members.remove(&ip);
    }

    /// The host behind the box that has this address there.
    pub(crate) fn member(&self, ip: IpAddr) -> Option<HostId> {
        self.members.get(&ip).copied()
    }

    pub(crate) fn hairpin(&self) -> bool {
        self.config.hairpin
    }

    /// Whether it lets everything in.
    fn is_open(&self) -> bool {
        let open = self.config.filtering == NatBehavior::EndpointIndependent;
        open && self.config.translation != NatTranslation::Ports
    }

    fn outer_ip(&self, inner: IpAddr) -> IpAddr {
        match self.config.translation {
            NatTranslation::Ports => self.address,
            NatTranslation::OneToOne => self.outer.get(&inner).copied().unwrap_or(self.address),
            NatTranslation::None => inner,
        }
    }

    /// Something leaves: gives the public endpoint that stands for its sender; `None` if no port is left.
    pub(crate) fn outbound(
        &mut self,
        transport: Transport,
        inner: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) -> Option<SocketAddr> {
        if self.answers_where_asked() {
            let timeout = self.table(transport).timeout;
            if let Some((outer, used)) = self.answers.get_mut(&(transport, inner, remote))
                && now.saturating_sub(*used) <= timeout
            {
                *used = now;
                return Some(*outer);
            }
        } else if let Some(((_, outer), _)) =
            self.forwards.iter().find(|((of, _), to)| *of == transport && **to == inner)
        {
            return Some(*outer);
        }
        let ports = self.config.translation == NatTranslation::Ports;
        let flow = Flow { inner, remote: seen(self.config.mapping, remote).filter(|_| ports) };
        let allowed = seen(self.config.filtering, remote);
        let own = SocketAddr::new(self.outer_ip(inner.ip()), inner.port());
        let wanted = match self.config.translation {
            NatTranslation::Ports if self.config.keep_ports => Wanted::IfFree(own),
            NatTranslation::Ports => Wanted::Any(self.address),
            NatTranslation::OneToOne | NatTranslation::None => Wanted::Always(own),
        };
        let taken = |outer: &SocketAddr| self.forwards.contains_key(&(transport, *outer));
        let table = match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp => &mut self.tcp,
        };
        let outer = table.map(flow, wanted, now, taken)?;
        let mapping = table.by_outer.get_mut(&outer)?;
        if let Some(remote) = allowed {
            mapping.allowed.insert(remote, now);
            if mapping.allowed.len() > MAX_ALLOWED {
                mapping.allowed.pop_front();
            }
        }
        Some(outer)
    }

    /// Whether only answers leave by a forwarded port.
    fn answers_where_asked(&self) -> bool {
        self.config.keep_ports || self.config.translation != NatTranslation::Ports
    }

    /// Whom a public endpoint stands for.
    pub(crate) fn inner(&self, transport: Transport, outer: SocketAddr, now: Nanos) -> Option<SocketAddr> {
        if let Some(inner) = self.forwards.get(&(transport, outer)) {
            return Some(*inner);
        }
        match self.config.translation {
            NatTranslation::Ports => {
                let table = self.table(transport);
                let mapping = table.by_outer.get(&outer).filter(|mapping| !table.is_over(mapping.used, now));
                mapping.map(|mapping| mapping.flow.inner)
            }
            NatTranslation::OneToOne => self.inner.get(&outer.ip()).map(|ip| SocketAddr::new(*ip, outer.port())),
            NatTranslation::None => Some(outer),
        }
    }

    /// Whether what `remote` sends to a public endpoint may come in.
    pub(crate) fn admits(&mut self, transport: Transport, outer: SocketAddr, remote: SocketAddr, now: Nanos) -> bool {
        if let Some(inner) = self.forwards.get(&(transport, outer)) {
            self.answers.insert((transport, *inner, remote), (outer, now));
            if self.answers.len() > MAX_ALLOWED {
                self.answers.pop_front();
            }
            return true;
        }
        if self.is_open() {
            return true;
        }
        let seen = seen(self.config.filtering, remote);
        let table = self.table(transport);
        let Some(mapping) = table.by_outer.get(&outer) else { return false };
        let may_send = match seen {
            None => true,
            // A stream keeps its mapping alive from both sides, and the permission with it.
            Some(remote) => mapping
                .allowed
                .get(&remote)
                .is_some_and(|&used| transport == Transport::Tcp || !table.is_over(used, now)),
        };
        let admitted = may_send && !table.is_over(mapping.used, now);
        admitted && (transport == Transport::Udp || self.refresh(transport, outer, now))
    }

    /// Keeps a mapping alive; false if it is gone.
    pub(crate) fn refresh(&mut self, transport: Transport, outer: SocketAddr, now: Nanos) -> bool {
        if self.is_open() || self.forwards.contains_key(&(transport, outer)) {
            return true;
        }
        let table = match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp => &mut self.tcp,
        };
        let timeout = table.timeout;
        let Some(mapping) = table.by_outer.get_mut(&outer) else { return false };
        if now.saturating_sub(mapping.used) > timeout {
            return false;
        }
        mapping.used = now;
        table.by_outer.to_back(&outer);
        true
    }

    pub(crate) fn reset(&mut self) {
        self.forwards.clear();
        self.answers.clear();
        for table in [&mut self.udp, &mut self.tcp] {
            table.by_flow.clear();
            table.by_outer.clear();
        }
    }

    fn table(&self, transport: Transport) -> &Table {
        match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        }
    }
}

/// Where a flow is to be seen.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// At the next port of this address.
    Any(IpAddr),
    /// There, if nobody else is, else at the next port.
    IfFree(SocketAddr),
    /// There.
    Always(SocketAddr),
}

impl Table {
    fn new(timeout: Duration) -> Self {
        Self { timeout: nanos(timeout), by_flow: HashMap::new(), by_outer: LinkedHashMap::new(), next: FIRST_PORT }
    }

    fn is_over(&self, used: Nanos, now: Nanos) -> bool {
        now.saturating_sub(used) > self.timeout
    }

    /// Where a flow is seen; chosen anew if that was forgotten.
    fn map(
        &mut self,
        flow: Flow,
        wanted: Wanted,
        now: Nanos,
        is_taken: impl Fn(&SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        while let Some((_, oldest)) = self.by_outer.front()
            && self.is_over(oldest.used, now)
        {
            if let Some((_, forgotten)) = self.by_outer.pop_front() {
                self.by_flow.remove(&forgotten.flow);
            }
        }
        if let Some(outer) = self.by_flow.get(&flow).copied() {
            if let Some(mapping) = self.by_outer.get_mut(&outer) {
                mapping.used = now;
            }
            self.by_outer.to_back(&outer);
            return Some(outer);
        }
        let free = |table: &Self, outer: &SocketAddr| !table.by_outer.contains_key(outer) && !is_taken(outer);
        let outer = match wanted {
            Wanted::Always(outer) => outer,
            Wanted::IfFree(outer) if free(self, &outer) => outer,
            Wanted::Any(_) | Wanted::IfFree(_) => self.next_free(wanted.ip(), free)?,
        };
        self.by_outer.insert(outer, Mapping { flow, used: now, allowed: LinkedHashMap::new() });
        self.by_flow.insert(flow, outer);
        Some(outer)
    }

    fn next_free(&mut self, ip: IpAddr, free: impl Fn(&Self, &SocketAddr) -> bool) -> Option<SocketAddr> {
        (FIRST_PORT..=u16::MAX).find_map(|_| {
            let outer = SocketAddr::new(ip, self.next);
            self.next = if outer.port() == u16::MAX { FIRST_PORT } else { outer.port() + 1 };
            free(self, &outer).then_some(outer)
        })
    }
}

impl Wanted {
    fn ip(self) -> IpAddr {
        match self {
            Self::Any(ip) => ip,
            Self::IfFree(at) | Self::Always(at) => at.ip(),
        }
    }
}

/// The address `by` after another one.
fn after(ip: IpAddr, by: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits().wrapping_add(by)).into()),
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits().wrapping_add(by.into())).into()),
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
