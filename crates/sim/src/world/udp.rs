//! UDP sockets.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use p2p_core::runtime::{Datagrams, RecvMeta};

use super::packet::{datagram_headers, unreachable_len};
use super::{Body, Failing, Packet, World};
use crate::arena::Id;
use crate::host::HostId;
use crate::trace::{Fate, PacketKind, Transport};

#[derive(Debug)]
pub(crate) struct Udp {
    pub(crate) host: HostId,
    local: SocketAddr,
    received: VecDeque<Received>,
    /// Bytes in `received`, with what the kernel needs beside them.
    buffered: usize,
    pub(crate) reader: Option<Waker>,
    /// Whom a connected socket talks to.
    remote: Option<SocketAddr>,
    /// Nobody has the remote's port, as the network says.
    refused: bool,
    pub(crate) failing: Failing,
}

#[derive(Debug)]
struct Received {
    from: SocketAddr,
    to: IpAddr,
    data: Bytes,
}

/// What a datagram costs of a buffer beside its bytes, about as in Linux.
const OVERHEAD: usize = 256;

impl World {
    pub(crate) fn bind_udp(&mut self, host: HostId, addr: SocketAddr) -> io::Result<(Id, SocketAddr)> {
        if !self.may_bind(host, addr.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        self.open_udp(host, addr, None)
    }

    /// Binds a socket for one remote to the address that the route uses.
    pub(crate) fn connect_udp(&mut self, host: HostId, remote: SocketAddr) -> io::Result<(Id, SocketAddr)> {
        let ip = self.source_ip(host, remote.ip())?;
        self.open_udp(host, SocketAddr::new(ip, 0), Some(remote))
    }

    fn open_udp(&mut self, host: HostId, addr: SocketAddr, remote: Option<SocketAddr>) -> io::Result<(Id, SocketAddr)> {
        let local = self.hosts[host.index()].udp_ports.free(addr)?;
        self.open_socket(host)?;
        let id = self.udp.insert(Udp {
            host,
            local,
            received: VecDeque::new(),
            buffered: 0,
            reader: None,
            remote,
            refused: false,
            failing: Failing::No,
        });
        self.hosts[host.index()].udp_ports.bind(local, id);
        Ok((id, local))
    }

    pub(crate) fn close_udp(&mut self, id: Id) {
        let Some(mut socket) = self.udp.remove(id) else { return };
        self.hosts[socket.host.index()].udp_ports.release(socket.local);
        self.closed_socket(socket.host);
        self.wakes.take(&mut socket.reader);
    }

    pub(crate) fn send_datagrams(&mut self, id: Id, datagrams: &Datagrams<'_>) -> io::Result<()> {
        let &Datagrams { destination, contents, segment_size, src_ip, .. } = datagrams;
        let socket = self.udp.get(id).ok_or(io::ErrorKind::NotConnected)?;
        let (host, local) = (socket.host, socket.local);
        if destination.is_ipv4() != local.is_ipv4() || destination.port() == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bound =
            src_ip.filter(|ip| ip.is_ipv4() == local.is_ipv4() && self.may_bind(host, *ip)).unwrap_or(local.ip());
        let src_ip = if bound.is_unspecified() { self.source_ip(host, destination.ip()) } else { Ok(bound) };
        let src = SocketAddr::new(src_ip?, local.port());
        let all = Bytes::copy_from_slice(contents);
        let size = segment_size.filter(|size| *size > 0).unwrap_or(contents.len()).max(1);
        let mut start = 0;
        loop {
            let end = (start + size).min(all.len());
            self.send_datagram(host, src, destination, all.slice(start..end));
            start = end;
            if start >= all.len() {
                return Ok(());
            }
        }
    }

    /// Sends from a connected socket.
    pub(crate) fn send_connected(&mut self, id: Id, contents: &[u8]) -> io::Result<()> {
        let socket = self.udp.get_mut(id).ok_or(io::ErrorKind::NotConnected)?;
        if std::mem::take(&mut socket.refused) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let remote = socket.remote.ok_or(io::ErrorKind::NotConnected)?;
        let (host, local) = (socket.host, socket.local);
        self.send_datagram(host, local, remote, Bytes::copy_from_slice(contents));
        Ok(())
    }

    fn send_datagram(&mut self, from: HostId, src: SocketAddr, destination: SocketAddr, data: Bytes) {
        let len = data.len() + datagram_headers(destination);
        match self.route(from, Transport::Udp, src, destination) {
            Ok(route) => self.transmit(Packet {
                from,
                to: route.to,
                kind: PacketKind::Datagram,
                len,
                src: route.src,
                dst: route.dst,
                through: route.through,
                body: Body::Datagram(data),
            }),
            Err(fate) => {
                self.packets += 1;
                self.trace.packet(self.now, from, from, PacketKind::Datagram, len, fate);
            }
        }
    }

    pub(super) fn datagram_arrives(&mut self, packet: Packet) {
        let id = self.hosts[packet.to.index()].udp_ports.holder(packet.dst);
        let room = self.settings.udp_buffer;
        let hears = |socket: &&mut Udp| socket.remote.is_none_or(|remote| remote == packet.src);
        let Some(socket) = id.and_then(|id| self.udp.get_mut(id)).filter(hears) else {
            self.note(&packet, Fate::NoSocket);
            return self.send_unreachable(&packet);
        };
        let cost = packet.len + OVERHEAD;
        if socket.buffered + cost > room {
            return self.note(&packet, Fate::NoRoom);
        }
        self.wakes.take(&mut socket.reader);
        socket.buffered += cost;
        self.trace.packet(self.now, packet.from, packet.to, packet.kind, packet.len, Fate::Arrived);
        if let Body::Datagram(data) = packet.body {
            socket.received.push_back(Received { from: packet.src, to: packet.dst.ip(), data });
        }
    }

    /// Says that nobody is there.
    fn send_unreachable(&mut self, about: &Packet) {
        if let Ok(route) = self.route(about.to, Transport::Udp, about.dst, about.src) {
            self.transmit(Packet {
                from: about.to,
                to: route.to,
                kind: PacketKind::Unreachable,
                len: unreachable_len(about.src),
                src: route.src,
                dst: route.dst,
                through: route.through,
                body: Body::Unreachable,
            });
        }
    }

    /// As in Linux, only a connected socket is told, of its own remote.
    pub(super) fn unreachable_arrives(&mut self, packet: &Packet) {
        let id = self.hosts[packet.to.index()].udp_ports.holder(packet.dst);
        let concerned = |socket: &&mut Udp| socket.remote == Some(packet.src);
        let Some(socket) = id.and_then(|id| self.udp.get_mut(id)).filter(concerned) else {
            return self.note(packet, Fate::NoSocket);
        };
        socket.refused = true;
        self.wakes.take(&mut socket.reader);
        self.note(packet, Fate::Arrived);
    }

    pub(crate) fn receive_datagrams(
        &mut self,
        id: Id,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some(socket) = self.udp.get(id) else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let (host, mut failing) = (socket.host, socket.failing);
        let failure = self.socket_failure(host, &mut failing);
        let Some(socket) = self.udp.get_mut(id) else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        socket.failing = failing;
        failure?;
        if std::mem::take(&mut socket.refused) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        let mut filled = 0;
        for (buf, meta) in bufs.iter_mut().zip(metas) {
            let Some(Received { from, to, data }) = socket.received.pop_front() else { break };
            socket.buffered -= data.len() + datagram_headers(from) + OVERHEAD;
            // What does not fit is cut off, as recvmsg(2) does.
            let len = data.len().min(buf.len());
            buf[..len].copy_from_slice(&data[..len]);
            *meta = RecvMeta { addr: from, len, stride: len, ecn: None, dst_ip: Some(to) };
            filled += 1;
        }
        if filled == 0 {
            self.wakes.wait(&mut socket.reader, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(filled))
    }
}
