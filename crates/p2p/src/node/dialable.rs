//! The endpoints of a node as others can dial them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use p2p_core::Runtime;
use p2p_identity::PeerRecord;
use p2p_kademlia::address::Scope;
use p2p_net::Endpoint;

use super::Node;

/// Somewhere outside, to ask which address packets leave from: addresses of documentation (RFC 5737, RFC 3849). Nothing is sent.
const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

impl Node {
    /// The endpoints to give to others, with this node's peer id in them: those that reach farthest first, and none with
    /// `0.0.0.0` or `::`. Empty before [`run`](Self::run).
    ///
    /// They are made of what is known now: [`external_endpoints`](crate::Config::external_endpoints);
    /// [`public_ip`](crate::Config::public_ip); where others have reached this node, which
    /// the DHT finds out; and the addresses of this machine, for [`listen_endpoints`](Self::listen_endpoints) that stand for
    /// all of them. Nobody has tried them all: behind a router that forwards nothing, a private address is for others of the
    /// same network, and one of loopback for others on the same machine. The latter are left out where a node that listens on
    /// all addresses has any other.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use p2p::keypair::{KeyPair, KeyPairType};
    /// use p2p::{Config, Node};
    ///
    /// let config = Config { listen_endpoints: vec!["tls://0.0.0.0:0".parse()?], ..Config::default() };
    /// let node = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), config)?;
    /// node.run().await?;
    /// for endpoint in node.dialable_endpoints() {
    ///     println!("join me at {endpoint}");
    /// }
    /// # assert_eq!(node.dialable_endpoints()[0].peer_id(), Some(node.peer_id()));
    /// # node.shutdown().await;
    /// # Ok(()) })}
    /// # #[cfg(not(feature = "tokio"))]
    /// # fn main() {}
    /// ```
    pub fn dialable_endpoints(&self) -> Vec<Endpoint> {
        let listening = self.listen_endpoints();
        if listening.is_empty() {
            return Vec::new();
        }
        let record = self.dht.as_ref().and_then(|dht| dht.record());
        let told = record.iter().flat_map(PeerRecord::addrs).map(|addr| addr.endpoint.clone()).collect();
        let known = Known {
            public_ip: self.config.public_ip.map(|ip| ip.to_canonical()),
            told,
            outgoing: OUTSIDE.into_iter().filter_map(|outside| outgoing(&**self.runtime(), outside)).collect(),
            // Where the system does not tell, the outgoing ones have to do.
            machine: self.runtime().local_addresses().unwrap_or_default(),
        };
        let external = self.config.external_endpoints.iter().cloned();
        let mut dialable: Vec<Endpoint> = Vec::new();
        for endpoint in external.chain(known.dialable(&listening)).map(|at| at.with_peer_id(self.peer_id())) {
            if !dialable.contains(&endpoint) {
                dialable.push(endpoint);
            }
        }
        dialable
    }
}

/// The address that packets to `outside` leave from.
fn outgoing(runtime: &dyn Runtime, outside: IpAddr) -> Option<IpAddr> {
    let socket = runtime.udp_connect(SocketAddr::new(outside, 9)).ok()?;
    Some(socket.local_addr().ip()).filter(|ip| !ip.is_unspecified())
}

/// What is known of a node's addresses.
#[derive(Debug, Default)]
struct Known {
    public_ip: Option<IpAddr>,
    /// What the DHT tells others of this node: where it was reached.
    told: Vec<Endpoint>,
    /// What packets leave from.
    outgoing: Vec<IpAddr>,
    /// What the interfaces have, loopback and link-local ones aside.
    machine: Vec<IpAddr>,
}

