//! Nodes that listen on all their addresses, and learn from others which those are.

use std::net::IpAddr;
use std::time::Duration;

use p2p_kademlia::engine::{Asker, Mode, ReplyId};
use p2p_kademlia::{Key, Request};

use crate::net::{Net, PRIVATE, address, key_pair};

const SOON: Duration = Duration::from_secs(10);

/// The addresses that a node tells of itself.
fn told(net: &Net, n: usize) -> Vec<IpAddr> {
    let Some(record) = net.engine(n).record() else { return Vec::new() };
    let mut told: Vec<_> = record.discovery_addrs().iter().filter_map(|addr| addr.endpoint.addr().ip()).collect();
    told.dedup();
    told
}

fn knows(net: &Net, n: usize, other: usize) -> bool {
    net.engine(n).table().iter().any(|peer| peer.peer_id() == key_pair(other).peer_id())
}

/// A network of nodes on all addresses, one after the other, all through the first.
fn everywhere(nodes: &[usize]) -> Net {
    let mut net = Net::new(1);
    for (n, node) in nodes.iter().enumerate() {
        net.everywhere.insert(*node);
        net.add(*node, if n == 0 { &[] } else { &nodes[..1] }, |_| ());
        net.run(SOON);
    }
    net
}

#[test]
fn two_nodes_tell_each_other_where_they_are_and_a_third_finds_both() {
    for first in [0, PRIVATE] {
        let mut net = everywhere(&[first, first + 1]);
        for n in [first, first + 1] {
            assert_eq!((net.engine(n).mode(), told(&net, n)), (Mode::Server, vec![address(n).ip()]));
        }
        assert!(knows(&net, first, first + 1) && knows(&net, first + 1, first));
        net.everywhere.insert(first + 2);
        net.add(first + 2, &[first], |_| ());
        net.run(SOON);
        assert!(knows(&net, first + 2, first) && knows(&net, first + 2, first + 1));
        assert!(knows(&net, first, first + 2));
        assert_eq!(net.engine(first + 2).mode(), Mode::Server);
    }
}

#[test]
fn a_first_node_that_was_alone_for_long_is_found_soon_after_the_second_has_come() {
    let mut net = everywhere(&[0]);
    net.run(Duration::from_secs(3600));
    assert_eq!((net.engine(0).mode(), told(&net, 0)), (Mode::Client, vec![]));
    net.everywhere.insert(1);
    net.add(1, &[0], |_| ());
    net.run(Duration::from_secs(3));
    assert_eq!((net.engine(0).mode(), net.engine(1).mode()), (Mode::Server, Mode::Server));
}

#[test]
fn thirty_nodes_become_one_network() {
    let mut net = everywhere(&(0..30).collect::<Vec<_>>());
    assert_eq!(net.component(), 30);
    assert!((0..30).all(|n| told(&net, n) == [address(n).ip()]));
    assert!(net.recall(29, Key::of_value(b"x"), 20) > 0.999);
}

#[test]
fn a_node_behind_an_open_translation_is_found_at_the_address_outside() {
    let mut net = Net::new(1);
    net.everywhere = [0, 1].into();
    net.translated = [0, 1].into();
    net.add(0, &[], |_| ());
    net.add(1, &[0], |_| ());
    net.run(SOON);
    assert_eq!((told(&net, 0), told(&net, 1)), (vec![address(0).ip()], vec![address(1).ip()]));
}

#[test]
fn who_is_not_reached_where_it_was_seen_stays_a_client() {
    let mut net = everywhere(&[0, 1]);
    net.everywhere.insert(2);
    net.unreachable.insert(2);
    net.add(2, &[0], |_| ());
    net.run(Duration::from_secs(600));
    assert_eq!((net.engine(2).mode(), told(&net, 2)), (Mode::Client, vec![]));
    assert!(knows(&net, 2, 0) && !knows(&net, 0, 2) && !knows(&net, 1, 2));
    net.unreachable.clear();
    net.run(Duration::from_secs(120));
    assert_eq!(net.engine(2).mode(), Mode::Server);
}

