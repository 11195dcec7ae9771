//! A contact that is what an input says, without a signature.

use std::net::IpAddr;

use p2p_kademlia::{Contact, Key};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
