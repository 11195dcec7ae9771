//! What an end of a stream receives.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use super::packet::segment_headers;
use super::stream::{End, State};
use super::{Body, Event, Packet, Side, World, nanos};
use crate::arena::Id;
use crate::trace::{Fate, PacketKind};

impl World {
    pub(crate) fn poll_read(
        &mut self,
        id: Id,
        side: Side,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(conn) = self.conns.get_mut(id) else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let pipe = conn.incoming(side);
        if pipe.received_bytes > 0 {
            while buf.remaining() > 0
                && let Some(front) = pipe.received.front_mut()
            {
                let len = front.len().min(buf.remaining());
                buf.put_slice(&front[..len]);
                front.advance(len);
                pipe.received_bytes -= len;
                if front.is_empty() {
                    pipe.received.pop_front();
                }
            }
            self.tell_of_room(id, side);
            return Poll::Ready(Ok(()));
        }
        let is_over = pipe.is_over;
        match (conn.end(side).state, conn.end(side).error) {
            _ if is_over => Poll::Ready(Ok(())),
            (_, Some(error)) => Poll::Ready(Err(error.into())),
            (State::Open, None) => {
                self.wakes.wait(&mut conn.end_mut(side).reader, cx.waker());
                Poll::Pending
            }
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// A sender that waited for room hears of it when half of the window is free.
    fn tell_of_room(&mut self, id: Id, side: Side) {
        let window = self.settings.streams.window;
        let Some(conn) = self.conns.get_mut(id) else { return };
        let (from, to) = (conn.end(side).host, conn.end(side.other()).host);
        let pipe = conn.incoming(side);
        if pipe.is_blocked && pipe.room(window) >= window / 2 && !pipe.is_pumping {
            pipe.is_blocked = false;
            pipe.is_pumping = true;
            let delay = self.links.link(from, to).latency.draw(&mut self.rng);
            self.schedule_in(delay, Event::Pump(id, side.other()));
        }
    }

    pub(super) fn segment_arrives(&mut self, packet: Packet) {
        let Body::Segment { conn: id, toward, number, next, ref data } = packet.body else { return };
        if packet.kind == PacketKind::Syn {
            return self.syn_arrives(id, &packet);
        }
        let Some(conn) = self.conns.get(id) else { return };
        let end = conn.end(toward);
        match (end.state, packet.kind) {
            (State::Absent, _) => {}
            (State::Dialing { .. }, PacketKind::SynAck) => self.dialed(id),
            (State::Dialing { .. }, PacketKind::Reset) => self.fail(id, toward, io::ErrorKind::ConnectionRefused),
            (State::Dialing { .. }, _) => {}
            (State::Answering { .. } | State::Orphan, PacketKind::Reset) => self.forget_end(id, toward),
            (State::Open, PacketKind::Reset) => self.fail(id, toward, io::ErrorKind::ConnectionReset),
            (State::Broken | State::Gone | State::Finished, PacketKind::Reset) => {}
            (State::Finished, PacketKind::Data | PacketKind::Fin) => self.send_ack(id, toward, number),
            (State::Finished, _) => {}
            (State::Broken | State::Gone, _) => self.answer_reset(id, toward),
            // The answer to it was lost.
            (State::Open | State::Orphan, PacketKind::SynAck) => self.send_control(id, toward, PacketKind::Ack),
            (State::Orphan, PacketKind::Data) if number >= conn.received_up_to(toward) => {
                // Nobody will read it.
                self.answer_reset(id, toward);
                self.forget_end(id, toward);
            }
            (State::Answering { .. }, kind) => {
                if self.answered(id) {
                    self.process(id, toward, kind, number, next, data.clone());
                }
            }
            (State::Open | State::Orphan, kind) => self.process(id, toward, kind, number, next, data.clone()),
        }
    }

    fn process(&mut self, id: Id, side: Side, kind: PacketKind, number: u64, next: u64, data: Bytes) {
        match kind {
            PacketKind::Data | PacketKind::Fin => self.data_arrives(id, side, number, data),
            PacketKind::Ack => self.ack_arrives(id, side, number, next),
            PacketKind::Datagram
            | PacketKind::Unreachable
            | PacketKind::Syn
            | PacketKind::SynAck
            | PacketKind::Reset => {}
        }
    }

    fn syn_arrives(&mut self, id: Id, packet: &Packet) {
        let host = packet.to;
        let Some(conn) = self.conns.get(id) else { return };
        match conn.end(Side::Acceptor).state {
            State::Absent => {}
            State::Answering { .. } => return self.send_control(id, Side::Acceptor, PacketKind::SynAck),
            _ => return,
        }
        let dialer = conn.end(Side::Dialer).nat;
        let listener = self.hosts[host.index()].listen_ports.holder(packet.dst);
        let Some(listener) = listener else {
            // The refusal goes back the way the request came.
            let (src, dst) = (conn.end(Side::Dialer).peer, conn.end(Side::Dialer).local);
            let body = Body::Segment { conn: id, toward: Side::Dialer, number: 0, next: 0, data: Bytes::new() };
            let len = segment_headers(dst);
            let (from, to) = (host, packet.from);
            let kind = PacketKind::Reset;
            return self.transmit(Packet { from, to, kind, len, src, dst, through: dialer, body });
        };
        let backlog = self.settings.streams.backlog;
        let Some(entry) = self.listeners.get_mut(listener) else { return };
        if entry.queue.len() + entry.answering >= backlog {
            return self.note(packet, Fate::NoRoom);
        }
        entry.answering += 1;
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.listener = Some(listener);
        let mut end = End::new(host, State::Answering { tries: 1 }, packet.dst, packet.src);
        end.nat = packet.through;
        *conn.end_mut(Side::Acceptor) = end;
        self.send_control(id, Side::Acceptor, PacketKind::SynAck);
        self.arm(id, Side::Acceptor, self.now + nanos(Duration::from_secs(1)));
    }

    /// The dialer has come through.
    fn dialed(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let end = conn.end_mut(Side::Dialer);
        end.state = State::Open;
        self.wakes.take(&mut end.reader);
        if let Some(key) = end.timer.take() {
            self.cancel(key);
        }
        self.send_control(id, Side::Dialer, PacketKind::Ack);
    }

    /// The dialer has confirmed: the stream may be accepted. False if nobody listens any more.
    fn answered(&mut self, id: Id) -> bool {
        let Some(conn) = self.conns.get_mut(id) else { return false };
        let end = conn.end_mut(Side::Acceptor);
        end.state = State::Open;
        let timer = end.timer.take();
        let listener = conn.listener;
        if let Some(key) = timer {
            self.cancel(key);
        }
        let Some(listener) = listener.and_then(|listener| self.listeners.get_mut(listener)) else {
            self.answer_reset(id, Side::Acceptor);
            self.forget_end(id, Side::Acceptor);
            return false;
        };
        listener.answering = listener.answering.saturating_sub(1);
        listener.queue.push_back(id);
        self.wakes.take(&mut listener.acceptor);
        true
    }

    fn answer_reset(&mut self, id: Id, side: Side) {
        self.send_control(id, side, PacketKind::Reset);
    }

    fn data_arrives(&mut self, id: Id, side: Side, number: u64, data: Bytes) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let pipe = conn.incoming(side);
        if number >= pipe.expected && !pipe.early.contains_key(&number) {
            pipe.early_bytes += data.len();
            // In order, it passes through without a stay.
            pipe.early.insert(number, data);
        }
        let mut progress = false;
        while let Some(data) = pipe.early.remove(&pipe.expected) {
            progress = true;
            pipe.expected += 1;
            pipe.early_bytes -= data.len();
            pipe.received_bytes += data.len();
            if data.is_empty() {
                pipe.is_over = true;
            } else {
                pipe.received.push_back(data);
            }
        }
        if progress {
            self.wakes.take(&mut conn.end_mut(side).reader);
        }
        self.send_ack(id, side, number);
        self.settle(id, side);
    }

    fn ack_arrives(&mut self, id: Id, side: Side, number: u64, next: u64) {
        let now = self.now;
        let settings = self.settings.clone();
        let Some(conn) = self.conns.get_mut(id) else { return };
        let pipe = conn.outgoing(side);
        let Some(first) = pipe.flight.front().map(|segment| segment.number) else { return };
        let mut newest = None;
        let mut answered = false;
        let index = number.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(segment) = index.and_then(|index| pipe.flight.get_mut(index))
            && !segment.has_arrived
        {
            segment.has_arrived = true;
            answered = true;
            newest = Some(segment.sent_at);
            pipe.flight_bytes -= segment.data.len();
            if !segment.was_resent {
                pipe.rtt = Some(smooth(pipe.rtt, Duration::from_nanos(now - segment.sent_at)));
            }
        }
        while let Some(front) = pipe.flight.front()
            && (front.has_arrived || front.number < next)
        {
            if !front.has_arrived {
                pipe.flight_bytes -= front.data.len();
            }
            answered = true;
            pipe.flight.pop_front();
        }
        if answered {
            pipe.retries = 0;
            pipe.unanswered_since = now;
            pipe.retransmit_at = now.saturating_add(pipe.wait_to_retransmit(&settings.streams));
        }
        // One that left well before another that has arrived is lost (RFC 8985).
        let slack = nanos(pipe.rtt.map_or(Duration::ZERO, |(smoothed, _)| smoothed / 4));
        let oldest = pipe.flight.front().map(|segment| segment.sent_at);
        let is_lost = newest.zip(oldest).is_some_and(|(newest, oldest)| newest > oldest.saturating_add(slack));
        if is_lost {
            self.resend_oldest(id, side);
        }
        self.pump(id, side);
        self.settle(id, side);
    }
}

/// RFC 6298 §2.
fn smooth(before: Option<(Duration, Duration)>, sample: Duration) -> (Duration, Duration) {
    match before {
        None => (sample, sample / 2),
        Some((smoothed, variation)) => ((7 * smoothed + sample) / 8, (3 * variation + smoothed.abs_diff(sample)) / 4),
    }
}
