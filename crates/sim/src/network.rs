//! [`SimNetwork`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::fault::{self, Fault};
use crate::host::{Host, HostId};
use crate::link::Link;
use crate::shared::Shared;

/// The network between the hosts of a world. Everything may be changed while the world runs. Cheap to clone.
#[derive(Clone)]
pub struct SimNetwork {
    pub(crate) shared: Arc<Shared>,
}

impl SimNetwork {
    /// Changes every link that has no properties of its own.
    pub fn set_default_link(&self, link: Link) {
        self.apply(Fault::DefaultLink(link));
    }

    /// What links without properties of their own are like.
    pub fn default_link(&self) -> Link {
        self.shared.with(|world| world.links.default)
    }

    /// Changes one direction of the link between two hosts.
    pub fn set_link(&self, from: &Host, to: &Host, link: Link) {
        self.apply(Fault::Link { from: from.id(), to: to.id(), link: Some(link) });
    }

    /// Changes both directions of the link between two hosts.
    pub fn set_link_between(&self, one: &Host, other: &Host, link: Link) {
        self.set_link(one, other, link);
        self.set_link(other, one, link);
    }

    /// Makes the link between two hosts like the default again.
    pub fn reset_link_between(&self, one: &Host, other: &Host) {
        self.apply(Fault::Link { from: one.id(), to: other.id(), link: None });
        self.apply(Fault::Link { from: other.id(), to: one.id(), link: None });
    }

    /// What the link from one host to another is like now.
    pub fn link(&self, from: &Host, to: &Host) -> Link {
        self.shared.with(|world| world.links.link(from.id(), to.id()))
    }

    /// Separates groups of hosts from each other, in place of an earlier partition. Hosts in none of the groups form one more.
    /// What is under way between groups is lost; a stream sends it again until it is healed or has timed out.
    pub fn partition(&self, groups: &[&[&Host]]) {
        let ids = |group: &&[&Host]| group.iter().map(|host| host.id()).collect();
        self.apply(Fault::Partition(groups.iter().map(ids).collect()));
    }

    /// Separates one host from all others, in place of an earlier partition.
    pub fn isolate(&self, host: &Host) {
        self.partition(&[&[host]]);
    }

    /// Lets nothing through from one host to another; the other direction stays.
    pub fn block(&self, from: &Host, to: &Host) {
        self.apply(Fault::Block { from: from.id(), to: to.id() });
    }

    /// Ends a [`block`](Self::block).
    pub fn unblock(&self, from: &Host, to: &Host) {
        self.apply(Fault::Unblock { from: from.id(), to: to.id() });
    }

    /// Keeps what is sent from one host to another until it is [released](Self::release).
    pub fn hold(&self, from: &Host, to: &Host) {
        self.apply(Fault::Hold { from: from.id(), to: to.id() });
    }

    /// Ends a [`hold`](Self::hold): what was kept goes on its way, in order.
    pub fn release(&self, from: &Host, to: &Host) {
        self.apply(Fault::Release { from: from.id(), to: to.id() });
    }

    /// Ends every partition, block and hold.
    pub fn heal(&self) {
        self.apply(Fault::Heal);
    }

    /// Makes a prefix a network of its own, such as a VPN: nothing passes between its addresses and others. A host that has
    /// addresses in several networks sends from the one in which the receiver is.
    ///
    /// # Panics
    /// If the prefix is longer than its address.
    pub fn separate(&self, prefix: IpAddr, len: u8) {
        self.shared.with(|world| world.add_network(prefix, len));
    }

    /// Makes a name known to all hosts, in place of what it stood for. Each host's own name is known from the beginning.
    pub fn set_name(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().collect();
        self.shared.with(|world| world.names.insert(name.to_ascii_lowercase(), addresses));
    }

    /// Makes a name unknown.
    pub fn remove_name(&self, name: &str) {
        self.shared.with(|world| world.names.remove(&name.to_ascii_lowercase()));
    }

    /// Packets that were sent so far.
    pub fn packets(&self) -> u64 {
        self.shared.with(|world| world.packets)
    }

    /// Records that the world keeps of streams, listeners and UDP sockets, those of the kernels included.
    pub fn sockets(&self) -> usize {
        self.shared.with(|world| world.conns.len() + world.listeners.len() + world.udp.len())
    }

    /// Lets a fault happen now.
    ///
    /// # Panics
    /// If it names a host that does not exist.
    pub fn apply(&self, fault: Fault) {
        let hosts = self.shared.with(|world| world.hosts.len());
        for HostId(number) in fault.hosts() {
            assert!((number as usize) < hosts, "{fault:?} names host #{number}; there are {hosts}");
        }
        fault::apply(&self.shared, fault);
    }
}

impl fmt::Debug for SimNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNetwork").finish_non_exhaustive()
    }
}
