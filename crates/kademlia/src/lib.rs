//! A Kademlia DHT: positions, routing table, lookups, records, and the services that carry them.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod address;
pub mod contact;
pub mod estimate;
pub mod key;
pub mod lookup;
pub mod message;
pub mod store;
pub mod table;

pub use contact::{Contact, SignedContact};
pub use estimate::{Estimate, SizeEstimator};
pub use key::{Distance, Key};
pub use lookup::{Lookup, LookupConfig, LookupStats, RegionLookup, RttEstimator};
pub use message::{Request, Response};
pub use store::{InvalidValue, Refused, Source, Store, StoreConfig, Stored, StoredValue};
pub use table::{Insert, Table, TableConfig};
