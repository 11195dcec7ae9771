//! Whole nodes on the loopback: in the simulator, and with real sockets where these are what it is about.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod discovery;
mod flood;
mod hostile;
mod network;
mod restart;
mod udp;
mod values;
