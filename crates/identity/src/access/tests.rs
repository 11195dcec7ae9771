use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::*;
use crate::KeyPair;

const CONNECT: Action = Action::Connect(Direction::Inbound);

fn id(n: u8) -> PeerId {
    KeyPair::from_seed([n; 32]).peer_id()
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

fn at(n: u8) -> Endpoint {
    Endpoint::new(p2p_net::Transport::Quic, ip(n), 9000)
}

fn peer(n: u8, endpoint: &Endpoint) -> Subject<'_> {
    Subject::Peer(Candidate::new(id(n), endpoint))
}

#[test]
fn an_allow_list_lets_through_what_it_cannot_know_yet_and_no_more() {
    let list: AllowList = [id(1)].into_iter().collect();
    list.insert(ip(7));
    let allow = |subject: Subject<'_>| list.allow(&subject, CONNECT);
    assert!(allow(Subject::Endpoint(&at(3))), "perhaps it is peer 1");
    assert!(allow(Subject::Endpoint(&at(3).with_peer_id(id(1)))));
    assert!(!allow(Subject::Endpoint(&at(3).with_peer_id(id(2)))));
    assert!(allow(Subject::Endpoint(&at(7).with_peer_id(id(2)))), "its address is listed");
    let named: Endpoint = "quic://example.org:1".parse().unwrap();
    assert!(allow(Subject::Endpoint(&named.clone().with_peer_id(id(2)))), "perhaps its address is listed");
    assert!(allow(peer(1, &at(3))) && allow(peer(2, &at(7))));
    assert!(!allow(peer(2, &at(3))) && !allow(peer(2, &named)));

    let list: Arc<dyn AccessControl> = Arc::new(list.clone());
    assert!(list.vouches(&peer(1, &at(3))) && list.vouches(&peer(2, &at(7))) && !list.vouches(&peer(2, &at(3))));
    assert!(!AllowAll.vouches(&peer(1, &at(3))) && !DenyList::new().vouches(&peer(1, &at(3))), "they name nobody");
}

#[test]
fn an_allow_list_forgets_who_is_taken_out() {
    let list: AllowList = [id(1)].into_iter().collect();
    list.insert(ip(7));
    let named: Endpoint = "quic://example.org:1".parse().unwrap();
    list.remove(id(1));
    assert!(!list.allow(&Subject::Endpoint(&at(3)), CONNECT), "only addresses are left");
    list.remove(ip(7));
    assert!(!list.allow(&Subject::Endpoint(&named), CONNECT), "nobody is allowed");
}

#[test]
fn a_deny_list_refuses_peers_and_addresses() {
    let list = DenyList::new();
    list.insert(PeerOrIp::Ip("::ffff:192.0.2.7".parse().unwrap()));
    list.insert(id(2));
    let allow = |subject: Subject<'_>| list.allow(&subject, CONNECT);
    assert!(allow(Subject::Endpoint(&at(1))) && allow(peer(1, &at(1))));
    assert!(!allow(Subject::Endpoint(&at(7))) && !allow(peer(1, &at(7))) && !allow(peer(2, &at(1))));
    assert!(!allow(Subject::Endpoint(&at(1).with_peer_id(id(2)))));
    assert!(list.contains(ip(7)) && list.entries().len() == 2);
}

#[test]
fn changes_are_told_and_what_is_no_change_is_not() {
    fn ready(changes: &mut Changes) -> bool {
        pin!(changes.changed()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
    let list = DenyList::new();
    let policy: Arc<dyn AccessControl> = Arc::new(list.clone());
    let mut changes = policy.changes().unwrap();
    assert!(!ready(&mut changes));
    assert!(list.insert(id(1)) && list.insert(id(2)));
    assert!(ready(&mut changes) && !ready(&mut changes), "two changes, one reason to look");
    assert!(!list.insert(id(1)) && !list.remove(id(3)));
    assert!(!ready(&mut changes));
    assert!(list.remove(id(1)) && ready(&mut changes));
    drop((list, policy));
    assert!(!ready(&mut changes), "a policy that is gone changes no more");
    assert!(AllowAll.changes().is_none() && AllowAll.allow(&Subject::Endpoint(&at(1)), CONNECT));
}

#[test]
fn an_action_has_words() {
    assert_eq!(Action::Probe(Direction::Outbound).to_string(), "outbound probe");
    assert!(Action::Lookup(Direction::Inbound).direction().is_inbound());
}
