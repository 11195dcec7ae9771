//! What an end of a stream sends: segments while there is room, and again those that were lost.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::packet::segment_headers;
use super::stream::{Segment, State};
use super::{Body, Event, Packet, Side, World, nanos};
use crate::arena::Id;
use crate::link::Link;
use crate::timeline::Nanos;
use crate::trace::{PacketKind, Transport};

/// The most bytes that go as one segment, where nothing asks for less.
const LARGEST_SEGMENT: usize = 16 << 10;

/// A segment occupies its link for no longer than this, so that streams share it smoothly.
const SEGMENT_TIME: Duration = Duration::from_millis(1);

/// The round-trip time assumed before there is a sample (RFC 6298 §2).
const FIRST_RTO: Duration = Duration::from_secs(1);

/// Doublings of the time to retransmission; the setting for the longest comes first.
const MOST_DOUBLINGS: u32 = 16;

impl World {
    pub(crate) fn poll_write(
        &mut self,
        id: Id,
        side: Side,
        cx: &Context<'_>,
        bufs: &[io::IoSlice<'_>],
        most_unsent: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(conn) = self.conns.get_mut(id) else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        if let Some(error) = conn.end(side).error {
            return Poll::Ready(Err(error.into()));
        }
        if conn.end(side).state != State::Open {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        let pipe = conn.outgoing(side);
        if pipe.is_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        pipe.most_unsent = Some(most_unsent);
        let room = self.settings.streams.unsent.min(most_unsent).saturating_sub(pipe.unsent.len());
        if room == 0 {
            self.wakes.wait(&mut conn.end_mut(side).writer, cx.waker());
            return Poll::Pending;
        }
        let before = pipe.unsent.len();
        for buf in bufs {
            let taken = buf.len().min(room - (pipe.unsent.len() - before));
            pipe.unsent.put(&buf[..taken]);
        }
        let written = pipe.unsent.len() - before;
        self.pump(id, side);
        Poll::Ready(Ok(written))
    }

    /// The program has nothing more to send.
    pub(crate) fn shut_down(&mut self, id: Id, side: Side) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(id) else { return Err(io::ErrorKind::NotConnected.into()) };
        if conn.end(side).state != State::Open {
            return Err(conn.end(side).error.unwrap_or(io::ErrorKind::NotConnected).into());
        }
        conn.outgoing(side).is_ended = true;
        self.pump(id, side);
        Ok(())
    }

    pub(super) fn pump_again(&mut self, id: Id, side: Side) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.outgoing(side).is_pumping = false;
        self.pump(id, side);
    }

