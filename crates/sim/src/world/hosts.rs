//! What the world knows of each host, and what its power switch does.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::port::Ports;
use super::{Side, World};
use crate::fault::SocketFault;
use crate::host::{HostId, Machine};
use crate::nat::NatId;

pub(crate) struct HostEntry {
    pub(crate) machine: Arc<Machine>,
    pub(crate) addresses: Vec<IpAddr>,
    /// The box it is behind.
    pub(crate) nat: Option<NatId>,
    pub(crate) powered: bool,
    /// Which side of a partition it is on.
    pub(crate) group: u32,
    pub(crate) open_sockets: usize,
    pub(crate) max_sockets: usize,
    /// Receiving and accepting fails on all sockets.
    sockets_fail: bool,
    pub(crate) udp_ports: Ports,
    pub(crate) listen_ports: Ports,
    /// Ports of streams that this host dialed.
    pub(crate) dial_ports: Ports<()>,
}

impl HostEntry {
    pub(crate) fn new(machine: Arc<Machine>, addresses: Vec<IpAddr>, nat: Option<NatId>, max_sockets: usize) -> Self {
        Self {
            machine,
            addresses,
            nat,
            powered: true,
            group: 0,
            open_sockets: 0,
            max_sockets,
            sockets_fail: false,
            udp_ports: Ports::default(),
            listen_ports: Ports::default(),
            dial_ports: Ports::default(),
        }
    }
}

/// `EMFILE` of every Unix.
#[cfg(not(windows))]
const TOO_MANY_OPEN_FILES: i32 = 24;

/// `WSAEMFILE`.
#[cfg(windows)]
const TOO_MANY_OPEN_SOCKETS: i32 = 10024;

/// What befalls one socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Failing {
    #[default]
    No,
    Once,
    Always,
}

impl World {
    /// Breaks the sockets of a host, or mends them.
    pub(crate) fn set_socket_fault(&mut self, host: HostId, fault: Option<SocketFault>) {
        self.hosts[host.index()].sockets_fail = fault == Some(SocketFault::Lasting);
        let failing = match fault {
            Some(SocketFault::Once) => Failing::Once,
            Some(SocketFault::Broken) => Failing::Always,
            Some(SocketFault::Lasting) | None => Failing::No,
        };
        for (_, socket) in self.udp.iter_mut().filter(|(_, socket)| socket.host == host) {
            socket.failing = failing;
            self.wakes.take(&mut socket.reader);
        }
        for (_, listener) in self.listeners.iter_mut().filter(|(_, listener)| listener.host == host) {
            listener.failing = failing;
            self.wakes.take(&mut listener.acceptor);
        }
    }

    /// What receiving or accepting gives on a socket of a host that has this to come.
    pub(super) fn socket_failure(&self, host: HostId, failing: &mut Failing) -> io::Result<()> {
        let fails = self.hosts[host.index()].sockets_fail || *failing != Failing::No;
        if *failing == Failing::Once {
            *failing = Failing::No;
        }
        if fails { Err(io::Error::other("no buffer space available")) } else { Ok(()) }
    }

    /// Counts one more open socket of a host.
    pub(crate) fn open_socket(&mut self, host: HostId) -> io::Result<()> {
        let entry = &mut self.hosts[host.index()];
        if entry.open_sockets >= entry.max_sockets {
            #[cfg(windows)]
            return Err(io::Error::from_raw_os_error(TOO_MANY_OPEN_SOCKETS));
            #[cfg(not(windows))]
            return Err(io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES));
        }
        entry.open_sockets += 1;
        Ok(())
    }

    pub(crate) fn closed_socket(&mut self, host: HostId) {
        let entry = &mut self.hosts[host.index()];
        entry.open_sockets = entry.open_sockets.saturating_sub(1);
    }

    /// The process of a host is gone; its kernel closes what it had open.
    pub(crate) fn close_all(&mut self, host: HostId) {
        let listeners: Vec<_> =
            self.listeners.iter().filter(|(_, listener)| listener.host == host).map(|(id, _)| id).collect();
        listeners.into_iter().for_each(|id| self.close_listener(id));
        for (conn, side) in self.ends_of(host) {
            self.close_stream(conn, side);
        }
        self.close_all_udp(host);
    }

    /// The host loses its power: everything it knew is gone, and nobody is told.
    pub(crate) fn power_off(&mut self, host: HostId) {
        for (conn, side) in self.ends_of(host) {
            self.forget_end(conn, side);
        }
        let listeners: Vec<_> =
            self.listeners.iter().filter(|(_, listener)| listener.host == host).map(|(id, _)| id).collect();
        for id in listeners {
            self.forget_listener(id);
        }
        self.close_all_udp(host);
        self.hosts[host.index()].powered = false;
    }

    fn close_all_udp(&mut self, host: HostId) {
        let sockets: Vec<_> = self.udp.iter().filter(|(_, socket)| socket.host == host).map(|(id, _)| id).collect();
        sockets.into_iter().for_each(|id| self.close_udp(id));
    }

    /// The ends of streams on a host.
    fn ends_of(&self, host: HostId) -> Vec<(crate::arena::Id, Side)> {
        let both = self.conns.iter().flat_map(|(id, conn)| [Side::Dialer, Side::Acceptor].map(|side| (id, conn, side)));
        both.filter(|(_, conn, side)| conn.end(*side).host == host && conn.end(*side).is_there())
            .map(|(id, _, side)| (id, side))
            .collect()
    }
}
