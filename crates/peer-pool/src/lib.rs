//! Placeholder.
#![forbid(unsafe_code)]

mod ids;
pub mod registry;

pub use ids::{ConnectionId, Direction};
