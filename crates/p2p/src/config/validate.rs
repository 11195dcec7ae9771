//! The checks of [`Config::validate`].

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use p2p_identity::Error;
use p2p_kademlia::KademliaConfig;
use p2p_net::{Endpoint, Transport};

use super::{Config, together};

/// The longest network name.
const NETWORK_LEN: usize = 64;

/// Endpoints in one list.
const ENDPOINTS: usize = 10_000;

/// Time-outs and intervals beyond a day are mistaken units.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

pub(super) fn wrong(field: &'static str, reason: impl Display) -> Error {
    Error::Config { field, reason: reason.to_string() }
}

pub(super) fn validate(config: &Config) -> Result<(), Error> {
    let network = &config.network;
    if network.is_empty() || network.len() > NETWORK_LEN || !network.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong("network", format_args!("use 1 to {NETWORK_LEN} printable ASCII characters without spaces")));
    }
    listen_endpoints(&config.listen_endpoints)?;
    dial_peers(&config.dial_peers)?;
    if let Some(ip) = config.public_ip.filter(|&ip| !is_reachable(ip)) {
        return Err(wrong("public_ip", format_args!("nobody can reach {ip}")));
    }
    // They are told as the DHT's own are.
    let external_endpoints = config.external_endpoints.clone();
    KademliaConfig { external_endpoints, ..KademliaConfig::default() }.validate()?;
    slots("inbound_slots", config.inbound_slots)?;
    slots("outbound_slots", config.outbound_slots)?;
    range("max_connect_retries", config.max_connect_retries, 0..=100)?;
    for (field, duration) in [
        ("handshake_timeout", config.handshake_timeout),
        ("dial_timeout", config.dial_timeout),
        ("ping_interval", config.ping_interval),
        ("ping_timeout", config.ping_timeout),
        ("stall_timeout", config.stall_timeout),
        ("drain_timeout", config.drain_timeout),
        ("seeding_interval", config.seeding_interval),
    ] {
        if duration.is_zero() || duration > LONGEST {
            return Err(wrong(field, format_args!("{duration:?} is not more than zero and at most a day")));
        }
    }
    config.kademlia().validate()?;
    config.pool().validate()?;
    together::validate(config)
}

fn listen_endpoints(endpoints: &[Endpoint]) -> Result<(), Error> {
    const FIELD: &str = "listen_endpoints";
    let mut seen = BTreeSet::new();
    range(FIELD, endpoints.len(), 0..=ENDPOINTS)?;
    for endpoint in endpoints {
        connects(FIELD, endpoint)?;
        if endpoint.peer_id().is_some() {
            return Err(wrong(FIELD, format_args!("{endpoint}: a node's own endpoint carries no peer id")));
        }
        if endpoint.addr().ip().is_some_and(|ip| ip.is_multicast()) {
            return Err(wrong(FIELD, format_args!("{endpoint}: a multicast address cannot be listened on")));
        }
        // tcp and tls share the port space; quic has UDP's.
        let space = endpoint.transport() == Transport::Quic;
        if endpoint.port() != 0 && !seen.insert((space, endpoint.addr().clone(), endpoint.port())) {
            return Err(wrong(FIELD, format_args!("{endpoint} is there twice")));
        }
    }
    Ok(())
}

fn dial_peers(endpoints: &[Endpoint]) -> Result<(), Error> {
    const FIELD: &str = "dial_peers";
    for endpoint in endpoints {
        connects(FIELD, endpoint)?;
        if endpoint.port() == 0 {
            return Err(wrong(FIELD, format_args!("{endpoint}: port 0 cannot be dialed")));
        }
        if endpoint.addr().ip().is_some_and(|ip| ip.is_multicast() || ip.is_unspecified()) {
            return Err(wrong(FIELD, format_args!("{endpoint}: this address cannot be dialed")));
        }
    }
    Ok(())
}

/// Whether connections run over the endpoint, in this build.
fn connects(field: &'static str, endpoint: &Endpoint) -> Result<(), Error> {
    if !endpoint.transport().is_connection() {
        return Err(wrong(field, format_args!("{endpoint}: use tcp://, tls:// or quic://")));
    }
    if endpoint.transport() == Transport::Quic && cfg!(not(feature = "quic")) {
        return Err(wrong(field, format_args!("{endpoint}: this build lacks the feature `quic`")));
    }
    Ok(())
}

fn is_reachable(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || broadcast)
}

fn slots(field: &'static str, slots: usize) -> Result<(), Error> {
    range(field, slots, 0..=1_000_000)
}

