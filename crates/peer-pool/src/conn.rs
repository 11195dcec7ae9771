//! [`PeerConn`]: a protocol's connection to its peer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_core::{PeerId, Runtime, TaskHandle};
use p2p_identity::{DisconnectReason, Error, ProtocolId, Result, Version, decode, encode};
use p2p_net::Endpoint;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::header::{Header, StreamKind};
use crate::link::Link;
use crate::peer::{Leave, Peer};
use crate::{Broadcast, ConnectionId, Direction, Offence, Stream};

/// A protocol's connection to one peer. Clones are handles to the same; none of them keeps the peer connected, or
/// the pool alive.
///
/// Messages arrive whole, once and in order, or the connection ends. Each protocol has queues and flow control of its
/// own: one that does not read delays only itself.
///
/// # How it ends
/// [`recv`](Self::recv) and the others say so by their error. `recv` does when all that came before has been read; `send`
/// does at once, when there may still be something to read.
///
/// - [`Error::PeerShutdown`]: one of the sides said good-bye. Nothing that it sent is missing.
/// - [`Error::ProtocolEnded`]: the protocol has ended on one side; the peer stays connected.
/// - [`Error::Disconnected`]: the connection broke or was closed at once; the reason is in it.
#[derive(Clone, Debug)]
pub struct PeerConn {
    link: Arc<Link>,
    #[cfg(feature = "testing")]
    keep: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

impl PeerConn {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            #[cfg(feature = "testing")]
            keep: None,
        }
    }

    /// A handle that keeps something else alive, for peers without an application around them.
    #[cfg(feature = "testing")]
    pub(crate) fn keeping(mut self, keep: Arc<dyn std::any::Any + Send + Sync>) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Queues a message, waiting for room. When it returns, the message is in the bounded queue, in order; see
    /// [`flush`](Self::flush) for more. Cancel-safe: a dropped call has queued nothing.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`], after which all goes on; the [end](Self#how-it-ends).
    #[inline]
    pub async fn send(&self, message: impl Into<Bytes>) -> Result<()> {
        self.link.core.set_used();
        self.link.send(message.into()).await
    }

    /// Queues a message if there is room now.
    ///
    /// # Errors
    /// [`Error::Busy`] when there is none; else as [`send`](Self::send).
    #[inline]
    pub fn try_send(&self, message: impl Into<Bytes>) -> Result<()> {
        self.link.core.set_used();
        self.link.try_send(message.into())
    }

    /// Waits until everything queued has been handed to the transport. Cancel-safe.
    ///
    /// # Errors
    /// The [end](Self#how-it-ends).
    pub async fn flush(&self) -> Result<()> {
        self.link.flush().await
    }

    /// The next message. With several receivers each message goes to one of them. Cancel-safe: a message is returned
    /// or stays.
    ///
    /// # Errors
    /// The [end](Self#how-it-ends), after the last message.
    #[inline]
    pub async fn recv(&self) -> Result<Bytes> {
        self.link.recv().await
    }

    /// Encodes a value and sends it; cancel-safe as [`send`](Self::send).
    ///
    /// # Errors
    /// [`Error::Encode`], and those of [`send`](Self::send).
    pub async fn send_msg<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send(encode(value)?).await
    }

    /// Receives a message and decodes it; cancel-safe.
    ///
    /// # Errors
    /// [`Error::Decode`], after which the next message can be received; and those of [`recv`](Self::recv).
    pub async fn recv_msg<T: DeserializeOwned>(&self) -> Result<T> {
        decode(&self.recv().await?)
    }

    /// Gives a message to all peers that speak this protocol. Never waits: who has no room is named and does not get it.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`], [`Error::ShutDown`]. That nobody is there is none.
    pub fn broadcast(&self, message: impl Into<Bytes>) -> Result<Broadcast> {
        self.broadcast_except(message, &[])
    }

    /// As [`broadcast`](Self::broadcast), to all but those named.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_except(&self, message: impl Into<Bytes>, except: &[PeerId]) -> Result<Broadcast> {
        let group = self.link.group.upgrade().ok_or(Error::ShutDown)?;
        group.broadcast(&message.into(), |peer| !except.contains(peer))
    }

    /// Opens a stream of bytes on this protocol; the remote gets it from [`accept_stream`](Self::accept_stream). Waits until
    /// the remote has accepted the connection, unlike messages, which may go before. Dropping the future gives the stream up.
    ///
    /// # Errors
    /// [`Error::Net`] when the remote refuses more streams; the [end](Self#how-it-ends).
    pub async fn open_stream(&self) -> Result<Stream> {
        let ended = || self.link.core.end_error(true).unwrap_or(Error::ProtocolEnded);
        self.link.core.confirmed().await;
        let peer = self.peer()?;
        if self.link.has_ended() || self.link.core.is_over() {
            return Err(ended());
        }
        let header = Header { protocol: self.link.protocol.clone(), kind: StreamKind::Raw }.to_framed()?;
        let open = async {
            let (recv, mut send) = peer.connection().open_stream().await?.into_split();
            send.write_all_bytes(header).await?;
            Ok(p2p_net::Stream::from_split(recv, send))
        };
        open.await.map(|stream| self.stream(stream)).map_err(|error| match error {
            p2p_net::Error::Closed(_) => ended(),
            error => error.into(),
        })
    }

    /// The next stream of bytes that the remote opened on this protocol. Cancel-safe.
    ///
    /// # Errors
    /// The [end](Self#how-it-ends).
    pub async fn accept_stream(&self) -> Result<Stream> {
        self.link.accept_stream().await.map(|stream| self.stream(stream))
    }

    /// A stream as protocols see it: whoever uses it uses the peer.
    fn stream(&self, mut stream: p2p_net::Stream) -> Stream {
        self.link.core.set_used();
        stream.mark_use(&self.link.core.used_mark());
        self.link.stream(stream)
    }

    /// Who the peer is.
    pub fn peer_id(&self) -> PeerId {
        self.link.core.id
    }

    /// Which protocol this is.
    pub fn protocol_id(&self) -> &ProtocolId {
        &self.link.protocol
    }

    /// Tells this connection to the peer from earlier and later ones.
    pub fn connection_id(&self) -> ConnectionId {
        self.link.core.connection_id
    }

    /// What was dialed, or where the peer dialed from.
    pub fn remote_endpoint(&self) -> &Endpoint {
        &self.link.core.endpoint
    }

    /// Who dialed.
    pub fn direction(&self) -> Direction {
        self.link.core.direction
    }

    /// The smoothed round-trip time, once measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.link.core.rtt()
    }

    /// The remote's version of this protocol.
    pub fn remote_version(&self) -> &Version {
        &self.link.remote_version
    }

    /// Waits until the peer is disconnected. Cancel-safe.
    pub async fn closed(&self) -> DisconnectReason {
        self.link.core.closed().await
    }

    /// Says good-bye to the peer, delivers what was sent, and disconnects. `code` is the application's, below
    /// `close_code::RESERVED`; of `reason` 256 bytes go out. Waits until it is done, at most the pool's
    /// `drain_timeout`; it goes on when the future is dropped. Idempotent.
    pub async fn disconnect(&self, code: u32, reason: &str) {
        self.link.core.leave(Leave::Orderly(DisconnectReason::Local { code, reason: reason.into() }));
        self.link.core.closed().await;
    }

    /// Reports that the peer did something it should not have done. Offences add up to a ban for some time.
    pub fn report(&self, offence: Offence) {
        if let Some(peer) = self.link.peer.upgrade() {
            peer.report(offence);
        }
    }

    /// Runs a task that ends with the peer, at the latest. Its output is dropped.
    pub fn spawn<F>(&self, future: F) -> TaskHandle
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let task = async move { drop(future.await) };
        match self.link.peer.upgrade() {
            Some(peer) => peer.tasks().spawn("peer task", task),
            // A group that is closed drops the task, as it would have with the peer.
            None => p2p_core::TaskGroup::new(self.link.core.runtime.clone()).spawn("peer task", async {}),
        }
    }

    /// Where everything runs: for sleeping, time-outs and intervals.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.link.core.runtime
    }

    fn peer(&self) -> Result<Arc<Peer>> {
        self.link.peer.upgrade().ok_or_else(|| self.link.core.end_error(true).unwrap_or(Error::ProtocolEnded))
    }
}
