//! The task of a connected peer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use p2p_core::task::pass;
use p2p_identity::{DisconnectReason, ProtocolId};
use p2p_net::{MessageReceiver, Stream};

use super::drain::{Drain, Next};
use super::streams::{Headed, MAX_PENDING_HEADERS, PendingHeaders, read_header};
use super::{Leave, Outcome, Peer, disconnect_reason};
use crate::beside::Beside;
use crate::control::{Control, ControlMessage, MAX_CONTROL_MESSAGE, Violation};
use crate::header::{StreamKind, stream_code};
use crate::ping::{Due, Ping};
use crate::pool::Shared;
use crate::{Offence, PoolConfig};

/// When a new connection is pinged first, which gives its round-trip time.
const FIRST_PING: Duration = Duration::from_millis(250);

/// How long protocols that have nothing left to read may take to end by themselves.
const LINGER: Duration = Duration::from_millis(250);

/// How long the word that a protocol has ended waits for the remote to read what was finished before. Less than a reader there
/// waits for the word.
const MOST_BEFORE_ENDED: Duration = Duration::from_millis(2_500);

/// What a remote does wrong that says again and again what has no effect.
const CHANGE_NOTHING: &str = "too many control messages that change nothing";

/// Events that are handled before others on the same thread go first: a remote may cause them faster than they are handled.
const EVENTS_PER_TURN: usize = 64;

/// A peer and all that its task moves: control messages, pings, new streams, the end.
pub(crate) struct Session {
    /// From the beginning: a task may be dropped before it ran at all.
    _end: EndOnDrop,
    peer: Arc<Peer>,
    inbox: MessageReceiver,
    config: Arc<PoolConfig>,
    control: Control,
    ping: Ping,
    headers: PendingHeaders,
    /// Message streams of protocols that have ended here, read to their end and dropped.
    discards: Beside<()>,
    /// Protocols that have ended here, of which the remote is told when it has read the streams that were finished.
    endings: Beside<ProtocolId>,
    drain: Option<Drain>,
}

/// Ends the peer when its task is dropped: nobody may wait for a peer that nobody looks after.
struct EndOnDrop(Arc<Peer>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if self.0.core.ended().is_none() {
            self.0.end(DisconnectReason::Lost("the node was dropped".into()));
        }
    }
}

enum Event {
    Control(p2p_net::Result<Option<Bytes>>),
    Stream(p2p_net::Result<Stream>),
    Header(Option<Headed>),
    Requests,
    Ended(ProtocolId),
    Timer,
    Other,
}

impl Session {
    pub(crate) fn new(pool: &Shared, peer: Arc<Peer>, mut inbox: MessageReceiver) -> Self {
        // Messages of the handshake, which were the first on this stream, may be longer.
        inbox.set_max_message(MAX_CONTROL_MESSAGE);
        let config = pool.config.clone();
        let now = pool.runtime.now();
        Self {
            control: Control::new(peer.id() < pool.own_id, now),
            ping: Ping::new(config.ping_times(), FIRST_PING, now, peer.connection.liveness()),
            headers: PendingHeaders::default(),
            discards: Beside::default(),
            endings: Beside::default(),
            drain: None,
            _end: EndOnDrop(peer.clone()),
            config,
            inbox,
            peer,
        }
    }

    /// Looks after the peer until it is gone and its tasks have ended.
    pub(crate) fn run(mut self, early: Vec<Headed>, pending: PendingHeaders) -> impl Future<Output = ()> + Send {
        self.headers = pending;
        // So few that none is too many.
        early.into_iter().for_each(|headed| drop(self.stream_arrived(headed)));
        // An async function would hold the session twice, as its argument and as its variable.
        async move {
            let reason = self.serve().await;
            self.end(reason).await;
        }
    }

