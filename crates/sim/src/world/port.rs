//! The ports of one protocol on one host.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::arena::Id;

/// Where ports that a host chooses itself begin (RFC 6335 §6).
const FIRST_EPHEMERAL: u16 = 49_152;

/// Who is bound where. A wildcard address takes what no other binding of its family takes.
#[derive(Debug)]
pub(crate) struct Ports<T = Id> {
    bound: BTreeMap<(u16, IpAddr), T>,
    next: u16,
}

impl<T> Default for Ports<T> {
    fn default() -> Self {
        Self { bound: BTreeMap::new(), next: FIRST_EPHEMERAL }
    }
}

impl<T: Copy> Ports<T> {
    /// A free address like `addr`, whose port is chosen if it is 0.
    pub(crate) fn free(&mut self, addr: SocketAddr) -> io::Result<SocketAddr> {
        if addr.port() != 0 {
            return if self.is_free(addr) { Ok(addr) } else { Err(io::ErrorKind::AddrInUse.into()) };
        }
        for _ in FIRST_EPHEMERAL..=u16::MAX {
            let port = self.next;
            self.next = if port == u16::MAX { FIRST_EPHEMERAL } else { port + 1 };
            let chosen = SocketAddr::new(addr.ip(), port);
            if self.is_free(chosen) {
                return Ok(chosen);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    pub(crate) fn bind(&mut self, addr: SocketAddr, holder: T) {
        self.bound.insert((addr.port(), addr.ip()), holder);
    }

    pub(crate) fn release(&mut self, addr: SocketAddr) {
        self.bound.remove(&(addr.port(), addr.ip()));
    }

    /// Who gets what is sent to `addr`.
    pub(crate) fn holder(&self, addr: SocketAddr) -> Option<T> {
        let exact = self.bound.get(&(addr.port(), addr.ip()));
        exact.or_else(|| self.bound.get(&(addr.port(), wildcard(addr.ip())))).copied()
    }

    fn is_free(&self, addr: SocketAddr) -> bool {
        let first = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let same_port = self.bound.range((addr.port(), first)..).take_while(|((port, _), _)| *port == addr.port());
        let mut same_family = same_port.map(|((_, ip), _)| *ip).filter(|ip| ip.is_ipv4() == addr.is_ipv4());
        !same_family.any(|ip| ip == addr.ip() || ip.is_unspecified() || addr.ip().is_unspecified())
    }
}

fn wildcard(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_wildcard_conflicts_within_its_family_only() {
        let mut ports = Ports::default();
        ports.bind(addr("[::]:80"), 6);
        assert!(ports.free(addr("0.0.0.0:80")).is_ok());
        assert!(ports.free(addr("[::1]:80")).is_err());
        ports.bind(addr("127.0.0.1:80"), 4);
        assert!(ports.free(addr("0.0.0.0:80")).is_err() && ports.free(addr("10.0.0.1:80")).is_ok());
        assert_eq!((ports.holder(addr("[::1]:80")), ports.holder(addr("127.0.0.1:80"))), (Some(6), Some(4)));
        assert_eq!(ports.holder(addr("10.0.0.1:80")), None);
        ports.release(addr("127.0.0.1:80"));
        assert_eq!(ports.holder(addr("127.0.0.1:80")), None);
    }

    #[test]
    fn chosen_ports_are_free_until_there_are_none() {
        let mut ports = Ports::default();
        let any = addr("0.0.0.0:0");
        for _ in FIRST_EPHEMERAL..=u16::MAX {
            let chosen = ports.free(any).unwrap();
            ports.bind(chosen, ());
        }
        assert_eq!(ports.free(any).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        ports.release(addr("0.0.0.0:50000"));
        assert_eq!(ports.free(any).unwrap().port(), 50_000);
    }
}
