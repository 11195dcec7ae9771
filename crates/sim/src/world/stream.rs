//! TCP-like streams: segments with numbers, acknowledgements, retransmission; two ends, and a pipe in each direction.
//!
//! Simpler than TCP where that changes nothing that a program can see: both ends share one record, so a sender knows how
//! much room its receiver has, and there is no congestion window: a link with a bandwidth pushes back instead of dropping.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::World;
use super::send_buffer::SendBuffer;
use crate::arena::Id;
use crate::host::HostId;
use crate::nat::NatId;
use crate::timeline::{Key, Nanos};

/// One of the two ends of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Dialer,
    Acceptor,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Conn {
    ends: [End; 2],
    pipes: [Pipe; 2],
    /// The listener that has it, until it is accepted.
    pub(crate) listener: Option<Id>,
    /// Whom the dialer asked for.
    pub(crate) asked: SocketAddr,
}

impl Conn {
    pub(crate) fn new(dialer: End, asked: SocketAddr) -> Self {
        let acceptor = End::new(dialer.host, State::Absent, asked, dialer.local);
        Self { ends: [dialer, acceptor], pipes: [Pipe::default(), Pipe::default()], listener: None, asked }
    }

    pub(crate) fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    pub(crate) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// The number of the segment that one end is to receive next.
    pub(crate) fn received_up_to(&self, side: Side) -> u64 {
        self.pipes[side.other() as usize].expected
    }

    /// What one end sends.
    pub(crate) fn outgoing(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side as usize]
    }

    /// What one end receives.
    pub(crate) fn incoming(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side.other() as usize]
    }
}

/// What one host knows of a stream.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: HostId,
    pub(crate) state: State,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// Why it is broken.
    pub(crate) error: Option<io::ErrorKind>,
    /// Whether a program has it, so that it counts as an open socket.
    pub(crate) is_held: bool,
    /// The box between it and the other end, and the port that stands for it there.
    pub(crate) nat: Option<(NatId, SocketAddr)>,
    pub(crate) timer: Option<Key>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It does not exist yet.
    Absent,
    /// It has asked so many times.
    Dialing {
        tries: u32,
    },
    /// It has agreed so many times, and waits to hear that this has arrived.
    Answering {
        tries: u32,
    },
    Open,
    /// It has failed; its program may not know yet.
    Broken,
    /// Its program has closed it; the kernel sends what is left.
    Orphan,
    /// Both directions have ended in order.
    Finished,
    /// The host knows nothing of it any more.
    Gone,
}

impl End {
    pub(crate) fn new(host: HostId, state: State, local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            host,
            state,
            local,
            peer,
            error: None,
            is_held: false,
            nat: None,
            timer: None,
            reader: None,
            writer: None,
        }
    }

    /// Whether the host has a record of it.
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self.state, State::Absent | State::Finished | State::Gone)
    }
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// Written and not sent yet.
    pub(crate) unsent: SendBuffer,
    /// How much of it there may be, where the writer wants less than the settings allow.
    pub(crate) most_unsent: Option<usize>,
    /// Whether the writer has ended it.
    pub(crate) is_ended: bool,
    /// Whether the end has been sent, as the last segment.
    pub(crate) end_sent: bool,
    /// Sent and not acknowledged, in order.
    pub(crate) flight: VecDeque<Segment>,
    pub(crate) flight_bytes: usize,
    /// The number of the next new segment.
    pub(crate) next: u64,
    /// The smoothed round-trip time and its variation (RFC 6298), once there is a sample.
    pub(crate) rtt: Option<(Duration, Duration)>,
    /// How often the oldest segment was sent again without an answer.
    pub(crate) retries: u32,
    /// When the oldest segment is sent again.
    pub(crate) retransmit_at: Nanos,
    /// Since when nothing was acknowledged although something is under way.
    pub(crate) unanswered_since: Nanos,
    /// Whether the sender waits for the receiver's room.
    pub(crate) is_blocked: bool,
    /// Whether the sender will try again by itself.
    pub(crate) is_pumping: bool,
    /// The number of the segment to be received next.
    pub(crate) expected: u64,
    /// Segments that came too early.
    pub(crate) early: BTreeMap<u64, Bytes>,
    pub(crate) early_bytes: usize,
    /// To be read.
    pub(crate) received: VecDeque<Bytes>,
    pub(crate) received_bytes: usize,
    /// Whether everything has been received.
    pub(crate) is_over: bool,
}

/// Part of a stream as one packet, or as several that share their fate.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Empty for the end of the direction.
    pub(crate) data: Bytes,
    pub(crate) sent_at: Nanos,
    pub(crate) was_resent: bool,
    pub(crate) has_arrived: bool,
}

impl Pipe {
    /// Room that the receiver has left for what is not sent yet.
    pub(crate) fn room(&self, window: usize) -> usize {
        window.saturating_sub(self.received_bytes + self.early_bytes + self.flight_bytes)
    }

    /// Whether everything, the end included, has arrived.
    pub(crate) fn is_done(&self) -> bool {
        self.end_sent && self.flight.is_empty()
    }

    /// Forgets what the sender had.
    pub(crate) fn drop_sending(&mut self) {
        self.unsent = SendBuffer::default();
        self.flight = VecDeque::new();
        self.flight_bytes = 0;
    }

    /// Forgets what the receiver had.
    pub(crate) fn drop_receiving(&mut self) {
        self.early = BTreeMap::new();
        self.received = VecDeque::new();
        (self.early_bytes, self.received_bytes) = (0, 0);
    }
}

impl World {
    /// Removes the record of a stream once neither host has one.
    pub(crate) fn forget_if_over(&mut self, id: Id) {
        let Some(conn) = self.conns.get(id) else { return };
        if conn.end(Side::Dialer).is_there() || conn.end(Side::Acceptor).is_there() {
            return;
        }
        let Some(mut conn) = self.conns.remove(id) else { return };
        for side in [Side::Dialer, Side::Acceptor] {
            let end = conn.end_mut(side);
            if let Some(key) = end.timer.take() {
                // A timer of the world holds no waker: it may be dropped here.
                self.cancel(key);
            }
            self.wakes.take(&mut end.reader);
            self.wakes.take(&mut end.writer);
        }
    }
}