    /// Ends the peer's tasks.
    async fn end(&mut self, reason: DisconnectReason) {
        let peer = self.peer.clone();
        let reason = peer.end(reason);
        let runtime = peer.core.runtime.clone();
        // What has arrived stays readable; readers that wait inside are woken by the end and return.
        let _ = runtime.timeout(LINGER, join_all(peer.links.values().map(|link| link.drain()))).await;
        let unread = peer.links.values().any(|link| link.has_unread() && !link.has_ended_here());
        if let Some(pool) = peer.pool.upgrade() {
            pool.peer_gone(&peer, reason);
        }
        let patience = if unread { self.config.drain_timeout } else { LINGER.min(self.config.drain_timeout) };
        let _ = runtime.timeout(patience, peer.protocols.wait()).await;
        peer.stop().await;
    }

    async fn serve(&mut self) -> DisconnectReason {
        let peer = self.peer.clone();
        let mut timer = peer.core.runtime.sleep_until(self.deadline());
        let mut closed = Box::pin(peer.connection.closed());
        let mut events = 0usize;
        loop {
            timer.reset(self.deadline());
            let drain_waits = self.drain.is_some() && peer.connection.delivered().now_or_never().is_none();
            let drain = &mut self.drain;
            events += 1;
            if events.is_multiple_of(EVENTS_PER_TURN) {
                pass().await;
            }
            // In a fixed order, so that a simulation repeats itself; what is due, and what this side wants, comes before what a
            // remote can send without end.
            let event = tokio::select! {
                biased;
                reason = &mut closed => return self.closed(disconnect_reason(reason)),
                () = &mut timer => Event::Timer,
                () = peer.core.woken() => Event::Requests,
                () = peer.connection.delivered(), if drain_waits => Event::Other,
                Some(protocol) = self.endings.next(), if !self.endings.is_empty() => Event::Ended(protocol),
                message = self.inbox.recv() => Event::Control(message),
                Some(header) = self.headers.next(), if !self.headers.is_empty() => Event::Header(header),
                stream = peer.connection.accept_stream(), if self.headers.len() < MAX_PENDING_HEADERS => {
                    Event::Stream(stream)
                }
                () = poll_fn(|cx| drain.as_mut().map_or(Poll::Pending, |drain| drain.poll_read(cx))) => Event::Other,
                Some(()) = self.discards.next(), if !self.discards.is_empty() => Event::Other,
            };
            let end = {
                // The ends of streams and the good-bye after them, or several answers, go out together.
                let _cork = peer.control.cork();
                self.handle(event).or_else(|| self.drain_step())
            };
            if let Some(reason) = end {
                return reason;
            }
        }
    }

    fn now(&self) -> Instant {
        self.peer.core.runtime.now()
    }

    fn deadline(&self) -> Instant {
        self.drain.as_ref().map_or_else(|| self.ping.deadline(), Drain::deadline)
    }

    /// The transport is gone: after a good-bye that is how it should be.
    fn closed(&mut self, reason: DisconnectReason) -> DisconnectReason {
        if let DisconnectReason::ProtocolViolation(_) = reason {
            self.peer.report(Offence::BrokeProtocol);
        } else if self.drain.is_none() && !matches!(reason, DisconnectReason::Local { .. }) {
            self.peer.core.set_dropped();
        }
        self.drain.take().map_or(reason, |drain| drain.reason)
    }

    fn handle(&mut self, event: Event) -> Option<DisconnectReason> {
        match event {
            Event::Control(Ok(Some(bytes))) => self.control_message(&bytes),
            Event::Control(Ok(None)) => self.violation("it ended the control stream"),
            Event::Control(Err(p2p_net::Error::Closed(reason)))
            | Event::Stream(Err(p2p_net::Error::Closed(reason))) => Some(self.closed(disconnect_reason(reason))),
            Event::Control(Err(error)) => self.violation(&format!("control stream: {error}")),
            Event::Stream(Err(error)) => Some(DisconnectReason::Lost(error.to_string())),
            Event::Stream(Ok(stream)) => {
                let (peer, timeout) = (&self.peer, self.config.handshake_timeout);
                let budget = peer.pool.upgrade().map(|pool| pool.budget.clone())?;
                self.headers.push(Box::pin(read_header(stream, peer.core.runtime.clone(), timeout, budget)));
                None
            }
            Event::Header(Some(headed)) => self.stream_arrived(headed),
            Event::Header(None) => self.idle_stream(),
            Event::Requests => self.requests(),
            Event::Ended(protocol) => {
                if !self.drain.as_ref().is_some_and(Drain::has_begun) {
                    self.say(&ControlMessage::Ended(protocol));
                }
                None
            }
            Event::Timer => self.timer(),
            Event::Other => None,
        }
    }