    /// Sends what there is room for.
    pub(crate) fn pump(&mut self, id: Id, side: Side) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !matches!(conn.end(side).state, State::Open | State::Orphan) || conn.outgoing(side).is_pumping {
            return;
        }
        conn.outgoing(side).is_blocked = false;
        let (from, to, peer) = (conn.end(side).host, conn.end(side.other()).host, conn.end(side).peer);
        let link = self.links.link(from, to);
        let most = largest_segment(&link, segment_headers(peer));
        loop {
            let backlog = self.links.direction(from, to).busy_until.saturating_sub(now);
            let window = self.settings.streams.window;
            let Some(conn) = self.conns.get_mut(id) else { return };
            let pipe = conn.outgoing(side);
            if pipe.unsent.is_empty() && (!pipe.is_ended || pipe.end_sent) {
                break;
            }
            if let Some(wait) = too_long(&link, backlog) {
                pipe.is_pumping = true;
                self.schedule_in(wait, Event::Pump(id, side));
                break;
            }
            let len = pipe.unsent.len().min(most).min(window.div_ceil(2));
            if len > 0 && pipe.room(window) < len {
                pipe.is_blocked = true;
                break;
            }
            pipe.end_sent = len == 0;
            let data = pipe.unsent.take(len);
            let len = data.len();
            let number = pipe.next;
            pipe.next += 1;
            pipe.flight_bytes += len;
            if pipe.flight.is_empty() {
                pipe.unanswered_since = now;
                pipe.retransmit_at = now.saturating_add(pipe.wait_to_retransmit(&self.settings.streams));
            }
            let at = pipe.retransmit_at;
            pipe.flight.push_back(Segment {
                number,
                data: data.clone(),
                sent_at: now,
                was_resent: false,
                has_arrived: false,
            });
            self.send_data(id, side, number, data);
            self.arm(id, side, at);
            if link.bandwidth.is_some() {
                // One segment a turn, so that all streams of a narrow link get on alike.
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.outgoing(side).is_pumping = true;
                    self.schedule(now, Event::Pump(id, side));
                }
                break;
            }
        }
        let most = self.settings.streams.unsent;
        if let Some(conn) = self.conns.get_mut(id)
            && conn.outgoing(side).unsent.len() <= conn.outgoing(side).most_unsent.unwrap_or(most).min(most) / 2
        {
            self.wakes.take(&mut conn.end_mut(side).writer);
        }
    }

    /// The time has come at which the oldest segment should have been acknowledged.
    pub(super) fn retransmit_if_due(&mut self, id: Id, side: Side) {
        let now = self.now;
        let settings = self.settings.clone();
        let Some(conn) = self.conns.get_mut(id) else { return };
        let pipe = conn.outgoing(side);
        if pipe.flight.is_empty() {
            return;
        }
        if now < pipe.retransmit_at {
            let at = pipe.retransmit_at;
            return self.arm(id, side, at);
        }
        let gives_up = pipe.unanswered_since.saturating_add(nanos(settings.streams.timeout));
        if now >= gives_up {
            return self.fail(id, side, io::ErrorKind::TimedOut);
        }
        pipe.retries += 1;
        pipe.retransmit_at = now.saturating_add(pipe.wait_to_retransmit(&settings.streams)).min(gives_up);
        let at = pipe.retransmit_at;
        self.resend_oldest(id, side);
        self.arm(id, side, at);
    }

    pub(crate) fn resend_oldest(&mut self, id: Id, side: Side) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Some(oldest) = conn.outgoing(side).flight.front_mut() else { return };
        oldest.sent_at = now;
        oldest.was_resent = true;
        let (number, data) = (oldest.number, oldest.data.clone());
        self.send_data(id, side, number, data);
    }

    fn send_data(&mut self, id: Id, side: Side, number: u64, data: Bytes) {
        let kind = if data.is_empty() { PacketKind::Fin } else { PacketKind::Data };
        self.send_segment(id, side, kind, number, data);
    }

    /// Sends a segment without bytes.
    pub(crate) fn send_control(&mut self, id: Id, side: Side, kind: PacketKind) {
        self.send_segment(id, side, kind, u64::MAX, Bytes::new());
    }

    pub(crate) fn send_ack(&mut self, id: Id, side: Side, number: u64) {
        self.send_segment(id, side, PacketKind::Ack, number, Bytes::new());
    }

    fn send_segment(&mut self, id: Id, side: Side, kind: PacketKind, number: u64, data: Bytes) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let next = conn.incoming(side).expected;
        let (end, other) = (conn.end(side), conn.end(side.other()));
        let (from, to, src, dst) = (end.host, other.host, other.peer, other.local);
        let (out, through) = (end.nat, other.nat);
        let len =
            data.len() + segment_headers(dst) * packets(&self.links.link(from, to), data.len(), segment_headers(dst));
        let local = end.local.ip();
        let packet = Packet {
            from,
            to,
            kind,
            len,
            src,
            dst,
            through,
            body: Body::Segment { conn: id, toward: side.other(), number, next, data },
        };
        if !self.is_own(from, local) {
            self.packets += 1;
            return self.note(&packet, crate::trace::Fate::NoHost);
        }
        // A box that has forgotten the stream drops what belongs to it.
        if let Some((nat, outer)) = out
            && !self.nats[nat.index()].refresh(Transport::Tcp, outer, self.now)
        {
            self.packets += 1;
            return self.note(&packet, crate::trace::Fate::Filtered);
        }
        self.transmit(packet);
    }

    pub(crate) fn send_syn(&mut self, id: Id) {
        let Some(conn) = self.conns.get(id) else { return };
        let end = conn.end(Side::Dialer);
        let (from, local, asked) = (end.host, end.local, conn.asked);
        let headers = segment_headers(asked);
        match self.route(from, Transport::Tcp, local, asked) {
            Ok(route) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.end_mut(Side::Dialer).nat = route.out;
                }
                let body = Body::Segment { conn: id, toward: Side::Acceptor, number: 0, next: 0, data: Bytes::new() };
                self.transmit(Packet {
                    from,
                    to: route.to,
                    kind: PacketKind::Syn,
                    len: headers,
                    src: route.src,
                    dst: route.dst,
                    through: route.through,
                    body,
                });
            }
            Err(fate) => {
                self.packets += 1;
                self.trace.packet(self.now, from, from, PacketKind::Syn, headers, fate);
            }
        }
    }
}

impl super::stream::Pipe {
    /// RFC 6298, with the settings' bounds.
    pub(crate) fn wait_to_retransmit(&self, settings: &crate::settings::StreamSettings) -> Nanos {
        let usual = match self.rtt {
            None => FIRST_RTO,
            Some((smoothed, variation)) => smoothed + (4 * variation).max(settings.min_retransmit),
        };
        let doubled = nanos(usual).saturating_mul(1 << self.retries.min(MOST_DOUBLINGS));
        doubled.min(nanos(settings.max_retransmit))
    }
}

/// The most bytes of one segment on a link.
fn largest_segment(link: &Link, headers: usize) -> usize {
    let mss = link.mtu.saturating_sub(headers).max(1);
    // A segment is lost as a whole, so where there is loss it is one packet.
    if link.loss > 0.0 {
        return mss;
    }
    match link.bandwidth {
        None => LARGEST_SEGMENT.max(mss),
        Some(bandwidth) => {
            let bytes = u128::from(bandwidth) * SEGMENT_TIME.as_nanos() / 8_000_000_000;
            (bytes as usize).clamp(mss, LARGEST_SEGMENT.max(mss))
        }
    }
}

/// IP packets that so many bytes need.
fn packets(link: &Link, len: usize, headers: usize) -> usize {
    len.div_ceil(link.mtu.saturating_sub(headers).max(1)).max(1)
}

/// How long a stream lets its link's queue shrink, if it takes more than its half of it.
fn too_long(link: &Link, backlog: Nanos) -> Option<Duration> {
    link.bandwidth?;
    let half = nanos(link.serialization(link.queue / 2));
    (backlog > half).then(|| Duration::from_nanos(backlog - half / 2))
}
