//! Which addresses are believed, from whom, and which one this node is reached at.
//!
//! A record says where its peer is, and a stranger can write anything into it: addresses inside our own network, so that we
//! knock at doors there, or addresses that mean another host wherever they are read. So an address that is not public
//! is believed only from inside the network it belongs to ([`is_believed`]). What this node says of itself is what it listens on,
//! the address that others see it at ([`ObservedAddresses`]), or one at which it was seen and then reached
//! ([`ReachedAddresses`]): see [`advertised`].

mod belief;
mod observed;
mod reached;
mod scope;

pub use belief::{advertised, believed, is_believed, is_of_use};
pub use observed::{ObservedAddresses, ObservedConfig};
pub use reached::{MAX_REACHED, ReachedAddresses, is_seen_from};
pub use scope::Scope;
