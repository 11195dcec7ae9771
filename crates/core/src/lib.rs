//! What every layer of `p2p` stands on: a [`Runtime`] as a value, tasks with owners, time, back-off, rate limits,
//! a typed event bus, a byte budget, and the one name all layers share, [`PeerId`].
//!
//! Nothing here knows a protocol or a key. Code above this crate takes the time, timers, entropy, sockets, host
//! names and files from a [`Runtime`] and from nowhere else, so the same code runs on tokio, on smol and in a
//! deterministic simulator, side by side in one process.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod backoff;
pub mod budget;
pub mod change;
pub mod error;
pub mod event;
pub mod file;
pub mod peer_id;
pub mod rate;
pub mod runtime;
pub mod state_file;
pub mod task;

pub use backoff::Backoff;
pub use budget::{ByteBudget, Reservation};
pub use change::{ChangeNotifier, Changes};
pub use error::{Error, Result};
pub use event::{EventBus, EventListener, RecvError};
pub use file::{FileSystem, HostFiles};
pub use peer_id::{InvalidPeerId, PeerId};
pub use rate::TokenBucket;
#[cfg(feature = "smol")]
pub use runtime::SmolRuntime;
#[cfg(feature = "tokio")]
pub use runtime::TokioRuntime;
pub use runtime::{Elapsed, Interval, Runtime, Sleep, Timeout};
pub use state_file::StateFile;
pub use task::{TaskGroup, TaskHandle};
