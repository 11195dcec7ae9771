//! What can be done to a world, as data.

use std::net::IpAddr;

use crate::disk::DiskFault;
use crate::host::{Host, HostId};
use crate::link::Link;
use crate::nat::NatId;
use crate::shared::Shared;

/// What can be done to a world, and undone: each has a method on [`SimNetwork`](crate::SimNetwork), [`Host`], [`Disk`](crate::Disk) or
/// [`Nat`](crate::Nat) of the same effect.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Fault {
    /// Changes every link that has no properties of its own.
    DefaultLink(Link),
    /// Changes the link from one host to another; `None` makes it like the default again.
    Link {
        /// The sender.
        from: HostId,
        /// The receiver.
        to: HostId,
        /// The properties of this direction.
        link: Option<Link>,
    },
    /// Separates groups of hosts from each other; hosts in none of them form one more. In place of an earlier partition.
    Partition(Vec<Vec<HostId>>),
    /// Lets nothing through from one host to another. The other direction stays.
    Block {
        /// The sender.
        from: HostId,
        /// The receiver.
        to: HostId,
    },
    /// Ends [`Fault::Block`].
    Unblock {
        /// The sender.
        from: HostId,
        /// The receiver.
        to: HostId,
    },
    /// Keeps what is sent from one host to another until it is released.
    Hold {
        /// The sender.
        from: HostId,
        /// The receiver.
        to: HostId,
    },
    /// Ends [`Fault::Hold`]: what was kept goes on its way, in order.
    Release {
        /// The sender.
        from: HostId,
        /// The receiver.
        to: HostId,
    },
    /// Ends every partition, block and hold.
    Heal,
    /// Stops a host's programs where they are.
    Pause(HostId),
    /// Ends [`Fault::Pause`].
    Resume(HostId),
    /// Takes a host's power away.
    Crash(HostId),
    /// Ends a host's process.
    Kill(HostId),
    /// Starts a host again.
    Restart(HostId),
    /// Steps a host's wall clock.
    StepClock {
        /// Whose.
        host: HostId,
        /// By how much, forward or back.
        seconds: i64,
    },
    /// Gives a host other addresses in place of its public ones.
    Move {
        /// Whose.
        host: HostId,
        /// Which; none takes the network away.
        addresses: Vec<IpAddr>,
    },
    /// Breaks a host's disk, or mends it.
    Disk {
        /// Whose.
        host: HostId,
        /// How; `None` mends it.
        fault: Option<DiskFault>,
    },
    /// Limits a host's open sockets.
    MaxSockets {
        /// Whose.
        host: HostId,
        /// How many.
        most: usize,
    },
    /// Lets a NAT box forget everything.
    ResetNat(NatId),
    /// Breaks a host's UDP sockets and listeners, or mends them.
    Sockets {
        /// Whose.
        host: HostId,
        /// How; `None` mends them.
        fault: Option<SocketFault>,
    },
}

/// How receiving on a host's UDP sockets and accepting on its listeners fails, with an error that says nothing about
/// the network (`ENOBUFS`, say).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SocketFault {
    /// Once on each socket that is open now.
    Once,
    /// On the sockets that are open now, until they are closed.
    Broken,
    /// On all sockets, new ones too, until they are mended.
    Lasting,
}

impl Fault {
    /// The hosts it names.
    pub(crate) fn hosts(&self) -> Vec<HostId> {
        match self {
            Self::Link { from, to, .. }
            | Self::Block { from, to }
            | Self::Unblock { from, to }
            | Self::Hold { from, to }
            | Self::Release { from, to } => vec![*from, *to],
            Self::Partition(groups) => groups.concat(),
            Self::Pause(host)
            | Self::Resume(host)
            | Self::Crash(host)
            | Self::Kill(host)
            | Self::Restart(host)
            | Self::StepClock { host, .. }
            | Self::Move { host, .. }
            | Self::Disk { host, .. }
            | Self::MaxSockets { host, .. }
            | Self::Sockets { host, .. } => vec![*host],
            Self::DefaultLink(_) | Self::Heal | Self::ResetNat(_) => Vec::new(),
        }
    }
}

/// Lets a fault happen now.
pub(crate) fn apply(shared: &std::sync::Arc<Shared>, fault: Fault) {
    let host = |id: HostId| Host {
        machine: shared.with(|world| world.hosts[id.index()].machine.clone()),
        shared: shared.clone(),
    };
    match fault {
        Fault::Pause(id) => return host(id).pause(),
        Fault::Resume(id) => return host(id).resume(),
        Fault::Crash(id) => return host(id).crash(),
        Fault::Kill(id) => return host(id).kill(),
        Fault::Restart(id) => return host(id).restart(),
        Fault::StepClock { host: id, seconds } => return host(id).step_clock(seconds),
        Fault::Disk { host: id, fault } => host(id).disk().set_fault(fault),
        _ => {}
    }
    shared.with(|world| {
        let text = format!("{fault:?}");
        world.trace.text(world.now, None, &text);
        match fault {
            Fault::DefaultLink(link) => world.links.default = link,
            Fault::Link { from, to, link } => world.links.set(from, to, link),
            Fault::Partition(groups) => world.partition(&groups),
            Fault::Block { from, to } => world.links.block(from, to),
            Fault::Unblock { from, to } => world.links.unblock(from, to),
            Fault::Hold { from, to } => world.links.hold(from, to),
            Fault::Release { from, to } => world.release(from, to),
            Fault::Heal => {
                world.heal();
                for (from, to) in world.links.held() {
                    world.release(from, to);
                }
            }
            Fault::MaxSockets { host, most } => world.hosts[host.index()].max_sockets = most,
            Fault::Move { host, addresses } => world.readdress(host, addresses),
            Fault::ResetNat(nat) => world.nats[nat.index()].reset(),
            Fault::Sockets { host, fault } => world.set_socket_fault(host, fault),
            Fault::Pause(_)
            | Fault::Resume(_)
            | Fault::Crash(_)
            | Fault::Kill(_)
            | Fault::Restart(_)
            | Fault::StepClock { .. }
            | Fault::Disk { .. } => {}
        }
    });
}
