//! Real nodes on the loopback, with real sockets.

mod common;
mod network;
mod values;
