//! Connections with streams over tcp, tls and quic.
#![forbid(unsafe_code)]

pub mod endpoint;

pub use endpoint::{Addr, Endpoint, PeerAddr, Transport};
