//! Connections with streams over tcp, tls and quic, one multiplexer, and messages on streams.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod code;
pub mod config;
mod connection;
pub mod endpoint;
pub mod error;
mod listening;
pub mod message;
pub mod mux;
#[cfg(feature = "quic")]
mod quic;
mod receipt;
mod shaper;
mod shortest;
mod stream;
mod transport;

pub use code::{RESERVED_CODES, stream_code};
pub use config::{AcceptTls, EarlyStreams, NetConfig, ResetSecret, TlsConfigs};
pub use connection::Connection;
pub use endpoint::{Addr, Endpoint, PeerAddr, Transport};
pub use error::{CloseReason, DialError, Error, Result};
pub use listening::Listening;
pub use message::{Cork, MessageReceiver, MessageSender, SendLimits, SharedMessage, TrySendError, Waiting};
pub use stream::{RecvStream, SendStream, Stream};
pub use transport::{Incoming, Listener, Transports};

/// What the fuzz targets need of the inside. No part of the API.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::message::fuzzing::{Receiving, Sending, decode_length, encode_length};
    pub use crate::mux::model::{Bounds, Lone, MAX_WRITE, Op, World, rewrite_header};
}
