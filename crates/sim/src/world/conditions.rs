//! The state of the links: their properties, partitions, holds.

use std::collections::{BTreeSet, HashMap};

use super::{Packet, World};
use crate::host::HostId;
use crate::link::Link;
use crate::timeline::Nanos;

/// All links. Those nobody has used or changed cost nothing.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) default: Link,
    pub(crate) loopback: Link,
    directions: HashMap<(HostId, HostId), Direction>,
    /// One-way cuts.
    blocked: BTreeSet<(HostId, HostId)>,
    /// The directions that are held.
    holds: BTreeSet<(HostId, HostId)>,
}

/// One direction of the path between two hosts.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    own: Option<Link>,
    /// When the last byte that waits for bandwidth has left.
    pub(crate) busy_until: Nanos,
    /// When the latest packet arrives; none overtakes it.
    pub(crate) last_arrival: Nanos,
    /// What waits for the link to be released.
    pub(crate) held: Option<Vec<Packet>>,
}

impl Links {
    pub(crate) fn new(default: Link, loopback: Link) -> Self {
        Self { default, loopback, directions: HashMap::new(), blocked: BTreeSet::new(), holds: BTreeSet::new() }
    }

    pub(crate) fn link(&self, from: HostId, to: HostId) -> Link {
        let usual = if from == to { self.loopback } else { self.default };
        self.directions.get(&(from, to)).and_then(|direction| direction.own).unwrap_or(usual)
    }

    pub(crate) fn direction(&mut self, from: HostId, to: HostId) -> &mut Direction {
        self.directions.entry((from, to)).or_default()
    }

    pub(crate) fn set(&mut self, from: HostId, to: HostId, link: Option<Link>) {
        self.direction(from, to).own = link;
    }

    pub(crate) fn block(&mut self, from: HostId, to: HostId) {
        self.blocked.insert((from, to));
    }

    pub(crate) fn unblock(&mut self, from: HostId, to: HostId) {
        self.blocked.remove(&(from, to));
    }

    pub(crate) fn hold(&mut self, from: HostId, to: HostId) {
        self.holds.insert((from, to));
        self.direction(from, to).held.get_or_insert_default();
    }

    /// Ends a hold and gives what it kept, in order.
    pub(crate) fn release(&mut self, from: HostId, to: HostId) -> Vec<Packet> {
        self.holds.remove(&(from, to));
        self.direction(from, to).held.take().unwrap_or_default()
    }

    pub(crate) fn held(&self) -> Vec<(HostId, HostId)> {
        self.holds.iter().copied().collect()
    }
}

impl World {
    /// Whether a partition is between two hosts, in this direction.
    pub(crate) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        from != to
            && (self.hosts[from.index()].group != self.hosts[to.index()].group
                || (!self.links.blocked.is_empty() && self.links.blocked.contains(&(from, to))))
    }

    /// Separates the groups from each other; hosts in none of them form one more. In place of an earlier partition.
    pub(crate) fn partition(&mut self, groups: &[Vec<HostId>]) {
        for host in &mut self.hosts {
            host.group = 0;
        }
        for (number, group) in groups.iter().enumerate() {
            for host in group {
                self.hosts[host.index()].group = number as u32 + 1;
            }
        }
    }

    /// Ends every partition, one-way cuts included.
    pub(crate) fn heal(&mut self) {
        self.partition(&[]);
        self.links.blocked.clear();
    }

    /// Lets go what was held from one host to another.
    pub(crate) fn release(&mut self, from: HostId, to: HostId) {
        for packet in self.links.release(from, to) {
            self.pass(packet);
        }
    }
}
