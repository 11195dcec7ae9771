#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod monitor;
mod node;

pub use config::Config;
pub use monitor::{Monitor, MonitorEvent};
pub use node::{Node, NodeBuilder};

pub use async_trait::async_trait;
pub use bytes::Bytes;
#[cfg(feature = "smol")]
pub use p2p_core::SmolRuntime;
#[cfg(feature = "tokio")]
pub use p2p_core::TokioRuntime;
pub use p2p_core::{
    Backoff, Elapsed, EventListener, Interval, PeerId, RecvError, Runtime, Sleep, TaskGroup, TaskHandle, runtime,
};
pub use p2p_discovery::{DiscoveryEvent, DiscoveryEventKind};
pub use p2p_identity::{
    Bloom, DisconnectReason, Error, HandshakeError, Origin, Party, RejectReason, Result, close_code,
};
pub use p2p_net::{CloseReason, DialError, Error as NetError, RecvStream, SendStream};
pub use p2p_peer_pool::{
    Broadcast, ConnectionEvent, ConnectionEventKind, ConnectionId, Direction, Limits, Offence, Peer, PeerConn,
    PeerEvent, PeerInfo, PeerPool, PeerPoolEvent, PeerPoolEventKind, PoolConfig, Stream,
};

/// Keys and names.
pub mod keypair {
    pub use p2p_identity::{InvalidPeerId, KeyError, KeyPair, KeyPairType, PeerId, PublicKey};
}

/// Where nodes are.
pub mod endpoint {
    pub use p2p_identity::PeerRecord;
    pub use p2p_net::endpoint::ParseEndpointError;
    pub use p2p_net::{Addr, Endpoint, PeerAddr, Transport};
}

/// What nodes speak.
pub mod protocol {
    pub use p2p_identity::{InvalidProtocolId, InvalidVersion, ProtocolId, ProtocolKind, Version};
    pub use p2p_peer_pool::{Broadcast, Constructor, IntoProtocol, Offence, PeerConn, Protocol, ProtocolInfo};
}

/// How nodes find each other.
pub mod discovery {
    pub use p2p_discovery::{
        DiscoveredPeer, Discovery, DiscoveryContext, DiscoveryEvent, DiscoveryEventKind, PeerConnectionEvent,
        StaticDiscovery,
    };
}

/// The DHT, which is the default discovery.
pub mod kademlia {
    pub use p2p_kademlia::{
        ClientReason, Dht, DhtBuilder, DhtError, Estimate, Joined, KademliaConfig, KademliaDiscovery, KademliaEvent,
        KademliaLimits, Key, Mode, MutableValue, Providers, Providing, Put,
    };
}

/// Who may connect.
pub mod access_control {
    pub use p2p_identity::access::{
        AccessControl, Action, AllowAll, AllowList, Candidate, ChangeNotifier, Changes, DenyList, Direction, PeerOrIp,
        Subject,
    };
}

/// Values as bytes.
pub mod util {
    pub use p2p_identity::{decode, encode};
}

/// For tests of protocols, in memory.
#[cfg(feature = "testing")]
pub mod testing {
    pub use p2p_peer_pool::testing::pair;
}

/// The layers below, whole.
pub mod layers {
    pub use p2p_core as core;
    pub use p2p_discovery as discovery;
    pub use p2p_identity as identity;
    pub use p2p_kademlia as kademlia;
    pub use p2p_net as net;
    pub use p2p_peer_pool as peer_pool;
}

/// What the fuzz targets need of the inside. No part of the API.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::node::rewrite_remembered;
}

/// The programs in the repository's README and book, compiled.
#[cfg(all(doctest, feature = "tokio", feature = "quic"))]
mod book {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/src/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../../../docs/src/writing-a-protocol.md")]
    mod writing_a_protocol {}
    #[doc = include_str!("../../../docs/src/writing-a-discovery.md")]
    mod writing_a_discovery {}
    #[doc = include_str!("../../../docs/src/core.md")]
    mod core {}
    #[doc = include_str!("../../../docs/src/net.md")]
    mod net {}
    #[doc = include_str!("../../../docs/src/identity.md")]
    mod identity {}
}
