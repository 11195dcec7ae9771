//! Lookups from the outside, in networks of a few hundred nodes.

mod honest;
mod hostile;
mod network;
mod order;
mod region;
mod time;
