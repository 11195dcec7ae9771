//! Streams over a connection that has only one: the credit-based multiplexer for tcp and tls.
//!
//! `core` decides (frames, credit, order) and knows no socket; `driver` owns the socket and moves bytes; the handles in
//! `handle` are what the rest of the crate sees. A writer that finds the connection idle writes to the socket itself;
//! otherwise the driver writes what has gathered.
//!
//! Credit has two levels. Each stream may always receive `stream_window` bytes unread. A stream whose reader keeps up, and
//! whose window is small for what is delivered in a round trip, borrows from the connection's shared window, never more
//! than half of what is left of it; one that has become slow gives back. The round-trip time is measured while data flows,
//! by small frames that the remote returns.
//!
//! Until a side has accepted the remote, that may open few streams and send 16 KiB in all.

mod buffers;
mod clock;
mod core;
mod decoder;
mod driver;
mod frame;
mod handle;
mod inbox;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod model;
mod out;
mod pace;
mod rtt;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(test)]
pub(crate) use self::clock::tests::start;
#[cfg(feature = "quic")]
pub(crate) use self::frame::EARLY_BYTES;
pub(crate) use self::handle::{MuxConnection, MuxRecv, MuxSend, TcpSocket};

/// Which side of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that dialed.
    Dialer,
    /// The one that accepted.
    Listener,
}

impl Side {
    fn first_stream(self) -> u32 {
        match self {
            Self::Dialer => 1,
            Self::Listener => 2,
        }
    }

    /// Whether this side is the one that opens streams of this number.
    fn opened(self, stream: u32) -> bool {
        stream % 2 == self.first_stream() % 2
    }
}

/// What the multiplexer runs over: any ordered, reliable byte stream.
pub trait MuxIo: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> MuxIo for T {}
