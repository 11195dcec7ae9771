//! Which addresses are believed, from whom, and which one this node is reached at.
//!
//! A record says where its peer is, and a stranger can write anything into it: addresses inside our own network, so that we
//! knock at doors there, or addresses that mean another host wherever they are read. So an address that is not public
//! is believed only from inside the network it belongs to ([`is_believed`]). What this node says of itself is what it listens on,
//! or the address that others see it at ([`ObservedAddresses`], [`advertised`]).

mod belief;
mod observed;
mod scope;

pub use belief::{advertised, believed, is_believed};
pub use observed::{ObservedAddresses, ObservedConfig};
pub use scope::Scope;