    fn violation(&self, what: &str) -> Option<DisconnectReason> {
        self.peer.report(Offence::BrokeProtocol);
        Some(DisconnectReason::ProtocolViolation(what.into()))
    }

    /// Sends a control message if the stream takes any; one that does not is found out by ping.
    fn say(&self, message: &ControlMessage) {
        match message.to_bytes() {
            Ok(bytes) => drop(self.peer.control.try_send(bytes)),
            Err(error) => tracing::error!(%error, ?message, "a control message has no encoding"),
        }
    }

    fn control_message(&mut self, bytes: &[u8]) -> Option<DisconnectReason> {
        let now = self.now();
        let message = match self.control.receive(now, bytes) {
            Ok(message) => message?,
            Err(Violation(what)) => return self.violation(&what),
        };
        let mut useless = None;
        match message {
            ControlMessage::Ping(number) => {
                self.peer.core.last_used(now);
                self.ping.pinged(now);
                self.say(&ControlMessage::Pong(number));
            }
            ControlMessage::Pong(number) if self.ping.pong(now, number) => {
                self.peer.core.probed();
                self.ping.rtt().into_iter().for_each(|rtt| self.peer.core.set_rtt(rtt));
            }
            ControlMessage::Pong(_) => useless = Some("too many pongs that nobody asked for"),
            ControlMessage::Goodbye { code, reason } => {
                if self.start_drain(DisconnectReason::from_close(code, &reason)).said_there() {
                    self.finish_messages();
                } else {
                    useless = Some(CHANGE_NOTHING);
                }
            }
            ControlMessage::GoodbyeAck => match self.drain.as_mut().and_then(Drain::acked_there) {
                Some(true) => {}
                Some(false) => useless = Some(CHANGE_NOTHING),
                None => return self.violation("it acknowledged a good-bye that nobody said"),
            },
            // It was chosen here already: there was no other.
            ControlMessage::Stay => useless = Some(CHANGE_NOTHING),
            ControlMessage::Ended(protocol) => match self.peer.links.get(&protocol) {
                Some(link) if link.end_there() => {}
                Some(_) => useless = Some(CHANGE_NOTHING),
                None => return self.violation("it ended a protocol that was not negotiated"),
            },
        }
        match useless.map(|what| self.control.useless(now, what)) {
            Some(Err(Violation(what))) => self.violation(&what),
            _ => None,
        }
    }

    fn stream_arrived(&mut self, Headed { header, stream }: Headed) -> Option<DisconnectReason> {
        let offence = match self.peer.links.get(&header.protocol) {
            Some(link) if header.kind == StreamKind::Raw => {
                // The remote may have opened it before it learned of a good-bye, or ended the protocol.
                if link.has_ended_here() {
                    stream.reset(stream_code::UNKNOWN_PROTOCOL);
                    return self.idle_stream();
                }
                let refused = link.offer_stream(stream)?;
                refused.reset(stream_code::BUSY);
                return self.idle_stream();
            }
            Some(_) => stream_code::DUPLICATE,
            None => stream_code::UNKNOWN_PROTOCOL,
        };
        stream.reset(offence);
        self.peer.report(Offence::StrayStream);
        None
    }

    /// A stream of the remote came to nothing.
    fn idle_stream(&mut self) -> Option<DisconnectReason> {
        let Err(Violation(what)) = self.control.idle_stream(self.now()) else { return None };
        self.violation(&what)
    }

    fn requests(&mut self) -> Option<DisconnectReason> {
        let requests = self.peer.core.take_requests();
        for (protocol, outcome) in requests.ended {
            self.protocol_ended(&protocol, &outcome);
        }
        if requests.probe {
            self.ping.probe(self.now());
        }
        match requests.leave {
            Some(Leave::Now(reason)) => {
                if let DisconnectReason::ProtocolViolation(_) = reason {
                    self.peer.report(Offence::BrokeProtocol);
                }
                Some(reason)
            }
            Some(Leave::Orderly(reason)) => {
                self.leave(reason);
                None
            }
            None => None,
        }
    }

