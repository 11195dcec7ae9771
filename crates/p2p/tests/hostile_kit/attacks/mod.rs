//! The attacks, a file for each kind.

pub(crate) mod claims;
pub(crate) mod contacts;
pub(crate) mod control;
#[allow(dead_code, reason = "the tests of the DHT use the rest")]
#[path = "../../../../kademlia/tests/dht/hostile/attacker.rs"]
mod dht;
pub(crate) mod ends;
pub(crate) mod forge;
pub(crate) mod identity;
pub(crate) mod lookups;
pub(crate) mod reconnect;
pub(crate) mod silence;
pub(crate) mod streams;
pub(crate) mod vanish;
