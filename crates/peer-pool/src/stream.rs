//! [`Stream`]: bytes and messages on a protocol, beside its own messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use p2p_core::ByteBudget;
use p2p_identity::{Error, Result, decode, encode};
use p2p_net::{RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream to a peer, in both directions: tokio's `AsyncRead` and `AsyncWrite`, with its own flow control, and typed messages
/// in between. Shutting the write half down queues the end in that direction and waits for nothing;
/// [`finish`](Self::finish) waits until the remote has read to the end. Dropping it unfinished resets it with code 0.
///
/// A message is as on the protocol itself: at most [`Limits::message`](crate::Limits::message) bytes, in postcard, read
/// strictly, with its length before it. Messages and bytes may follow each other in any order that both sides know.
///
/// ```
/// use p2p_identity::Error;
/// use p2p_peer_pool::PeerConn;
/// use tokio::io::AsyncReadExt;
///
/// /// Asks for a file by its name; the peer says how long it is, and then what is in it.
/// async fn fetch(conn: &PeerConn, name: &str, max_len: u64) -> Result<Vec<u8>, Error> {
///     let mut stream = conn.open_stream().await?;
///     stream.send_msg(name).await?;
///     let len: u64 = stream.recv_msg().await?;
///     if len > max_len {
///         return Err(Error::app("the file is too long"));
///     }
///     let mut content = Vec::new();
///     stream.take(len).read_to_end(&mut content).await?;
///     Ok(content)
/// }
/// ```
#[derive(Debug)]
pub struct Stream {
    inner: p2p_net::Stream,
    max_message: usize,
    budget: ByteBudget,
}

impl Stream {
    pub(crate) fn new(inner: p2p_net::Stream, max_message: usize, budget: ByteBudget) -> Self {
        Self { inner, max_message, budget }
    }

    /// Writes a value as a message. Waits for the remote's credit; the message is on its way when it returns. A dropped call
    /// may have begun the message: the rest of it then goes ahead of what is written next, and of the end, so that it arrives
    /// whole or, if the stream is given up, not at all.
    ///
    /// # Errors
    /// [`Error::Encode`] and [`Error::MessageTooLarge`], after which the stream is as before; [`Error::Net`] with why the
    /// stream takes no more.
    pub async fn send_msg<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let message = encode(value)?;
        if message.len() > self.max_message {
            return Err(Error::MessageTooLarge { len: message.len(), max: self.max_message });
        }
        Ok(self.inner.send_message(message).await?)
    }

    /// The value of the next message. Cancel-safe: a message is given whole or stays, for the next call or for whoever reads
    /// bytes.
    ///
    /// # Errors
    /// [`Error::StreamEnded`] when the remote has finished the stream; [`Error::Decode`] when the message is no such value,
    /// after which the next one can be received; [`Error::MessageTooLarge`] when the remote claims more than
    /// [`Limits::message`](crate::Limits::message), and [`Error::Net`] when it breaks off in the middle, after which none can;
    /// [`Error::Net`] with why the stream has ended otherwise.
    pub async fn recv_msg<T: DeserializeOwned>(&mut self) -> Result<T> {
        match self.inner.recv_message(self.max_message, &self.budget).await {
            Ok(Some(message)) => decode(&message),
            Ok(None) => Err(Error::StreamEnded),
            Err(p2p_net::Error::MessageTooLarge { len, max }) => {
                Err(Error::MessageTooLarge { len: usize::try_from(len).unwrap_or(usize::MAX), max })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the sending direction and waits until the remote has read to the end: see [`SendStream::finish`].
    ///
    /// # Errors
    /// As [`SendStream::finish`].
    pub async fn finish(&mut self) -> p2p_net::Result<()> {
        self.inner.finish().await
    }

    /// Gives the stream up in both directions; the remote sees `code`.
    pub fn reset(self, code: u32) {
        self.inner.reset(code);
    }

    /// The half that receives and the half that sends. They know of messages as bytes only.
    pub fn into_split(self) -> (RecvStream, SendStream) {
        self.inner.into_split()
    }

    /// The stream as the transport has it.
    pub fn into_inner(self) -> p2p_net::Stream {
        self.inner
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
