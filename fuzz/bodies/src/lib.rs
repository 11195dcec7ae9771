//! What each fuzz target does with its input. `fuzz/` runs these bodies under libFuzzer; the tests of this crate run
//! them on stable Rust with the kept inputs and some made from them, so that they are part of every test run.
//!
//! A body is deterministic, takes any bytes, and panics where a promise is not kept.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "the documentation of a module says what its `run` checks and its `seeds` are about")]

use p2p_kademlia::{Contact, Key};

#[path = "../../../crates/kademlia/tests/support/contact.rs"]
mod contact;
mod input;

pub mod backoff;
pub mod ban_list;
pub mod byte_budget;
pub mod certificate;
pub mod close_reason;
pub mod codec;
pub mod control;
pub mod dht_connections;
pub mod dht_datagram;
pub mod dht_dials;
pub mod dht_lookup;
pub mod dht_message;
pub mod dht_rate;
pub mod dht_state;
pub mod dht_store;
pub mod dht_table;
pub mod endpoint;
pub mod event_bus;
pub mod handshake;
pub mod handshake_limiter;
pub mod handshake_message;
pub mod messages;
pub mod mux_hostile;
pub mod mux_pair;
pub mod observed_address;
pub mod peer_id;
pub mod pem;
pub mod ping;
pub mod prefix_counter;
pub mod protocol_id;
pub mod record;
pub mod registry;
pub mod registry_pair;
pub mod remembered;
pub mod reputation;
pub mod stream_header;
pub mod targets;
pub mod token_bucket;
pub mod turns;
pub mod version;

pub use targets::{TARGETS, Target};
