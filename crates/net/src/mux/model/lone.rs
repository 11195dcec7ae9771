//! One side, and a remote that keeps no rule.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::super::frame::{HEADER_LEN, Header, Kind, Violation};
use super::{Bounds, Op, Peer, content};
use crate::error::VIOLATION_CODE;
use crate::mux::Side;
use crate::{CloseReason, Error};

/// One side of a connection whose remote sends whatever bytes it likes.
pub struct Lone {
    peer: Peer,
    /// Streams that were opened or accepted here.
    streams: Vec<u32>,
    /// Calls on this side since its frames were last taken, each of which may have queued some.
    calls: usize,
}

impl Lone {
    /// A side that accepted the connection.
    pub fn new(bounds: Bounds) -> Self {
        Self { peer: Peer::new(Side::Listener, bounds), streams: Vec::new(), calls: 0 }
    }

    /// Does something on this side. [`Op::Arrive`] does nothing here: see [`receive`](Self::receive).
    pub fn step(&mut self, op: &Op) {
        let core = &mut self.peer.core;
        let cx = &mut Context::from_waker(Waker::noop());
        let nth = |nth: usize| self.streams.get(nth % self.streams.len().max(1)).copied();
        self.calls += 1;
        match *op {
            Op::Open => self.streams.extend(core.open()),
            Op::Accept => self.streams.extend(core.accept().ok().flatten()),
            Op::Write { stream, len } => {
                if let Some(id) = nth(stream) {
                    let _ = core.write(cx, id, &mut [content(0, id, 0, len)]);
                }
            }
            Op::Read { stream } => {
                if let Some(id) = nth(stream) {
                    let _ = core.read(cx, id, usize::MAX);
                }
            }
            Op::Finish { stream } => {
                if let Some(id) = nth(stream) {
                    let _ = core.finish(id, Some(&Arc::default()));
                }
            }
            Op::Reset { stream } => nth(stream).into_iter().for_each(|id| core.reset(id, 1)),
            Op::Stop { stream } => nth(stream).into_iter().for_each(|id| core.stop(id, 1, true)),
            Op::Urgent { stream, urgent } => nth(stream).into_iter().for_each(|id| core.set_urgent(id, urgent)),
            Op::Trust => core.accepted(),
            Op::Pass { ms } => core.clock.advance(Duration::from_millis(ms)),
            Op::Close => core.close(1, "enough"),
            Op::Transmit => {
                self.calls = 0;
                self.peer.output().iter().for_each(|chunk| assert!(!chunk.is_empty()));
            }
            Op::Arrive { .. } => {}
        }
        self.check();
    }

    /// Bytes of the remote have come. Gives whether the connection goes on.
    pub fn receive(&mut self, bytes: &[u8]) -> bool {
        if self.peer.core.end().is_some() {
            return false;
        }
        self.peer.incoming.extend_from_slice(bytes);
        let result = self.peer.arrive(usize::MAX);
        match result {
            Ok(()) if self.calls == 0 => {
                assert!(!self.peer.core.out.is_control_full(), "answers without end");
            }
            Ok(()) => {}
            Err(Violation(what)) => self.violated(what),
        }
        self.check();
        self.peer.core.end().is_none()
    }

    /// As the driver ends the connection of a remote that broke a rule: it is told so, and nothing else.
    fn violated(&mut self, what: &'static str) {
        self.peer.core.fail(CloseReason::Violation(what.into()));
        let sent: Vec<u8> = self.peer.output().iter().flatten().copied().collect();
        let header = Header { kind: Kind::Close, len: 4 + what.len() as u32, stream: 0 }.encode();
        assert_eq!(sent[..HEADER_LEN], header);
        assert_eq!(sent[HEADER_LEN..], [&VIOLATION_CODE.to_be_bytes(), what.as_bytes()].concat());
        assert!(matches!(self.peer.core.open(), Err(Error::Closed(_))));
    }

    fn check(&mut self) {
        self.peer.wake();
        self.peer.core.check();
    }

    /// Bytes that wait to be read, and the streams that are open.
    pub fn held(&self) -> (usize, usize) {
        (self.peer.core.unread(), self.peer.core.open_streams())
    }

    /// A frame in the form that each is sent in; of a kind that does not exist, too.
    pub fn frame(kind: u8, stream: u32, payload: &[u8]) -> Bytes {
        let mut bytes = Header { kind: Kind::Data, len: payload.len() as u32, stream }.encode().to_vec();
        bytes[0] = kind;
        bytes.extend_from_slice(payload);
        bytes.into()
    }
}
