//! Listening sockets.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

use super::stream::State;
use super::{Failing, Side, World};
use crate::arena::Id;
use crate::host::HostId;
use crate::trace::PacketKind;

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) host: HostId,
    pub(crate) local: SocketAddr,
    /// Streams that may be accepted.
    pub(crate) queue: VecDeque<Id>,
    /// Streams whose dialer has been answered and has not confirmed it.
    pub(crate) answering: usize,
    pub(crate) acceptor: Option<Waker>,
    pub(crate) failing: Failing,
}

impl Listener {
    /// A stream that waited here is gone.
    pub(crate) fn left(&mut self, was_answering: bool, id: Id) {
        if was_answering {
            self.answering = self.answering.saturating_sub(1);
        } else {
            self.queue.retain(|queued| *queued != id);
        }
    }
}

/// A stream that was accepted: its number, its own address and the other.
pub(crate) type Accepted = (Id, SocketAddr, SocketAddr);

impl World {
    pub(crate) fn listen(&mut self, host: HostId, addr: SocketAddr) -> io::Result<(Id, SocketAddr)> {
        if !self.may_bind(host, addr.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let local = self.hosts[host.index()].listen_ports.free(addr)?;
        self.open_socket(host)?;
        let id = self.listeners.insert(Listener {
            host,
            local,
            queue: VecDeque::new(),
            answering: 0,
            acceptor: None,
            failing: Failing::No,
        });
        self.hosts[host.index()].listen_ports.bind(local, id);
        Ok((id, local))
    }

    pub(crate) fn poll_accept(&mut self, id: Id, cx: &Context<'_>) -> Poll<io::Result<Accepted>> {
        if let Some(listener) = self.listeners.get(id) {
            let (host, mut failing) = (listener.host, listener.failing);
            let failure = self.socket_failure(host, &mut failing);
            if let Some(listener) = self.listeners.get_mut(id) {
                listener.failing = failing;
            }
            failure?;
        }
        loop {
            let Some(listener) = self.listeners.get_mut(id) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let Some(&conn_id) = listener.queue.front() else {
                self.wakes.wait(&mut listener.acceptor, cx.waker());
                return Poll::Pending;
            };
            let host = listener.host;
            let alive = self.conns.get(conn_id).is_some_and(|conn| conn.end(Side::Acceptor).state == State::Open);
            if alive {
                // Out of sockets, the stream stays where it is, for a later try.
                self.open_socket(host)?;
            }
            if let Some(listener) = self.listeners.get_mut(id) {
                listener.queue.pop_front();
            }
            let Some(conn) = self.conns.get_mut(conn_id) else { continue };
            conn.listener = None;
            if !alive {
                // Its dialer has broken it off.
                self.forget_end(conn_id, Side::Acceptor);
                continue;
            }
            let end = conn.end_mut(Side::Acceptor);
            end.is_held = true;
            return Poll::Ready(Ok((conn_id, end.local, end.peer)));
        }
    }

    /// The program lets go: what waits is told.
    pub(crate) fn close_listener(&mut self, id: Id) {
        let queue = self.listeners.get(id).map(|listener| listener.queue.clone()).unwrap_or_default();
        self.forget_listener(id);
        for conn in queue {
            self.send_control(conn, Side::Acceptor, PacketKind::Reset);
            self.forget_end(conn, Side::Acceptor);
        }
    }

    pub(crate) fn forget_listener(&mut self, id: Id) {
        let Some(mut listener) = self.listeners.remove(id) else { return };
        self.hosts[listener.host.index()].listen_ports.release(listener.local);
        self.closed_socket(listener.host);
        self.wakes.take(&mut listener.acceptor);
    }
}
