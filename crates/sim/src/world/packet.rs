//! Packets, from a host's link to the socket they are for.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{Event, Side, World, nanos};
use crate::arena::Id;
use crate::host::HostId;
use crate::nat::NatId;
use crate::timeline::Nanos;
use crate::trace::{Fate, PacketKind};

#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    pub(crate) kind: PacketKind,
    /// Bytes of the IP packet.
    pub(crate) len: usize,
    /// Who sent it, as the receiver sees it.
    pub(crate) src: SocketAddr,
    /// Whom it is for, as the receiving host knows itself.
    pub(crate) dst: SocketAddr,
    /// The box in front of the receiver, and the endpoint there that the packet goes to.
    pub(crate) through: Option<(NatId, SocketAddr)>,
    pub(crate) body: Body,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Datagram(Bytes),
    /// A datagram to the sender of this found nobody.
    Unreachable,
    /// For one end of a stream: the number of the segment it carries or acknowledges, the first number that has not arrived yet,
    /// and bytes.
    Segment {
        conn: Id,
        toward: Side,
        number: u64,
        next: u64,
        data: Bytes,
    },
}

/// Bytes of the headers of IP and UDP.
pub(crate) fn datagram_headers(dst: SocketAddr) -> usize {
    if dst.is_ipv4() { 28 } else { 48 }
}

/// Bytes of an ICMP packet about a datagram (RFC 792, RFC 4443), of which it quotes the headers.
pub(crate) fn unreachable_len(dst: SocketAddr) -> usize {
    2 * datagram_headers(dst)
}

/// Bytes of the headers of IP and TCP.
pub(crate) fn segment_headers(dst: SocketAddr) -> usize {
    if dst.is_ipv4() { 40 } else { 60 }
}

impl World {
    /// Puts a packet on its link.
    pub(crate) fn transmit(&mut self, packet: Packet) {
        self.packets += 1;
        if self.is_cut(packet.from, packet.to) {
            return self.note(&packet, Fate::Cut);
        }
        let most = self.settings.held_packets;
        if let Some(held) = &mut self.links.direction(packet.from, packet.to).held {
            let fate = if held.len() < most { Fate::Held } else { Fate::NoRoom };
            self.note(&packet, fate);
            if fate == Fate::Held
                && let Some(held) = &mut self.links.direction(packet.from, packet.to).held
            {
                held.push(packet);
            }
            return;
        }
        self.pass(packet);
    }

    /// What a link does that neither cuts nor holds.
    pub(crate) fn pass(&mut self, mut packet: Packet) {
        let link = self.links.link(packet.from, packet.to);
        let is_datagram = packet.kind == PacketKind::Datagram;
        if is_datagram && packet.len > link.mtu {
            return self.note(&packet, Fate::TooLarge);
        }
        let now = self.now;
        let waits = self.links.direction(packet.from, packet.to).busy_until.saturating_sub(now);
        if let Some(bandwidth) = link.bandwidth {
            let queued = (u128::from(waits) * u128::from(bandwidth) / 8_000_000_000) as usize;
            if queued + packet.len > link.queue.max(packet.len) {
                return self.note(&packet, Fate::NoRoom);
            }
        }
        let leaves = now + waits + nanos(link.serialization(packet.len));
        if link.bandwidth.is_some() {
            self.links.direction(packet.from, packet.to).busy_until = leaves;
        }
        // What is lost has occupied the link.
        if self.rng.chance(link.loss) {
            return self.note(&packet, Fate::Lost);
        }
        self.note(&packet, Fate::Sent);
        if is_datagram && self.rng.chance(link.corrupt) {
            self.corrupt(&mut packet);
        }
        if is_datagram && self.rng.chance(link.duplicate) {
            self.deliver(leaves, packet.clone());
        }
        self.deliver(leaves, packet);
    }

    /// Schedules the arrival of a packet that leaves its queue at `leaves`.
    fn deliver(&mut self, leaves: Nanos, packet: Packet) {
        let link = self.links.link(packet.from, packet.to);
        let arrives = leaves.saturating_add(nanos(link.latency.draw(&mut self.rng)));
        let late = if self.rng.chance(link.reorder) { Some(nanos(self.rng.up_to(link.reorder_by))) } else { None };
        let direction = self.links.direction(packet.from, packet.to);
        let arrives = arrives.max(direction.last_arrival);
        let at = match late {
            Some(late) => arrives.saturating_add(late),
            None => {
                direction.last_arrival = arrives;
                arrives
            }
        };
        self.schedule(at, Event::Packet(Box::new(packet)));
    }

    fn corrupt(&mut self, packet: &mut Packet) {
        let Body::Datagram(data) = &mut packet.body else { return };
        if !data.is_empty() {
            let bit = self.rng.below(data.len() as u64 * 8) as usize;
            let mut flipped = data.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            *data = flipped.into();
        }
    }

    /// A packet has come to the end of its link.
    pub(super) fn arrive(&mut self, packet: Packet) {
        if self.is_cut(packet.from, packet.to) {
            return self.note(&packet, Fate::Cut);
        }
        if !self.hosts[packet.to.index()].powered {
            return self.note(&packet, Fate::NoHost);
        }
        if !self.is_own(packet.to, packet.dst.ip()) {
            return self.note(&packet, Fate::NoHost);
        }
        if let Some((nat, outer)) = packet.through
            && !self.nats[nat.index()].admits(packet.kind.transport(), outer, packet.src, self.now)
        {
            return self.note(&packet, Fate::Filtered);
        }
        match packet.body {
            Body::Datagram(_) => self.datagram_arrives(packet),
            Body::Unreachable => self.unreachable_arrives(&packet),
            Body::Segment { .. } => {
                self.note(&packet, Fate::Arrived);
                self.segment_arrives(packet);
            }
        }
    }

    pub(crate) fn note(&mut self, packet: &Packet, fate: Fate) {
        self.trace.packet(self.now, packet.from, packet.to, packet.kind, packet.len, fate);
        if let (Fate::Sent, Body::Datagram(bytes) | Body::Segment { data: bytes, .. }) = (fate, &packet.body) {
            self.trace.bytes(bytes);
        }
    }
}
