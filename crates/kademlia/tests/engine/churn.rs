//! Nodes that come and go.

use std::time::Duration;

use p2p_kademlia::Key;
use p2p_kademlia::engine::KademliaEvent;

use crate::net::joined;

#[test]
fn the_dead_leave_the_tables_and_answers() {
    let mut net = joined(60, 4, |config| config.refresh_interval = Duration::from_secs(60));
    for n in 40..52 {
        net.kill(n);
    }
    // Dead contacts cost time at first, and no recall.
    let mut recall = 0.0;
    for n in 0..20 {
        recall += net.recall(n, Key::of_value(&[n as u8]), 20) / 20.0;
    }
    assert!(recall > 0.95, "{recall}");
    // Three failed checks, a while apart.
    net.run(Duration::from_secs(400));
    for (n, node) in &net.nodes {
        let dead = node
            .engine
            .table()
            .iter()
            .filter(|peer| (40..52).any(|dead| crate::net::key_pair(dead).peer_id() == peer.peer_id()));
        assert_eq!(dead.count(), 0, "node {n}");
    }
    assert!(net.nodes[&3].seen.iter().any(|event| matches!(event, KademliaEvent::ContactRemoved(_))));
    assert!(net.nodes[&3].seen.iter().any(|event| matches!(event, KademliaEvent::RefreshEnded { checked: 1.., .. })));
}

#[test]
fn lookups_find_their_way_while_nodes_come_and_go() {
    let mut net = joined(60, 5, |_| ());
    let (mut recall, mut lookups) = (0.0, 0);
    for round in 0..25 {
        // Every node lives for about ten minutes.
        let oldest = round * 2 + 1;
        for n in [oldest, oldest + 1] {
            net.kill(n);
            let entry = *net.nodes.keys().next_back().unwrap();
            net.add(100 + n, &[0, entry], |_| ());
        }
        net.run(Duration::from_secs(20));
        if round % 3 == 0 {
            let asker = *net.nodes.keys().nth(30).unwrap();
            recall += net.recall(asker, Key::of_value(&[round as u8]), 20);
            lookups += 1;
        }
    }
    let recall = recall / f64::from(lookups);
    assert!(recall > 0.97, "{recall}");
}

#[test]
fn when_nobody_answers_the_table_is_kept() {
    let mut net = joined(30, 6, |config| config.refresh_interval = Duration::from_secs(60));
    let before = net.engine(7).table().len();
    net.part.insert(7, 9);
    net.run(Duration::from_secs(1800));
    assert!(net.engine(7).table().len() + 3 >= before, "{} of {before}", net.engine(7).table().len());
    net.part.clear();
    net.run(Duration::from_secs(120));
    assert!(net.recall(7, Key::of_value(b"back"), 20) > 0.99);
}
