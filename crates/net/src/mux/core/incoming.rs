//! What the remote's frames do to the core.

use bytes::Bytes;

use super::super::frame::{Header, Kind, Violation};
use super::{Core, Limits, State};
use crate::{CloseReason, Error};

/// What becomes of a data frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mux) enum Delivery {
    /// It goes to this stream.
    Deliver,
    /// Nobody wants it any more.
    Discard,
}

impl Core {
    /// The header of a data frame has arrived.
    pub(in crate::mux) fn on_data_header(&mut self, header: Header) -> Result<Delivery, Violation> {
        // The credit that is given back for data waits as other answers do.
        self.check_answers()?;
        if !self.accepted {
            let left = self.early_left_there.checked_sub(header.len);
            self.early_left_there = left.ok_or(Violation("more data than a remote may send before it is accepted"))?;
        }
        let Some(State { recv, .. }) = self.known(header.stream)? else { return Ok(Delivery::Discard) };
        recv.credit = recv.credit.checked_sub(header.len).ok_or(Violation("more data than was granted"))?;
        match recv.end {
            None => Ok(Delivery::Deliver),
            // A reset goes ahead of data that was written before it.
            Some(Some(_)) => Ok(Delivery::Discard),
            Some(None) => Err(Violation("data after the end of a stream")),
        }
    }

    /// Payload of a data frame whose header was accepted.
    pub(in crate::mux) fn on_data(&mut self, id: u32, bytes: &[u8]) {
        if let Some(State { recv, .. }) = self.streams.get_mut(&id).map(Box::as_mut).filter(|state| !state.recv.done) {
            let before = recv.inbox.held();
            recv.inbox.copy(bytes);
            self.held += recv.inbox.held() - before;
            self.unread += bytes.len();
            self.wake.extend(recv.waker.take());
        }
    }

    /// The whole payload of a data frame, in a buffer of its own, of so many bytes.
    pub(in crate::mux) fn on_data_owned(&mut self, id: u32, bytes: Bytes, buffer: usize) {
        if let Some(State { recv, .. }) = self.streams.get_mut(&id).map(Box::as_mut).filter(|state| !state.recv.done) {
            self.unread += bytes.len();
            let before = recv.inbox.held();
            recv.inbox.push(bytes, buffer);
            self.held += recv.inbox.held() - before;
            self.wake.extend(recv.waker.take());
        }
    }

    /// The last data frame of a stream is complete.
    pub(in crate::mux) fn on_fin(&mut self, id: u32) {
        if let Some(State { recv, .. }) = self.streams.get_mut(&id).map(Box::as_mut) {
            recv.end = Some(None);
            self.wake.extend(recv.waker.take());
            self.forget_if_done(id);
        }
    }

    /// A complete frame that carries no stream data.
    pub(in crate::mux) fn on_control(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        let id = header.stream;
        let number = payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        match header.kind {
            Kind::Open => self.on_open(id)?,
            Kind::Window => {
                if let Some(State { send, .. }) = self.known(id)? {
                    send.credit = send.credit.checked_add(number).ok_or(Violation("credit beyond 2^32"))?;
                    self.wake_sender(id);
                }
            }
            Kind::Reset => {
                if let Some(State { recv, .. }) = self.known(id)?
                    && recv.end.is_none()
                {
                    recv.end = Some(Some(number));
                    // What the remote gave up is not worth keeping.
                    let (held, dropped) = (recv.inbox.held(), recv.inbox.clear());
                    self.held -= held;
                    self.unread -= dropped;
                    self.wake_receiver(id);
                    self.forget_if_done(id);
                }
            }
            Kind::Stop => {
                if let Some(State { send, .. }) = self.known(id)? {
                    send.stopped.get_or_insert(number);
                    self.wake_sender(id);
                }
                self.owed.settle(id.into(), Err(Error::Stopped(number)), &mut self.wake);
            }
            Kind::Read => {
                if self.known(id)?.is_some_and(|state| !state.send.finished) {
                    return Err(Violation("it read the end of a stream that has not ended"));
                }
                self.owed.settle(id.into(), Ok(()), &mut self.wake);
            }
            Kind::Refuse if self.side.opened(id) => {
                if let Some(State { send, recv }) = self.known(id)? {
                    send.refused = true;
                    recv.refused = true;
                    self.wake_sender(id);
                    self.wake_receiver(id);
                }
                self.owed.settle(id.into(), Err(Error::Refused), &mut self.wake);
            }
            Kind::Refuse => {}
            Kind::Close => {
                let reason = payload.get(4..).unwrap_or_default();
                self.fail(CloseReason::from_remote(number, reason));
            }
            Kind::Ping => self.out.control(Kind::Pong, 0, &number.to_be_bytes()),
            Kind::Pong => {
                let now = self.clock.now();
                if !self.rtt.end(now, number) {
                    return Err(Violation("an answer that nobody asked for"));
                }
            }
            Kind::Accepted => {
                if std::mem::replace(&mut self.accepted_there, true) {
                    return Err(Violation("it accepted this side twice"));
                }
                self.wake.extend(self.streams.values_mut().filter_map(|state| state.send.waker.take()));
            }
            Kind::Data | Kind::DataFin => debug_assert!(false, "data frames do not come here"),
        }
        self.check_answers()
    }

    fn on_open(&mut self, id: u32) -> Result<(), Violation> {
        if self.side.opened(id) || id <= self.last_remote {
            return Err(Violation("a stream opened out of order"));
        }
        self.last_remote = id;
        let Limits { inbound_streams, early_streams, .. } = self.limits;
        let most = if self.accepted { inbound_streams } else { early_streams.min(inbound_streams) };
        if self.inbound >= most || self.end.is_some() {
            self.out.control(Kind::Refuse, id, &[]);
        } else {
            self.inbound += 1;
            self.insert(id);
            self.unaccepted.push_back(id);
        }
        Ok(())
    }

    fn check_answers(&self) -> Result<(), Violation> {
        if self.out.is_control_full() { Err(Violation("it provokes more answers than it reads")) } else { Ok(()) }
    }
}
