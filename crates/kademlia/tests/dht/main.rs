//! Real nodes on the loopback, with real sockets.

mod common;
mod discovery;
mod hostile;
mod network;
mod restart;
mod udp;
mod values;
