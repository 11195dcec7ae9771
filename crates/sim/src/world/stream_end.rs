//! The life of one end of a stream: dialing, failing, closing.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use super::stream::{Conn, End, State};
use super::{Event, Side, World, nanos};
use crate::arena::Id;
use crate::host::HostId;
use crate::timeline::Nanos;
use crate::trace::PacketKind;

/// The first wait of a dialer, and of a listener that has agreed, before they try again (RFC 6298 §2).
const FIRST_RETRY: Duration = Duration::from_secs(1);

impl World {
    /// Begins to dial.
    pub(crate) fn dial(&mut self, host: HostId, peer: SocketAddr) -> io::Result<Id> {
        if peer.ip().is_unspecified() || peer.port() == 0 {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let ip = self.source_ip(host, peer.ip())?;
        let local = self.hosts[host.index()].dial_ports.free(SocketAddr::new(ip, 0))?;
        self.open_socket(host)?;
        self.hosts[host.index()].dial_ports.bind(local, ());
        let mut end = End::new(host, State::Dialing { tries: 1 }, local, peer);
        end.is_held = true;
        let id = self.conns.insert(Box::new(Conn::new(end, peer)));
        self.send_syn(id);
        self.arm(id, Side::Dialer, self.now + nanos(FIRST_RETRY));
        Ok(id)
    }

    /// Whether the dialer has come through, with both its addresses.
    pub(crate) fn poll_dialed(&mut self, id: Id, cx: &Context<'_>) -> Poll<io::Result<(SocketAddr, SocketAddr)>> {
        let Some(conn) = self.conns.get_mut(id) else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let end = conn.end_mut(Side::Dialer);
        match (end.state, end.error) {
            (_, Some(error)) => Poll::Ready(Err(error.into())),
            (State::Dialing { .. }, None) => {
                self.wakes.wait(&mut end.reader, cx.waker());
                Poll::Pending
            }
            (State::Open, None) => Poll::Ready(Ok((end.local, end.peer))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Something has to be looked after at `at`, at the latest.
    pub(crate) fn arm(&mut self, id: Id, side: Side, at: Nanos) {
        let Some(armed) = self.conns.get(id).map(|conn| conn.end(side).timer) else { return };
        if let Some(key) = armed {
            // One that is early looks again and is set anew: moving it at each acknowledgement would cost more.
            if key.at <= at {
                return;
            }
            self.cancel(key);
        }
        let key = self.schedule(at, Event::Timer(id, side));
        if let Some(conn) = self.conns.get_mut(id) {
            conn.end_mut(side).timer = Some(key);
        }
    }

    pub(super) fn stream_timer(&mut self, id: Id, side: Side) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.end_mut(side).timer = None;
        let nothing_left = conn.outgoing(side).is_done();
        let end = conn.end_mut(side);
        match end.state {
            State::Dialing { tries } if tries > self.settings.streams.connect_retries => {
                self.fail(id, side, io::ErrorKind::TimedOut);
            }
            State::Dialing { tries } => {
                end.state = State::Dialing { tries: tries + 1 };
                self.send_syn(id);
                self.arm(id, side, self.now + (nanos(FIRST_RETRY) << tries.min(7)));
            }
            State::Answering { tries } if tries > self.settings.streams.connect_retries => self.forget_end(id, side),
            State::Answering { tries } => {
                end.state = State::Answering { tries: tries + 1 };
                self.send_control(id, side, PacketKind::SynAck);
                self.arm(id, side, self.now + (nanos(FIRST_RETRY) << tries.min(7)));
            }
            State::Orphan if nothing_left => self.forget_end(id, side),
            State::Open | State::Orphan => self.retransmit_if_due(id, side),
            State::Absent | State::Broken | State::Finished | State::Gone => {}
        }
    }

    /// An end has failed; its program will hear of it.
    pub(crate) fn fail(&mut self, id: Id, side: Side, error: io::ErrorKind) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.outgoing(side).drop_sending();
        let end = conn.end_mut(side);
        if !end.is_held && conn.listener.is_none() {
            return self.forget_end(id, side);
        }
        let end = conn.end_mut(side);
        end.state = State::Broken;
        end.error = Some(error);
        self.wakes.take(&mut end.reader);
        self.wakes.take(&mut end.writer);
    }

    /// The program lets go of its end.
    pub(crate) fn close_stream(&mut self, id: Id, side: Side) {
        self.release_held(id, side);
        let Some(conn) = self.conns.get_mut(id) else { return };
        match conn.end(side).state {
            State::Open => {
                let unread = conn.incoming(side).received_bytes > 0;
                if unread {
                    // What was not read is lost, and the other side must know (RFC 1122 §4.2.2.13).
                    self.send_control(id, side, PacketKind::Reset);
                    return self.forget_end(id, side);
                }
                conn.end_mut(side).state = State::Orphan;
                conn.outgoing(side).is_ended = true;
                self.pump(id, side);
                self.settle(id, side);
            }
            State::Answering { .. } => {
                self.send_control(id, side, PacketKind::Reset);
                self.forget_end(id, side);
            }
            State::Orphan | State::Absent | State::Finished | State::Gone => {}
            State::Dialing { .. } | State::Broken => self.forget_end(id, side),
        }
    }

    /// An end that its program has closed is over once both directions are.
    pub(crate) fn settle(&mut self, id: Id, side: Side) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.end(side).state != State::Orphan || !conn.outgoing(side).is_done() {
            return;
        }
        if conn.incoming(side).is_over {
            self.leave(id, side, State::Finished);
        } else {
            let at = self.now + nanos(self.settings.streams.fin_timeout);
            // What is armed is for retransmission, of which there is none any more.
            if let Some(key) = conn.end_mut(side).timer.take() {
                self.cancel(key);
            }
            self.arm(id, side, at);
        }
    }

    /// The host forgets its end without a word.
    pub(crate) fn forget_end(&mut self, id: Id, side: Side) {
        self.leave(id, side, State::Gone);
    }

    fn leave(&mut self, id: Id, side: Side, state: State) {
        self.release_held(id, side);
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.outgoing(side).drop_sending();
        conn.incoming(side).drop_receiving();
        let waited = if side == Side::Acceptor { conn.listener.take() } else { None };
        let end = conn.end_mut(side);
        let was_answering = matches!(end.state, State::Answering { .. });
        end.state = state;
        let (host, local, timer) = (end.host, end.local, end.timer.take());
        self.wakes.take(&mut end.reader);
        self.wakes.take(&mut end.writer);
        if let Some(key) = timer {
            self.cancel(key);
        }
        if side == Side::Dialer {
            self.hosts[host.index()].dial_ports.release(local);
        }
        if let Some(listener) = waited.and_then(|listener| self.listeners.get_mut(listener)) {
            listener.left(was_answering, id);
        }
        self.forget_if_over(id);
    }

    fn release_held(&mut self, id: Id, side: Side) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let end = conn.end_mut(side);
        let host = end.host;
        if std::mem::take(&mut end.is_held) {
            self.closed_socket(host);
        }
    }
}
