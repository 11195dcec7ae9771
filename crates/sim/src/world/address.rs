//! Which address is whose, and how a packet gets there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::World;
use crate::host::HostId;
use crate::nat::NatId;
use crate::trace::{Fate, Transport};

/// Who has a public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Host(HostId),
    Nat(NatId),
}

/// How a packet gets to its receiver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) to: HostId,
    /// The sender as the receiver sees it.
    pub(crate) src: SocketAddr,
    /// The receiver as it knows itself.
    pub(crate) dst: SocketAddr,
    /// The box that the sender is behind, and the endpoint there that stands for the sender.
    pub(crate) out: Option<(NatId, SocketAddr)>,
    /// The box that the receiver is behind, and the endpoint there that the packet goes to.
    pub(crate) through: Option<(NatId, SocketAddr)>,
}

impl World {
    /// Gives a public address to a host or a box.
    pub(crate) fn claim(&mut self, ip: IpAddr, place: Place) {
        let usable = !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast();
        assert!(usable, "{ip} is no address of a host");
        let former = self.addresses.insert(ip, place);
        assert!(former.is_none(), "two hosts have the address {ip}");
    }

    /// Gives a host other public addresses. One that it has from a box in front of it stays.
    pub(crate) fn readdress(&mut self, host: HostId, addresses: Vec<IpAddr>) {
        let former = std::mem::take(&mut self.hosts[host.index()].addresses);
        let (gone, kept): (Vec<_>, Vec<_>) = former.into_iter().partition(|ip| self.is_taken(*ip));
        let firewall = self.hosts[host.index()].nat.filter(|nat| !self.nats[nat.index()].translates());
        for ip in &gone {
            self.addresses.remove(ip);
            firewall.iter().for_each(|nat| self.nats[nat.index()].leave(*ip));
        }
        for ip in &addresses {
            self.claim(*ip, Place::Host(host));
            firewall.iter().for_each(|nat| self.nats[nat.index()].guard(*ip, host));
        }
        let all: Vec<_> = kept.into_iter().chain(addresses).collect();
        let name = self.hosts[host.index()].machine.name.to_ascii_lowercase();
        self.names.insert(name, all.clone());
        self.hosts[host.index()].addresses = all;
    }

    pub(crate) fn is_taken(&self, ip: IpAddr) -> bool {
        self.addresses.contains_key(&ip)
    }

    /// Whether a socket of `host` may be bound to `ip`.
    pub(crate) fn may_bind(&self, host: HostId, ip: IpAddr) -> bool {
        ip.is_unspecified() || self.is_own(host, ip)
    }

    /// Whether packets of `host` to `ip` stay on it.
    pub(super) fn is_own(&self, host: HostId, ip: IpAddr) -> bool {
        ip.is_loopback() || self.hosts[host.index()].addresses.contains(&ip)
    }

    /// The address that `host` sends from to `dst`, unless a socket is bound to another.
    pub(crate) fn source_ip(&self, host: HostId, dst: IpAddr) -> io::Result<IpAddr> {
        if dst.is_loopback() {
            return Ok(if dst.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let own = &self.hosts[host.index()].addresses;
        if own.contains(&dst) {
            return Ok(dst);
        }
        let network = self.network_of(dst);
        let fits = |ip: &&IpAddr| ip.is_ipv4() == dst.is_ipv4() && self.network_of(**ip) == network;
        own.iter().find(fits).copied().ok_or_else(|| io::ErrorKind::NetworkUnreachable.into())
    }

    /// Makes a prefix a network of its own.
    pub(crate) fn add_network(&mut self, prefix: IpAddr, len: u8) {
        let most = if prefix.is_ipv4() { 32 } else { 128 };
        assert!(len <= most, "{prefix}/{len} is no prefix");
        self.networks.push((prefix, len));
    }

    /// Which network an address is in, unless it is the internet.
    fn network_of(&self, ip: IpAddr) -> Option<usize> {
        self.networks.iter().position(|(prefix, len)| match (ip, prefix) {
            (IpAddr::V4(ip), IpAddr::V4(prefix)) => {
                (ip.to_bits() ^ prefix.to_bits()).leading_zeros() >= u32::from(*len)
            }
            (IpAddr::V6(ip), IpAddr::V6(prefix)) => {
                (ip.to_bits() ^ prefix.to_bits()).leading_zeros() >= u32::from(*len)
            }
            _ => false,
        })
    }

    /// Finds the way of a packet. A box on the way out keeps a mapping for it from now on.
    pub(crate) fn route(
        &mut self,
        from: HostId,
        transport: Transport,
        src: SocketAddr,
        dst: SocketAddr,
    ) -> Result<Route, Fate> {
        let direct = |to, src| Route { to, src, dst, out: None, through: None };
        if self.is_own(from, dst.ip()) {
            return Ok(direct(from, src));
        }
        let same_network = self.network_of(src.ip()) == self.network_of(dst.ip());
        if src.ip().is_loopback() || !self.is_own(from, src.ip()) || !same_network {
            return Err(Fate::NoHost);
        }
        let (mut src, mut out) = (src, None);
        if let Some(id) = self.hosts[from.index()].nat {
            let nat = &mut self.nats[id.index()];
            if let Some(to) = nat.member(dst.ip()) {
                return Ok(direct(to, src));
            }
            if nat.member(src.ip()).is_some() {
                src = nat.outbound(transport, src, dst, self.now).ok_or(Fate::NoRoom)?;
                out = Some((id, src));
            }
        }
        match self.addresses.get(&dst.ip()) {
            None => Err(Fate::NoHost),
            Some(&Place::Host(to)) => {
                let firewall = self.hosts[to.index()].nat.filter(|id| self.nats[id.index()].member(dst.ip()).is_some());
                Ok(Route { out, through: firewall.map(|id| (id, dst)), ..direct(to, src) })
            }
            Some(&Place::Nat(id)) => {
                let nat = &self.nats[id.index()];
                let hairpin = out.is_some_and(|(own, _)| own == id);
                let inner = if hairpin && !nat.hairpin() { None } else { nat.inner(transport, dst, self.now) };
                let Some(inner) = inner else { return Err(Fate::Filtered) };
                let to = nat.member(inner.ip()).ok_or(Fate::NoHost)?;
                Ok(Route { to, src, dst: inner, out, through: Some((id, dst)) })
            }
        }
    }
}