    fn protocol_ended(&mut self, protocol: &ProtocolId, outcome: &Outcome) {
        let Some(link) = self.peer.links.get(protocol).cloned() else { return };
        let consequence = self.peer.consequence(protocol, outcome);
        if !link.end_here() {
            return;
        }
        if !self.drain.as_ref().is_some_and(Drain::has_begun) {
            self.end_protocol(protocol.clone());
            self.discards.push(Box::pin(async move { link.drain().await }));
        }
        if let Some(reason) = consequence {
            self.leave(reason);
        }
    }

    /// Says that a protocol has ended here: the remote then takes no further streams for it. So those that were finished go
    /// first.
    fn end_protocol(&mut self, protocol: ProtocolId) {
        let peer = self.peer.clone();
        let longest = MOST_BEFORE_ENDED.min(self.config.drain_timeout / 2);
        let delivered = async move {
            let _ = peer.core.runtime.timeout(longest, peer.connection.delivered()).await;
            protocol
        };
        let mut delivered: Pin<Box<dyn Future<Output = ProtocolId> + Send>> = Box::pin(delivered);
        match (&mut delivered).now_or_never() {
            Some(protocol) => self.say(&ControlMessage::Ended(protocol)),
            None => self.endings.push(delivered),
        }
    }

    /// Leaves in good order, once the remote has read what was finished before.
    fn leave(&mut self, reason: DisconnectReason) {
        self.start_drain(reason.clone()).wants_to_leave(reason);
    }

    /// Whoever leaves: no stream is opened from here on.
    fn start_drain(&mut self, reason: DisconnectReason) -> &mut Drain {
        let (now, longest) = (self.now(), self.config.drain_timeout);
        let peer = &self.peer;
        self.drain.get_or_insert_with(|| {
            if let Some(pool) = peer.pool.upgrade() {
                pool.peer_leaving(peer);
            }
            peer.core.set_leaving(reason.clone());
            Drain::new(reason, now, longest)
        })
    }

    /// Somebody says good-bye: no message is sent from here on, and what comes is read to the end.
    fn finish_messages(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        let links = &self.peer.links;
        drain.begin(|| {
            links.values().for_each(|link| link.finish());
            let links: Vec<_> = links.values().cloned().collect();
            Box::pin(async move { drop(join_all(links.iter().map(|link| link.drain())).await) })
        });
    }

    fn drain_step(&mut self) -> Option<DisconnectReason> {
        let now = self.now();
        loop {
            let drain = self.drain.as_mut()?;
            // What the remote sent may have been read already: the acknowledgement then goes out with the ends of streams.
            let _ = drain.poll_read(&mut Context::from_waker(Waker::noop()));
            let delivered = self.peer.connection.delivered().now_or_never().is_some();
            match drain.next(now, delivered) {
                Next::Wait => return None,
                Next::Leave(reason) => {
                    self.finish_messages();
                    self.say(&ControlMessage::Goodbye { code: reason.close_code(), reason: reason.close_reason() });
                }
                Next::Acknowledge => self.say(&ControlMessage::GoodbyeAck),
                Next::Close => return Some(drain.reason.clone()),
            }
        }
    }

    fn timer(&mut self) -> Option<DisconnectReason> {
        self.peer.core.last_used(self.now());
        if self.drain.is_some() {
            return None;
        }
        if self.ping.is_unanswered() {
            self.peer.connection.probe_liveness();
        }
        let runtime = self.peer.core.runtime.clone();
        let connection = &self.peer.connection;
        match self.ping.poll(self.now(), connection.liveness(), connection.heard(), || runtime.random_u64())? {
            Due::Send(number) => {
                self.say(&ControlMessage::Ping(number));
                None
            }
            Due::TimedOut => Some(DisconnectReason::PingTimeout),
            Due::Stalled => Some(DisconnectReason::Stalled),
        }
    }
}