impl Known {
    fn dialable(&self, listening: &[Endpoint]) -> Vec<Endpoint> {
        let mut found: Vec<Endpoint> = Vec::new();
        let mut add = |endpoint: Endpoint| {
            if !found.contains(&endpoint) {
                found.push(endpoint);
            }
        };
        self.told.iter().cloned().for_each(&mut add);
        for endpoint in listening {
            let Some(here) = endpoint.addr().ip() else { continue };
            let at = |ip: IpAddr| Endpoint::new(endpoint.transport(), ip, endpoint.port());
            let public = self.public_ip.filter(|ip| ip.is_ipv4() == here.is_ipv4() && !here.is_loopback());
            public.into_iter().map(at).for_each(&mut add);
            if here.is_unspecified() {
                self.of_machine(here.is_ipv4()).into_iter().map(at).for_each(&mut add);
            } else {
                add(at(here));
            }
        }
        // A stable sort: those that reach equally far stay as they were told and listed.
        found.sort_by_key(|endpoint| endpoint.addr().ip().map_or(u8::MAX, reach));
        found
    }

    /// What all addresses of one family stand for on this machine, those first that packets leave from.
    fn of_machine(&self, is_ipv4: bool) -> Vec<IpAddr> {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == is_ipv4 && !ip.is_loopback() && reach(**ip) < u8::MAX;
        let mut addresses: Vec<IpAddr> = self.outgoing.iter().chain(&self.machine).filter(of_family).copied().collect();
        if addresses.is_empty() {
            addresses.push(if is_ipv4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        addresses
    }
}

/// How far an address reaches: the less, the farther.
fn reach(ip: IpAddr) -> u8 {
    match Scope::of(ip) {
        Scope::Public => 0,
        Scope::Shared => 1,
        Scope::Private | Scope::UniqueLocal => 2,
        Scope::Documentation | Scope::Reserved => 3,
        Scope::Loopback => 4,
        // Without a zone it means another machine on each link.
        Scope::LinkLocal | Scope::Unspecified | Scope::Multicast => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(texts: &[&str]) -> Vec<Endpoint> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// A machine at home: docker's bridge sorts before the address that leads out.
    fn home() -> Known {
        Known {
            outgoing: ips(&["192.168.1.7", "fd00::7"]),
            machine: ips(&["172.17.0.1", "192.168.1.7", "fd00::7"]),
            ..Known::default()
        }
    }

    #[test]
    fn nobody_is_told_to_dial_an_unspecified_address() {
        let dialable = home().dialable(&endpoints(&["quic://0.0.0.0:1", "tls://[::]:2"]));
        assert_eq!(dialable, endpoints(&["quic://192.168.1.7:1", "quic://172.17.0.1:1", "tls://[fd00::7]:2"]));
    }

    #[test]
    fn what_reaches_farthest_comes_first_and_once() {
        let known = Known {
            public_ip: Some(ips(&["8.8.8.8"])[0]),
            told: endpoints(&["quic://8.8.8.8:1", "quic://[2606:4700::1]:1"]),
            ..home()
        };
        let listening = endpoints(&["tcp://127.0.0.1:3", "quic://0.0.0.0:1", "tls://192.168.1.7:2"]);
        let expected = endpoints(&[
            "quic://8.8.8.8:1",
            "quic://[2606:4700::1]:1",
            "tls://8.8.8.8:2",
            "quic://192.168.1.7:1",
            "quic://172.17.0.1:1",
            "tls://192.168.1.7:2",
            "tcp://127.0.0.1:3",
        ]);
        assert_eq!(known.dialable(&listening), expected);
    }

    #[test]
    fn a_machine_without_a_network_has_loopback_and_no_other_has() {
        let alone = Known::default();
        let listening = endpoints(&["quic://0.0.0.0:1", "quic://[::]:1"]);
        assert_eq!(alone.dialable(&listening), endpoints(&["quic://127.0.0.1:1", "quic://[::1]:1"]));
        // Where the system does not tell its addresses, what packets leave from has to do.
        let silent = Known { machine: Vec::new(), ..home() };
        assert_eq!(silent.dialable(&listening), endpoints(&["quic://192.168.1.7:1", "quic://[fd00::7]:1"]));
        let link_local = Known { machine: ips(&["fe80::1", "169.254.0.1"]), ..Known::default() };
        assert_eq!(link_local.dialable(&listening), endpoints(&["quic://127.0.0.1:1", "quic://[::1]:1"]));
    }
}