fn range<T: PartialOrd + Display>(field: &'static str, value: T, allowed: RangeInclusive<T>) -> Result<(), Error> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(wrong(field, format_args!("{value} is not between {} and {}", allowed.start(), allowed.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mistake, and the field it must name.
    #[test]
    fn each_mistake_names_its_field() {
        let endpoint = |text: &str| -> Vec<Endpoint> { vec![text.parse().unwrap()] };
        type Spoil = Box<dyn Fn(&mut Config)>;
        let cases: Vec<(&str, Spoil)> = vec![
            ("network", Box::new(|c: &mut Config| c.network.clear())),
            ("network", Box::new(|c: &mut Config| c.network = "a b".into())),
            ("network", Box::new(|c: &mut Config| c.network = "n".repeat(65))),
            ("listen_endpoints", Box::new(move |c: &mut Config| c.listen_endpoints = endpoint("udp://127.0.0.1:1"))),
            ("listen_endpoints", Box::new(move |c: &mut Config| c.listen_endpoints = endpoint("tcp://224.0.0.1:1"))),
            (
                "listen_endpoints",
                Box::new(|c: &mut Config| {
                    c.listen_endpoints =
                        vec!["tcp://127.0.0.1:7".parse().unwrap(), "tls://127.0.0.1:7".parse().unwrap()];
                }),
            ),
            (
                "discovery_endpoints",
                Box::new(move |c: &mut Config| c.discovery_endpoints = endpoint("udp://224.0.0.1:1")),
            ),
            ("bootstrap_peers", Box::new(move |c: &mut Config| c.bootstrap_peers = endpoint("udp://[::1]:1"))),
            ("dial_peers", Box::new(move |c: &mut Config| c.dial_peers = endpoint("tcp://[::1]:0"))),
            ("dial_peers", Box::new(move |c: &mut Config| c.dial_peers = endpoint("tcp://0.0.0.0:1"))),
            ("dial_peers", Box::new(move |c: &mut Config| c.dial_peers = endpoint("udp://[::1]:1"))),
            (
                "dial_peers",
                Box::new(move |c: &mut Config| {
                    c.dial_peers = endpoint("tcp://[::1]:1");
                    c.limits.kept = 0;
                }),
            ),
            ("public_ip", Box::new(|c: &mut Config| c.public_ip = Some("0.0.0.0".parse().unwrap()))),
            ("public_ip", Box::new(|c: &mut Config| c.public_ip = Some("ff02::1".parse().unwrap()))),
            ("external_endpoints", Box::new(move |c: &mut Config| c.external_endpoints = endpoint("tcp://1.2.3.4:0"))),
            ("external_endpoints", Box::new(move |c: &mut Config| c.external_endpoints = endpoint("udp://1.2.3.4:1"))),
            ("external_endpoints", Box::new(move |c: &mut Config| c.external_endpoints = endpoint("quic://[::]:1"))),
            ("inbound_slots", Box::new(|c: &mut Config| c.inbound_slots = usize::MAX)),
            ("outbound_slots", Box::new(|c: &mut Config| c.outbound_slots = usize::MAX)),
            ("max_connect_retries", Box::new(|c: &mut Config| c.max_connect_retries = 101)),
            ("handshake_timeout", Box::new(|c: &mut Config| c.handshake_timeout = Duration::ZERO)),
            ("dial_timeout", Box::new(|c: &mut Config| c.dial_timeout = Duration::MAX)),
            ("ping_interval", Box::new(|c: &mut Config| c.ping_interval = Duration::ZERO)),
            ("ping_timeout", Box::new(|c: &mut Config| c.ping_timeout = Duration::ZERO)),
            ("stall_timeout", Box::new(|c: &mut Config| c.stall_timeout = Duration::ZERO)),
            ("drain_timeout", Box::new(|c: &mut Config| c.drain_timeout = Duration::ZERO)),
            ("seeding_interval", Box::new(|c: &mut Config| c.seeding_interval = Duration::ZERO)),
            ("limits.message", Box::new(|c: &mut Config| c.limits.message = 0)),
            ("limits.inbound_streams", Box::new(|c: &mut Config| c.limits.inbound_streams = 0)),
            ("limits.queue_messages", Box::new(|c: &mut Config| c.limits.queue_messages = 0)),
            ("limits.queue_bytes", Box::new(|c: &mut Config| c.limits.queue_bytes = 0)),
            ("limits.memory", Box::new(|c: &mut Config| c.limits.memory = 1)),
            ("limits.upload", Box::new(|c: &mut Config| c.limits.upload = Some(1_499))),
            ("limits.download", Box::new(|c: &mut Config| c.limits.download = Some(0))),
            ("limits.handshakes", Box::new(|c: &mut Config| c.limits.handshakes = 0)),
            ("limits.handshakes_per_prefix", Box::new(|c: &mut Config| c.limits.handshakes_per_prefix = 0)),
        ];
        for (expected, spoil) in cases {
            let mut config = Config::default();
            config.validate().expect("the defaults are valid");
            spoil(&mut config);
            match config.validate() {
                Err(Error::Config { field, reason }) => {
                    assert_eq!(field, expected);
                    assert!(!reason.is_empty());
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn presets_are_valid() {
        Config::loopback().validate().unwrap();
        Config::server(9000).validate().unwrap();
    }
}
