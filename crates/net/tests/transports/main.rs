//! Connections over real sockets: every scenario runs over each transport it applies to, on tokio and on smol.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

mod accepting;
mod backpressure;
mod close;
mod dial_failures;
mod drop_handles;
mod echo;
#[cfg(feature = "quic")]
mod faults;
mod finish;
mod half_open;
mod listening;
mod messages;
mod names;
mod quic_socket;
#[cfg(feature = "quic")]
mod rates;
mod shutdown;
mod silent_clients;
mod stream_end;
mod stream_limit;
mod unsupported;
