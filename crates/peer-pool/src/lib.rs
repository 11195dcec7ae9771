//! Peers, and the protocols spoken with them, over authenticated connections: [`PeerPool`], [`Protocol`], [`PeerConn`].
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod attached;
mod beside;
mod broadcast;
#[cfg(test)]
mod clock;
pub mod config;
mod conn;
mod connector;
mod contest;
pub mod control;
mod early;
mod establish;
pub mod events;
mod handle;
pub mod header;
mod ids;
mod kept;
mod lane;
mod lines;
mod link;
mod listener;
mod peer;
pub mod ping;
mod pool;
pub mod protocol;
mod redial;
pub mod registry;
pub mod reputation;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod turns;

pub use broadcast::Broadcast;
pub use config::{Limits, PoolConfig};
pub use conn::PeerConn;
pub use events::{ConnectionEvent, ConnectionEventKind, PeerEvent, PeerInfo, PeerPoolEvent, PeerPoolEventKind};
pub use handle::Peer;
pub use ids::ConnectionId;
pub use p2p_identity::Direction;
pub use pool::{LostPeer, PeerPool};
pub use protocol::{Constructor, IntoProtocol, Protocol, ProtocolInfo};
pub use reputation::Offence;
pub use stream::Stream;

/// What the fuzz targets need of the inside. No part of the API.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::registry::model::World as RegistryPair;
    pub use crate::registry::sequence::{Op as RegistryOp, Sequence as RegistrySequence};
    pub use crate::turns::fuzzing::{Turn, Turns};
}
