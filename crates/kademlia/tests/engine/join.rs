//! How nodes come into a network, and who may.

use std::time::Duration;

use p2p_kademlia::Key;
use p2p_kademlia::engine::{Command, KademliaEvent, Mode, Outcome};

use crate::net::{Net, address, joined};

#[test]
fn two_hundred_nodes_become_one_network() {
    let mut net = joined(200, 1, |_| ());
    assert_eq!(net.component(), 200);
    assert!(net.nodes.values().all(|node| node.engine.mode() == Mode::Server), "each was dialed back");
    let mut recall = 0.0;
    for n in 0..40 {
        recall += net.recall(n * 5, Key::of_value(&[n as u8]), 20) / 40.0;
    }
    assert!(recall > 0.999, "{recall}");
    // Of the last to come: the others' first samples are from when the network was smaller.
    let size = net.engine(199).estimate().unwrap();
    assert!(size.low <= 199.0 && size.high >= 199.0, "{size:?}");
    // These go with time, from the first ones too, who saw a network of a few.
    net.run(Duration::from_secs(300));
    let sizes: Vec<f64> = (0..200).map(|n| net.engine(n).estimate().unwrap().nodes).collect();
    let close = sizes.iter().filter(|size| (100.0..400.0).contains(*size)).count();
    assert!(close >= 190, "{sizes:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| {
        let mut net = joined(30, seed, |_| ());
        net.recall(3, Key::of_value(b"x"), 20);
        (
            net.messages,
            net.now - net.start,
            net.nodes.values().map(|node| node.engine.table().len()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5).0, trace(6).0);
}

#[test]
fn who_cannot_be_dialed_stays_a_client_and_in_nobodys_table() {
    let mut net = Net::new(2);
    net.add(0, &[], |_| ());
    net.unreachable.insert(5);
    for n in 1..12 {
        net.add(n, &[0], |_| ());
        net.run(Duration::from_secs(2));
    }
    net.run(Duration::from_secs(600));
    let hidden = net.engine(5);
    assert_eq!((hidden.mode(), hidden.record()), (Mode::Client, None));
    assert!(hidden.table().len() >= 10, "it knows the others");
    let peer_id = hidden.peer_id();
    for (n, node) in &net.nodes {
        assert!(node.engine.table().iter().all(|peer| peer.peer_id() != peer_id), "node {n} has it");
    }
    // As soon as somebody gets through, it is one of them.
    net.unreachable.clear();
    net.run(Duration::from_secs(180));
    assert_eq!(net.engine(5).mode(), Mode::Server);
    let changed = |event: &KademliaEvent| *event == KademliaEvent::ModeChanged(Mode::Server);
    assert_eq!(net.nodes[&5].seen.iter().filter(|event| changed(event)).count(), 1);
    let known = net.nodes.values().filter(|node| node.engine.table().iter().any(|peer| peer.peer_id() == peer_id));
    assert!(known.count() >= 8);
}

#[test]
fn a_partition_heals_through_one_shared_contact() {
    // Two networks that never heard of each other; then one node of one learns of one of the other.
    let mut net = Net::new(3);
    for (part, first) in [(1, 0), (2, 40)] {
        for n in first..first + 40 {
            net.part.insert(n, part);
            net.add(n, if n == first { &[] } else { std::slice::from_ref(&first) }, |_| ());
            net.run(Duration::from_millis(500));
        }
    }
    net.run(Duration::from_secs(120));
    assert_eq!(net.component(), 40);
    net.part.clear();
    net.add(80, &[0, 40], |_| ());
    // Within two refresh periods.
    net.run(Duration::from_secs(600));
    assert_eq!(net.component(), 81);
    let mut recall = 0.0;
    for n in 0..20 {
        recall += net.recall(n * 4, Key::of_value(&[n as u8]), 20) / 20.0;
    }
    assert!(recall >= 0.99, "{recall}");
}

/// The halves forget each other. Then a node dials one of the other half for a protocol, as it remembers where that is.
#[test]
fn a_partition_heals_through_a_peer_that_was_dialed_for_a_protocol() {
    let mut net = joined(16, 4, |config| config.refresh_interval = Duration::from_secs(120));
    (0..16).for_each(|n| _ = net.part.insert(n, (n % 2) as u8));
    // A node that has contacts asks its bootstrap peer now and then: here that is of no use.
    net.kill(0);
    net.run(Duration::from_secs(900));
    assert_eq!(net.component(), 8);
    net.part.clear();
    net.run(Duration::from_secs(600));
    assert_eq!(net.component(), 8, "nobody knows of the other half");

    let record = net.engine(8).record().unwrap().clone();
    net.with(3, |engine, now| engine.connected_elsewhere(now, &record, address(8).ip()));
    net.run(Duration::from_secs(1));
    assert!(net.engine(3).table().iter().any(|peer| peer.peer_id() == record.peer_id()));
    assert_eq!(net.component(), 15);
    net.run(Duration::from_secs(900));
    let recall = (1..16).map(|n| net.recall(n, Key::of_value(&[n as u8]), 20)).sum::<f64>() / 15.0;
    assert!(recall > 0.999, "{recall}");
}

/// A peer is looked for among those that the first bootstrap peer to answer tells of. Where these are of no use, it is looked for
/// again among all.
#[test]
fn who_looks_for_a_peer_before_it_has_joined_finds_it_beyond_the_first_answer() {
    for seed in 0..10 {
        let mut net = Net::new(seed);
        for (part, first) in [(1, 0), (2, 10)] {
            for n in first..first + 6 {
                net.part.insert(n, part);
                net.add(n, if n == first { &[] } else { std::slice::from_ref(&first) }, |_| ());
                net.run(Duration::from_millis(500));
            }
        }
        net.run(Duration::from_secs(30));
        (1..6).for_each(|n| net.kill(n));
        net.part.clear();
        net.add(20, &[0, 10], |_| ());
        let wanted = net.engine(12).peer_id();
        let found = net.outcome(20, Command::FindPeer(wanted));
        assert!(matches!(&found, Outcome::FindPeer(Some(record)) if record.peer_id() == wanted), "{seed}: {found:?}");
    }
}

/// The bootstrap peer names the peer, which is then asked itself, and answers without its record.
#[test]
fn who_looks_for_a_peer_that_it_was_told_of_at_first_finds_it() {
    for seed in 0..10 {
        let mut net = joined(12, seed, |_| ());
        net.reticent.insert(5);
        net.add(20, &[0], |_| ());
        let wanted = net.engine(5).peer_id();
        let found = net.outcome(20, Command::FindPeer(wanted));
        assert!(matches!(&found, Outcome::FindPeer(Some(record)) if record.peer_id() == wanted), "{seed}: {found:?}");
    }
}
