use super::*;

const SECOND: Nanos = 1_000_000_000;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn nat(config: NatConfig) -> (NatBox, SocketAddr) {
    let mut nat = NatBox::new(config, "62.0.0.1".parse().unwrap());
    let (ip, _) = nat.join(HostId(1));
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
        let port = nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 0).unwrap();
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
    let port = nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 0).unwrap();
    assert_eq!(nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 100 * SECOND).unwrap(), port);
    assert!(nat.admits(Transport::Udp, port, addr(REMOTES[0]), 220 * SECOND), "120 s after the last from inside");
    assert!(!nat.admits(Transport::Udp, port, addr(REMOTES[0]), 221 * SECOND));
    assert_eq!(nat.inner(Transport::Udp, port, 221 * SECOND), None);
    let new = nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 221 * SECOND).unwrap();
    assert_ne!(new, port);
    assert_eq!(nat.udp.by_outer.len(), 1, "what is over is forgotten");
    assert_eq!(nat.udp.by_flow.len(), 1);
}

#[test]
fn a_stream_keeps_its_mapping_from_both_sides() {
    let (mut nat, inner) = nat(NatConfig { tcp_timeout: Duration::from_secs(10), ..NatConfig::default() });
    let port = nat.outbound(Transport::Tcp, inner, addr(REMOTES[0]), 0).unwrap();
    for at in [9, 18, 27] {
        assert!(nat.admits(Transport::Tcp, port, addr(REMOTES[0]), at * SECOND));
    }
    assert!(nat.refresh(Transport::Tcp, port, 36 * SECOND));
    assert!(!nat.refresh(Transport::Tcp, port, 47 * SECOND));
}

#[test]
fn forwarded_ports_are_open_to_all_until_a_reset() {
    let (mut nat, inner) = nat(NatConfig::symmetric());
    let (outer, next) = (addr("62.0.0.1:20000"), addr("62.0.0.1:20001"));
    nat.forwards.insert((Transport::Udp, outer), inner);
    assert!(nat.admits(Transport::Udp, outer, addr(REMOTES[2]), 0));
    assert_eq!(nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 0), Some(outer));
    let other = SocketAddr::new(inner.ip(), 1);
    assert_eq!(nat.outbound(Transport::Udp, other, addr(REMOTES[0]), 0), Some(next));
    nat.reset();
    assert_eq!(nat.inner(Transport::Udp, outer, 0), None);
    assert!(!nat.admits(Transport::Udp, next, addr(REMOTES[0]), 0));
}

#[test]
fn a_box_that_keeps_ports_does_so_while_they_are_free() {
    let (mut nat, inner) = nat(NatConfig::keeping_ports());
    let kept = addr("62.0.0.1:5000");
    assert_eq!(nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 0), Some(kept));
    assert_eq!(nat.outbound(Transport::Udp, inner, addr(REMOTES[2]), 0), Some(kept), "for all remotes");
    let (other, _) = nat.join(HostId(2));
    let second = nat.outbound(Transport::Udp, SocketAddr::new(other, 5000), addr(REMOTES[0]), 0);
    assert_eq!(second, Some(addr("62.0.0.1:20000")), "the first has it");
    assert!(!nat.admits(Transport::Udp, kept, addr(REMOTES[1]), 0), "another port of a known remote stays out");
}

#[test]
fn what_comes_in_by_a_forwarded_port_is_answered_from_there_and_nothing_else_is() {
    let (mut nat, inner) = nat(NatConfig::keeping_ports());
    let (forwarded, kept) = (addr("62.0.0.1:9000"), addr("62.0.0.1:5000"));
    nat.forwards.insert((Transport::Udp, forwarded), inner);
    assert_eq!(nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 0), Some(kept));
    assert!(nat.admits(Transport::Udp, forwarded, addr(REMOTES[2]), 0));
    assert_eq!(nat.inner(Transport::Udp, forwarded, 0), Some(inner));
    assert_eq!(nat.outbound(Transport::Udp, inner, addr(REMOTES[2]), 0), Some(forwarded));
    assert_eq!(nat.outbound(Transport::Udp, inner, addr(REMOTES[0]), 0), Some(kept));
    for n in 0..=MAX_ALLOWED as u32 {
        let remote = SocketAddr::new(IpAddr::from((0x2d00_0000 + n).to_be_bytes()), 80);
        assert!(nat.admits(Transport::Udp, forwarded, remote, 0));
    }
    assert_eq!(nat.answers.len(), MAX_ALLOWED);
}

#[test]
fn a_firewall_lets_in_what_comes_from_where_something_was_sent_to() {
    let mut nat = NatBox::new(NatConfig::firewall(), addr("62.0.0.1:0").ip());
    let here = addr("45.9.9.9:5000");
    nat.guard(here.ip(), HostId(1));
    assert!(!nat.admits(Transport::Udp, here, addr(REMOTES[0]), 0));
    assert_eq!(nat.outbound(Transport::Udp, here, addr(REMOTES[0]), 0), Some(here));
    assert_eq!(REMOTES.map(|remote| nat.admits(Transport::Udp, here, addr(remote), 0)), [true, false, false]);
    assert!(!nat.admits(Transport::Udp, addr("45.9.9.9:5001"), addr(REMOTES[0]), 0), "another port of the host");
    assert!(!nat.admits(Transport::Udp, here, addr(REMOTES[0]), 121 * SECOND), "it has forgotten");
    assert!(!nat.refresh(Transport::Udp, here, 121 * SECOND));
}

#[test]
fn a_box_that_translates_one_to_one_gives_each_host_an_address() {
    let mut nat = NatBox::new(NatConfig::one_to_one(), addr("62.0.0.1:0").ip());
    for (host, outer) in [(1, "62.0.0.1:5000"), (2, "62.0.0.2:5000")] {
        let (inner, public) = nat.join(HostId(host));
        assert_eq!(public, Some(addr(outer).ip()));
        let inner = SocketAddr::new(inner, 5000);
        assert!(nat.admits(Transport::Tcp, addr(outer), addr(REMOTES[0]), 0), "it asks nobody's leave");
        assert_eq!(nat.inner(Transport::Tcp, addr(outer), 0), Some(inner));
        assert_eq!(nat.outbound(Transport::Tcp, inner, addr(REMOTES[0]), 0), Some(addr(outer)));
        assert!(nat.refresh(Transport::Tcp, addr(outer), 0));
    }
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
    let mapping = nat.udp.by_outer.values().next().unwrap();
    assert_eq!(mapping.allowed.len(), MAX_ALLOWED);
}
