use super::*;

const SECOND: Nanos = 1_000_000_000;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn nat(config: NatConfig) -> (NatBox, SocketAddr) {
    let mut nat = NatBox::new(config, "62.0.0.1".parse().unwrap());
    let ip = nat.join(HostId(1));
    assert_eq!(nat.member(ip), Some(HostId(1)));
    (nat, SocketAddr::new(ip, 5000))
}

fn config(mapping: NatBehavior, filtering: NatBehavior) -> NatConfig {
    NatConfig { mapping, filtering, ..NatConfig::default() }
}

use NatBehavior::{AddressAndPortDependent, AddressDependent, EndpointIndependent};

/// A remote, another port of it, and another address.
const REMOTES: [&str; 3] = ["45.0.0.1:80", "45.0.0.1:81", "45.0.1.1:80"];

#[test]
fn ports_are_shared_as_the_mapping_says() {
    for (mapping, shared) in
        [(EndpointIndependent, [true, true]), (AddressDependent, [true, false]), (AddressAndPortDependent, [false; 2])]
    {
        let (mut nat, inner) = nat(config(mapping, EndpointIndependent));
        let ports = REMOTES.map(|remote| nat.outbound(Transport::Udp, inner, addr(remote), 0).unwrap().port());
        assert_eq!([ports[0] == ports[1], ports[0] == ports[2]], shared, "{mapping:?}");
        let other = SocketAddr::new(inner.ip(), 5001);
        assert_ne!(nat.outbound(Transport::Udp, other, addr(REMOTES[0]), 0).unwrap().port(), ports[0]);
    }
}

#[test]
fn remotes_come_in_as_the_filter_says() {
    for (filtering, admitted) in
        [(EndpointIndependent, [true, true]), (AddressDependent, [true, false]), (AddressAndPortDependent, [false; 2])]
    {
        let (mut nat, inner) = nat(config(EndpointIndependent, filtering));
        let port = nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 0).unwrap().port();
        assert!(nat.admits(Transport::Udp, port, addr(REMOTES[0]), 0));
        let others = [1, 2].map(|other| nat.admits(Transport::Udp, port, addr(REMOTES[other]), 0));
        assert_eq!(others, admitted, "{filtering:?}");
        assert!(!nat.admits(Transport::Tcp, port, addr(REMOTES[0]), 0), "protocols have ports of their own");
        assert_eq!(nat.inner(Transport::Udp, port, 0), Some(inner));
    }
}

#[test]
fn mappings_live_while_they_are_used() {
    let (mut nat, inner) = nat(NatConfig::default());
    let port = nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 0).unwrap().port();
    assert_eq!(nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 100 * SECOND).unwrap().port(), port);
    assert!(nat.admits(Transport::Udp, port, addr(REMOTES[0]), 220 * SECOND), "120 s after the last from inside");
    assert!(!nat.admits(Transport::Udp, port, addr(REMOTES[0]), 221 * SECOND));
    assert_eq!(nat.inner(Transport::Udp, port, 221 * SECOND), None);
    let new = nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 221 * SECOND).unwrap().port();
    assert_ne!(new, port);
    assert_eq!(nat.udp.by_port.len(), 1, "what is over is forgotten");
    assert_eq!(nat.udp.by_flow.len(), 1);
}

#[test]
fn a_stream_keeps_its_mapping_from_both_sides() {
    let (mut nat, inner) = nat(NatConfig { tcp_timeout: Duration::from_secs(10), ..NatConfig::default() });
    let port = nat.outbound(Transport::Tcp, inner, addr(REMOTES[0]), 0).unwrap().port();
    for at in [9, 18, 27] {
        assert!(nat.admits(Transport::Tcp, port, addr(REMOTES[0]), at * SECOND));
    }
    assert!(nat.refresh(Transport::Tcp, port, 36 * SECOND));
    assert!(!nat.refresh(Transport::Tcp, port, 47 * SECOND));
}

#[test]
fn forwarded_ports_are_open_to_all_until_a_reset() {
    let (mut nat, inner) = nat(NatConfig::symmetric());
    nat.forwards.insert((Transport::Udp, 20_000), inner);
    assert!(nat.admits(Transport::Udp, 20_000, addr(REMOTES[2]), 0));
    assert_eq!(nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 0), Some(addr("62.0.0.1:20000")));
    let other = SocketAddr::new(inner.ip(), 1);
    assert_eq!(nat.outbound(Transport::Udp, other, addr(REMOTES[0]), 0), Some(addr("62.0.0.1:20001")));
    nat.reset();
    assert_eq!(nat.inner(Transport::Udp, 20_000, 0), None);
    assert!(!nat.admits(Transport::Udp, 20_001, addr(REMOTES[0]), 0));
}

#[test]
fn ports_and_permissions_are_bounded() {
    let (mut nat, inner) = nat(NatConfig::symmetric());
    let ports = u32::from(u16::MAX - FIRST_PORT) + 1;
    for n in 0..ports {
        let remote = SocketAddr::new(IpAddr::from((0x2d00_0000 + n).to_be_bytes()), 80);
        assert!(nat.outbound(Transport::Udp, inner, remote, 0).is_some());
    }
    assert_eq!(nat.outbound(Transport::Udp, inner, addr("60.0.0.1:1"), 0), None, "no port is left");
    assert!(nat.outbound(Transport::Udp, inner, addr("60.0.0.1:1"), 200 * SECOND).is_some(), "they come back");

    let (mut nat, inner) = self::nat(NatConfig::default());
    for n in 0..=MAX_ALLOWED as u32 {
        let remote = SocketAddr::new(IpAddr::from((0x2d00_0000 + n).to_be_bytes()), 80);
        nat.outbound(Transport::Udp, inner, remote, 0);
    }
    let mapping = nat.udp.by_port.values().next().unwrap();
    assert_eq!(mapping.allowed.len(), MAX_ALLOWED);
}
