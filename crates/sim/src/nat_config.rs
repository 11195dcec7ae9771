//! What NAT boxes and firewalls are like.

use std::net::IpAddr;
use std::time::Duration;

/// What of the remote endpoint a box looks at (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatBehavior {
    /// Nothing: one port for all remotes, or everybody may send to it.
    EndpointIndependent,
    /// The address.
    AddressDependent,
    /// The address and the port.
    AddressAndPortDependent,
}

/// What a box does to the addresses of the hosts behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NatTranslation {
    /// All share the box's address, and each flow has a port of its own there.
    #[default]
    Ports,
    /// Each has a public address of its own in place of its private one; ports stay (1:1 NAT, as in many clouds).
    OneToOne,
    /// None: they have public addresses themselves, and the box only filters (a firewall).
    None,
}

/// What a box is like. The default is the common home router: it maps endpoint-independently and filters by address and port.
#[derive(Debug, Clone)]
pub struct NatConfig {
    /// What happens to addresses.
    pub translation: NatTranslation,
    /// Whether a flow has its own port outside too, if that is free, and what comes in through a forwarded port is answered
    /// from there, and nothing else leaves by it: as Linux does. Otherwise ports are numbered, and all that a host sends from
    /// where a port is forwarded to leaves by that port.
    pub keep_ports: bool,
    /// Which remotes share a port.
    pub mapping: NatBehavior,
    /// Which remotes may send to a port. Where ports are not translated, a box that looks at nothing lets everything in.
    pub filtering: NatBehavior,
    /// How long a mapping lives after the last datagram from inside.
    pub udp_timeout: Duration,
    /// How long a mapping lives after the last segment of its stream.
    pub tcp_timeout: Duration,
    /// Whether hosts behind the box reach each other by its public address.
    pub hairpin: bool,
    /// Its public address; chosen if there is none.
    pub address: Option<IpAddr>,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self {
            translation: NatTranslation::Ports,
            keep_ports: false,
            mapping: NatBehavior::EndpointIndependent,
            filtering: NatBehavior::AddressAndPortDependent,
            udp_timeout: Duration::from_secs(120),
            // RFC 5382 §5.
            tcp_timeout: Duration::from_secs(2 * 3600 + 4 * 60),
            hairpin: false,
            address: None,
        }
    }
}

impl NatConfig {
    /// A box that gives each remote another port ("symmetric").
    pub fn symmetric() -> Self {
        Self { mapping: NatBehavior::AddressAndPortDependent, ..Self::default() }
    }

    /// A box that lets everybody send to a mapped port ("full cone").
    pub fn open() -> Self {
        Self { filtering: NatBehavior::EndpointIndependent, ..Self::default() }
    }

    /// A box that keeps ports, as Linux does with `masquerade`.
    pub fn keeping_ports() -> Self {
        Self { keep_ports: true, ..Self::default() }
    }

    /// A stateful firewall without translation: it lets in only what comes from where something was sent to.
    pub fn firewall() -> Self {
        Self { translation: NatTranslation::None, ..Self::default() }
    }

    /// A box that gives each host behind it a public address of its own, at which everybody reaches it.
    pub fn one_to_one() -> Self {
        Self { translation: NatTranslation::OneToOne, ..Self::open() }
    }
}
