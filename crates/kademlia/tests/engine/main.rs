//! Whole networks of engines, in virtual time and without a socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod churn;
mod dials;
mod events;
mod join;
mod near;
mod net;
mod reach;
mod rules;
mod stored;
