//! Messages on streams: a length and that many bytes, on any transport.
//!
//! The length is a QUIC variable-length integer (RFC 9000 §16) in its shortest form. [`MessageSender`] queues,
//! coalesces and bounds what is sent; [`MessageReceiver`] slices messages out of the chunks that the transport
//! delivered, without a copy where a message lies in one chunk.

mod assembler;
mod cork;
mod flusher;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod length;
mod limits;
mod queue;
mod receiver;
mod sender;
mod turn;

pub(crate) use assembler::Assembler;
pub use cork::{Cork, Waiting};
#[cfg(feature = "quic")]
pub(crate) use flusher::{Driving, drive};
pub(crate) use flusher::{Flush, Flushed, Flusher};
#[cfg(feature = "quic")]
pub(crate) use length::decode as decode_length;
pub(crate) use length::{MAX_LEN as MAX_LENGTH_BYTES, encode as encode_length};
pub use limits::SendLimits;
pub use queue::SharedMessage;
pub use receiver::MessageReceiver;
pub use sender::{MessageSender, TrySendError};
