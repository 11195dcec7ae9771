//! Connections over in-memory pipes: who is woken, what is told and what is given back, at each end and each bound.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and runs on tokio itself")]

mod common;

mod bounds;
mod ends;
mod queues;
mod streams;
