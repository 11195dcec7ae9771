//! A contact without a signature.

use std::net::IpAddr;

// Of whoever includes this: tests inside the crate and outside of it name it differently.
use super::{Contact, Key};

/// A position, an address, and the sequence number of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    pub(crate) key: Key,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) seq: u64,
}

impl Contact for Node {
    fn key(&self) -> Key {
        self.key
    }

    fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    fn seq(&self) -> u64 {
        self.seq
    }
}
