//! Long lines on one machine, for the benchmarks: a network namespace whose packets a thread of this process delays, queues and
//! loses. Root and Linux are needed.
//!
//! The kernel hands each packet over through NFQUEUE and keeps it meanwhile; only its first bytes come here, and only the verdict
//! goes back. What decides ([`Link`](link::Link)) takes the time as an argument.
#![forbid(unsafe_code)]

mod emulator;
mod line;
mod link;
mod namespace;
mod packet;
mod queue;
mod selftest;

pub use self::emulator::{Carried, Stats};
pub use self::line::Line;
pub use self::namespace::{Moving, Namespace, lacking};
pub use self::selftest::{Check, selftest};

/// Errors say what was tried and what the system answered.
pub type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
