//! Placeholder.
#![forbid(unsafe_code)]

pub mod control;
pub mod header;
mod ids;
pub mod ping;
pub mod registry;
pub mod reputation;

pub use ids::{ConnectionId, Direction};
