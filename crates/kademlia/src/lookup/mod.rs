//! Lookups: finding the nodes closest to a key by asking ever closer ones.
//!
//! [`Lookup`] decides one iterative query: whom to ask next, what an answer changes, when it is over. [`RegionLookup`]
//! puts several together to find every node near a key, whoever crowds around it. Neither sends anything or looks at a
//! clock: whoever drives them asks the contacts that `next` names and reports what came of it.
//!
//! Source: Maymounkov & Mazières 2002 (the iterative query), Baumgart & Mies 2007 (disjoint paths).

mod candidates;
mod config;
mod iterative;
mod region;
mod rtt;

#[cfg(test)]
mod tests;

pub use config::LookupConfig;
pub use iterative::{Lookup, LookupStats};
pub use region::RegionLookup;
pub use rtt::RttEstimator;
