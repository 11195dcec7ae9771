//! One end of a flow of messages, whatever stack it belongs to.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use crate::framed::{Codec, Stream};

/// Sends and receives messages. What ends the connection ends the channel.
pub trait Channel: Send + 'static {
    /// Sends a message that may wait for others to be sent together; false when the connection has ended.
    fn feed(&mut self, message: Bytes) -> impl Future<Output = bool> + Send;

    /// Sends a message now; false when the connection has ended.
    fn send(&mut self, message: Bytes) -> impl Future<Output = bool> + Send;

    /// The next message, or `None` when the connection has ended.
    fn recv(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

impl<S: Stream> Channel for Codec<S> {
    async fn feed(&mut self, message: Bytes) -> bool {
        SinkExt::feed(self, message).await.is_ok()
    }

    async fn send(&mut self, message: Bytes) -> bool {
        SinkExt::send(self, message).await.is_ok()
    }

    async fn recv(&mut self) -> Option<Bytes> {
        Some(self.next().await?.ok()?.freeze())
    }
}
