//! Real nodes on the loopback, with real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod discovery;
mod hostile;
mod network;
mod restart;
mod udp;
mod values;