/// One liar is all that the node knows. It says that it sees it at a victim's address, and that it reaches it there.
#[test]
fn a_liar_that_comes_does_not_make_a_node_tell_an_address_that_is_not_its_own() {
    for (node, victim) in [(1, [8, 8, 8, 8]), (PRIVATE + 1, [192, 168, 0, 66]), (PRIVATE + 2, [8, 8, 8, 8])] {
        let liar = if node >= PRIVATE { PRIVATE } else { 0 };
        let mut net = Net::new(1);
        net.add(liar, &[], |_| ());
        net.liars.insert(liar, victim.into());
        net.everywhere.insert(node);
        net.add(node, &[liar], |_| ());
        net.run(Duration::from_secs(600));
        // It comes, to where the node is: so that is what the node tells, and nothing else.
        let told = told(&net, node);
        assert!(told.iter().all(|ip| *ip == address(node).ip()), "{victim:?}: {told:?}");
    }
}

#[test]
fn what_a_liar_made_a_translated_node_tell_is_taken_back_when_somebody_sees_it_elsewhere() {
    let mut net = Net::new(1);
    net.add(0, &[], |_| ());
    net.liars.insert(0, [8, 8, 8, 8].into());
    net.everywhere.insert(1);
    net.translated.insert(1);
    net.add(1, &[0], |_| ());
    net.run(SOON);
    // Nobody else can have told it; and nobody who asks that address finds the node there.
    assert_eq!(told(&net, 1), [IpAddr::from([8, 8, 8, 8])]);
    assert!(!knows(&net, 0, 1));
    for n in 2..5 {
        net.add(n, &[0], |_| ());
    }
    net.run(Duration::from_secs(180));
    assert_eq!((net.engine(1).mode(), told(&net, 1)), (Mode::Server, vec![address(1).ip()]));
    assert!((2..5).all(|n| knows(&net, n, 1)));
}

#[test]
fn a_liar_among_honest_nodes_changes_nothing() {
    for (first, lie) in [(0, [8, 8, 8, 8]), (PRIVATE, [192, 168, 0, 66])] {
        let mut net = everywhere(&(first..first + 8).collect::<Vec<_>>());
        net.liars.insert(first, lie.into());
        net.run(Duration::from_secs(1800));
        assert!((first..first + 8).all(|n| told(&net, n) == [address(n).ip()]));
        assert_eq!(net.component(), 8);
    }
}

#[test]
fn who_is_outside_is_not_told_of_a_private_address() {
    let mut net = everywhere(&[PRIVATE, PRIVATE + 1]);
    let peer_id = key_pair(9).peer_id();
    let outside = Asker { peer_id, address: address(9), arrived: None, unsolicited: true, record: None };
    let mut answer = |asker: &Asker, request: Request| {
        net.with(PRIVATE, |engine, now| {
            engine.on_request(now, ReplyId(7), asker, request);
            std::iter::from_fn(|| engine.next_action()).find_map(|action| match action {
                p2p_kademlia::engine::Action::Reply { id: ReplyId(7), response } => Some(response),
                _ => None,
            })
        })
    };
    let told = answer(&outside, Request::FindNode { target: Key::of_value(b"x") }).flatten().unwrap();
    let closer = told.closer().unwrap();
    assert_eq!((closer.contacts.len(), closer.seq), (0, 0));
    let told = answer(&outside, Request::GetRecord).flatten().unwrap();
    assert_eq!(told, p2p_kademlia::Refused::NoRecord.into());
    let inside = Asker { address: address(PRIVATE + 9), ..outside };
    let told = answer(&inside, Request::GetRecord).flatten().unwrap();
    assert!(matches!(told, p2p_kademlia::Response::Record(_)));
}

#[test]
fn a_node_told_of_to_try_an_address_cannot_replace_the_record_by_that() {
    let mut net = everywhere(&[0, 1, 2]);
    let seq = |net: &Net| net.engine(1).record().unwrap().seq();
    let before = seq(&net);
    // A liar of the first prefix sees it elsewhere, again and again.
    net.liars.insert(0, [8, 8, 8, 8].into());
    net.run(Duration::from_secs(600));
    assert_eq!(seq(&net), before);
    assert!(net.tried.iter().filter(|(n, ..)| *n == 1).all(|(_, record)| record.seq() <= before));
    assert!(net.tried.iter().any(|(n, record)| *n == 1 && record.seq() == before - 1));
}
