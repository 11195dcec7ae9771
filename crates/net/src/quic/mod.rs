//! QUIC (RFC 9000) through `quinn`, on the sockets, timers, tasks and entropy of our own runtime.

mod allowance;
mod congestion;
mod connection;
mod credit;
mod dialed;
mod endpoint;
mod ends;
mod receipts;
mod registry;
mod runtime;
mod send_window;
mod setup;
mod socket;
mod stream;
mod unanswered;
mod window;

pub(crate) use connection::QuicConnection;
pub(crate) use endpoint::{QuicEndpoint, QuicIncoming};
pub(crate) use registry::QuicRegistry;
pub(crate) use setup::{Setup, server_crypto};
pub(crate) use stream::{QuicRecv, QuicSend};
