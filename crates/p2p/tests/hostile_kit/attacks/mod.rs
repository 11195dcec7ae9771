//! The attacks, a file for each kind.

pub(crate) mod claims;
pub(crate) mod control;
pub(crate) mod ends;
pub(crate) mod forge;
pub(crate) mod identity;
pub(crate) mod lookups;
pub(crate) mod reconnect;
pub(crate) mod silence;
pub(crate) mod streams;
pub(crate) mod vanish;
