//! Whole nodes through the facade, over real sockets on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking and run on the machine itself"
)]

mod common;
#[path = "../shared/components.rs"]
mod components;
mod dht;

mod access;
mod dialing;
mod drops;
mod events;
mod face;
mod goodbye;
mod head_of_line;
mod lifecycle;
mod limits;
mod listed;
mod listeners;
mod machines;
mod mutual_dials;
mod panics;
mod places;
mod refusals;
mod restart;
mod runtimes;
mod shutdown;
mod stalled;
