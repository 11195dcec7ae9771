//! Hostile peers against real nodes over real sockets, with honest peers beside them.
//!
//! Each file is one kind of attack. The hostile peers are written by hand in `common`, from the book's chapter on the
//! wire format and independent of the crates under test.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may panic, and run on tokio only")]

mod banned;
mod certified;
mod common;
mod credit;
mod early;
mod flood;
mod forge;
mod frames;
mod identity;
mod malformed;
mod orders;
mod protocols;
mod reconnect;
mod silence;
mod vanish;
