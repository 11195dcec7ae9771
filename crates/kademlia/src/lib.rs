//! A Kademlia DHT: positions, routing table, lookups, records, and the services that carry them.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod address;
pub mod config;
pub mod contact;
pub mod dht;
pub mod discovery;
pub mod engine;
pub mod estimate;
pub mod key;
pub mod lookup;
mod lookup_service;
pub mod message;
mod refresh_service;
mod socket_events;
mod state;
pub mod store;
pub mod table;

pub use config::{KademliaConfig, KademliaLimits};
pub use contact::{Contact, SignedContact};
pub use dht::{Dht, DhtBuilder, DhtError, MutableValue, PeerRecords, Providers, Providing, Put};
pub use discovery::KademliaDiscovery;
pub use engine::{ClientReason, Joined, KademliaEvent, Mode};
pub use estimate::{Estimate, SizeEstimator};
pub use key::{Distance, Key};
pub use lookup::{Lookup, LookupConfig, LookupStats, RegionLookup, RttEstimator};
pub use lookup_service::Target;
pub use message::{Request, Response};
pub use store::{InvalidValue, Refused, Source, Store, StoreConfig, Stored, StoredValue};
pub use table::{Insert, Table, TableConfig};

/// What the fuzz targets need of the inside. No part of the API.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::engine::fuzzing::{Dials, Purpose};
    pub use crate::lookup_service::fuzzing::{Connections, RequestLimiter};
    pub use crate::state::fuzzing::{Contacts, read_seq, rewrite_contacts, write_contacts, write_seq};
}
