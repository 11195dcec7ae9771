//! A deterministic simulator for code that takes the world from a [`Runtime`](p2p_core::Runtime): one thread, virtual
//! time, hosts with disks and clocks, a network with faults, and everything that is random drawn from one seed.
//!
//! [`check`] is where to begin; the book's chapter on the simulator has the rules that make a run repeat itself.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod arena;
mod check;
mod disk;
mod error;
mod executor;
mod fault;
mod files;
mod host;
mod join;
mod link;
mod nat;
mod nat_config;
mod network;
mod plan;
mod random_plan;
mod rng;
mod runtime;
mod settings;
mod shared;
mod sim;
mod sockets;
mod timeline;
mod timer;
mod trace;
mod world;

pub use check::{Checker, SEED_VARIABLE, check};
pub use disk::{Disk, DiskFault};
pub use error::Stuck;
pub use fault::{Fault, SocketFault};
pub use host::{Host, HostConfig, HostId, HostState};
pub use join::{JoinError, JoinHandle};
pub use link::{Latency, Link};
pub use nat::{Nat, NatId};
pub use nat_config::{NatBehavior, NatConfig, NatTranslation};
pub use network::SimNetwork;
pub use plan::Plan;
pub use random_plan::{Bounds, Kinds};
pub use runtime::SimRuntime;
pub use settings::{Settings, StreamSettings};
pub use sim::Sim;
pub use trace::{Difference, Fate, Line, PacketKind, Report, Transport, What};

/// The book's chapter, whose programs are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/simulator.md")]
struct Chapter;
