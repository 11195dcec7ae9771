//! Who gets a place where there are few: peers that are kept connected, that are asked for, that were found.

use p2p::discovery::StaticDiscovery;
use p2p::{Config, Error, Node, PeerEvent};

use crate::common::{Host, World, eventually, everywhere, in_time, new_key, shutdown};

/// A node with two slots that keeps these, and finds the others.
async fn finder(world: &World, kept: &[&Host], found: &[Host]) -> Host {
    let dial_peers = kept.iter().map(|host| host.endpoint()).collect();
    let config = Config { outbound_slots: 2, dial_peers, ..world.config() };
    let found = StaticDiscovery::new(found.iter().map(Host::endpoint));
    let node = Node::builder(&new_key()).config(config).runtime(world.runtime.clone()).discovery(found);
    let node = node.build().unwrap();
    let host = Host { events: node.register_peer_events(), node };
    host.run().await.unwrap();
    host
}

async fn hosts<const N: usize>(world: &World) -> [Host; N] {
    let mut hosts = Vec::new();
    for _ in 0..N {
        hosts.push(world.host().await);
    }
    hosts.try_into().unwrap_or_else(|_| unreachable!())
}

#[test]
fn a_kept_peer_that_restarts_comes_back_while_discovery_fills_the_slots() {
    everywhere(|world| async move {
        let (key, others) = (new_key(), hosts::<4>(&world).await);
        let kept = world.build(&key, world.config());
        kept.run().await.unwrap();
        let at = kept.endpoint();
        let host = finder(&world, &[&kept], &others).await;
        eventually("all places are taken", || host.peers() == 3).await;
        let id = kept.peer_id();
        shutdown([kept]).await;
        eventually("it is gone", || host.peer(&id).is_none()).await;
        // Whoever was found does not go for it, nor is anybody found for its place.
        let again = world.build(&key, Config { listen_endpoints: vec![at.with_peer_id(None)], ..world.config() });
        again.run().await.unwrap();
        eventually("it is back", || host.peer(&id).is_some()).await;
        eventually("all are there", || host.peers() == 3).await;
        shutdown([host, again]).await;
        shutdown(others).await;
    });
}

#[test]
fn more_kept_peers_than_slots_are_all_kept() {
    everywhere(|world| async move {
        let kept = hosts::<5>(&world).await;
        let host = finder(&world, &kept.each_ref(), &[]).await;
        eventually("all of them are there", || host.peers() == 5).await;
        // And the slots are free.
        let others = hosts::<2>(&world).await;
        for other in &others {
            in_time("a dial", host.connect(&other.endpoint())).await.unwrap();
        }
        shutdown([host]).await;
        shutdown(kept).await;
        shutdown(others).await;
    });
}

#[test]
fn a_connect_by_hand_gets_a_slot_that_discovery_has_filled() {
    everywhere(|world| async move {
        let (found, asked) = (hosts::<4>(&world).await, hosts::<3>(&world).await);
        let mut host = finder(&world, &[], &found).await;
        eventually("the slots are taken", || host.peers() == 2).await;
        let first = [host.added().await.peer_id, host.added().await.peer_id];
        for other in &asked[..2] {
            in_time("a dial", host.connect(&other.endpoint())).await.unwrap();
        }
        // Those that were found have left in good order, and are told why.
        let mut left = Vec::new();
        while left.len() < 2 {
            if let PeerEvent::Removed { peer, reason } = in_time("an event", host.events.recv()).await.unwrap() {
                assert!(reason.is_local(), "{reason:?}");
                left.push(peer.peer_id);
            }
        }
        left.sort();
        let mut first = first.to_vec();
        first.sort();
        assert_eq!(left, first);
        // They are evicted, and no other.
        assert!(matches!(host.connect(&asked[2].endpoint()).await, Err(Error::SlotsFull)));
        assert_eq!(host.peers(), 2);
        shutdown([host]).await;
        shutdown(found).await;
        shutdown(asked).await;
    });
}

#[test]
fn more_kept_peers_than_there_are_places_are_refused_at_once() {
    everywhere(|world| async move {
        let mut config = Config { dial_peers: vec!["tcp://127.0.0.1:1".parse().unwrap(); 3], ..world.config() };
        config.limits.kept = 2;
        assert!(matches!(config.validate(), Err(Error::Config { field: "dial_peers", .. })));
        config.limits.kept = 3;
        config.outbound_slots = 0;
        config.validate().unwrap();
    });
}
