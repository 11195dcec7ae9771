//! The static list as a node uses it, in virtual time.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and runs on tokio's clock")]

use std::sync::Arc;
use std::time::Duration;

use p2p_core::{EventBus, PeerId, Runtime, TokioRuntime};
use p2p_discovery::{DiscoveredPeer, Discovery, DiscoveryContext, PeerConnectionEvent, StaticDiscovery};
use p2p_identity::DisconnectReason;
use p2p_identity::access::AllowAll;
use p2p_net::Endpoint;

fn context() -> DiscoveryContext {
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
    DiscoveryContext {
        runtime,
        peer_id: peer(1),
        record: Arc::new(|| None),
        listen_endpoints: Vec::new(),
        seeding_interval: Duration::from_secs(60),
        access_control: Arc::new(AllowAll),
        events: EventBus::new(8),
    }
}

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n + 8; 32]).unwrap()
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

/// What is offered within a time, in virtual seconds.
async fn offered(discovery: &StaticDiscovery, within: u64) -> Option<DiscoveredPeer> {
    tokio::time::timeout(Duration::from_secs(within), discovery.recv()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_is_offered_once_and_again_after_a_failure_with_growing_waits() {
    let (one, two) = (endpoint("tcp://192.0.2.1:1"), endpoint("quic://192.0.2.2:2"));
    let discovery = StaticDiscovery::new([one.clone(), two.clone()]);
    discovery.init(context());
    let mut both = vec![offered(&discovery, 1).await.unwrap(), offered(&discovery, 1).await.unwrap()];
    both.sort_by_key(|peer| peer.addrs[0].endpoint.clone());
    assert_eq!(both, [DiscoveredPeer::from(one.clone()), DiscoveredPeer::from(two.clone())]);
    assert_eq!(offered(&discovery, 3600).await, None);

    let mut waited = Vec::new();
    for _ in 0..6 {
        discovery.on_event(PeerConnectionEvent::ConnectFailed { peer_id: None, endpoint: one.clone() });
        let start = tokio::time::Instant::now();
        assert_eq!(offered(&discovery, 600).await, Some(one.clone().into()));
        waited.push(start.elapsed());
    }
    assert!(waited[0] <= Duration::from_secs(1) && waited[5] >= Duration::from_secs(15), "{waited:?}");
    discovery.on_event(PeerConnectionEvent::Connected { peer_id: peer(3), endpoint: one.clone(), outbound: true });
    assert_eq!(offered(&discovery, 3600).await, None);
    // The peer that answered there went: it is offered again, from the shortest wait on.
    let reason = DisconnectReason::RemoteShutdown;
    let gone = PeerConnectionEvent::Disconnected { peer_id: peer(3), endpoint: endpoint("tcp://192.0.2.9:9"), reason };
    discovery.on_event(gone);
    assert_eq!(offered(&discovery, 2).await, Some(one.into()));
}

#[tokio::test(start_paused = true)]
async fn the_list_changes_while_it_is_waited_on() {
    let discovery = StaticDiscovery::new([]);
    discovery.init(context());
    let waiting = tokio::spawn({
        let discovery = discovery.clone();
        async move { discovery.recv().await }
    });
    tokio::task::yield_now().await;
    let one = endpoint("tls://192.0.2.1:1");
    discovery.insert(one.clone());
    assert_eq!(waiting.await.unwrap(), one.clone().into());
    assert!(discovery.remove(&one) && !discovery.remove(&one));
    discovery.on_event(PeerConnectionEvent::ConnectFailed { peer_id: None, endpoint: one });
    assert_eq!(offered(&discovery, 3600).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_loses_nothing() {
    let one = endpoint("tcp://192.0.2.1:1");
    let discovery = StaticDiscovery::new([]);
    discovery.init(context());
    assert_eq!(offered(&discovery, 1).await, None);
    discovery.insert(one.clone());
    assert_eq!(offered(&discovery, 1).await, Some(one.into()));
}

#[tokio::test(start_paused = true)]
async fn a_banned_peer_is_left_out_for_a_while() {
    let one = endpoint("tcp://192.0.2.1:1").with_peer_id(peer(4));
    let discovery = StaticDiscovery::new([one.clone()]);
    discovery.init(context());
    assert!(offered(&discovery, 1).await.is_some());
    discovery.on_event(PeerConnectionEvent::Banned { peer_id: peer(4) });
    assert_eq!(offered(&discovery, 599).await, None);
    assert_eq!(offered(&discovery, 400).await, Some(one.into()));
}

#[tokio::test(start_paused = true)]
async fn an_own_address_is_left_out_until_the_network_changes_and_a_name_is_tried_again() {
    let (one, name) = (endpoint("tcp://192.0.2.1:1"), endpoint("tcp://peer.example:1"));
    let discovery = StaticDiscovery::new([one.clone(), name.clone()]);
    discovery.init(context());
    assert!(offered(&discovery, 1).await.is_some() && offered(&discovery, 1).await.is_some());
    for endpoint in [one.clone(), name.clone()] {
        discovery.on_event(PeerConnectionEvent::Own { endpoint });
    }
    assert_eq!(offered(&discovery, 100).await, Some(name.into()));
    assert_eq!(offered(&discovery, 100_000).await, None);
    discovery.network_changed();
    assert_eq!(offered(&discovery, 1).await, Some(one.into()));
}

#[test]
fn the_best_address_comes_first_and_names_the_peer() {
    let mut found = DiscoveredPeer::from(endpoint("tcp://192.0.2.1:1"));
    found.peer_id = Some(peer(5));
    found.addrs.push(p2p_net::PeerAddr { endpoint: endpoint("quic://192.0.2.1:2"), priority: 9 });
    let order = found.dial_order();
    assert_eq!(order[0], endpoint("quic://192.0.2.1:2").with_peer_id(peer(5)));
    assert_eq!(order[1], endpoint("tcp://192.0.2.1:1").with_peer_id(peer(5)));
}

#[tokio::test(start_paused = true)]
async fn whoever_was_never_met_is_offered_soon_after_a_long_time_without_network() {
    let one = endpoint("tcp://192.0.2.1:1");
    let discovery = StaticDiscovery::new([one.clone()]);
    discovery.init(context());
    assert!(offered(&discovery, 1).await.is_some());
    let failed = || discovery.on_event(PeerConnectionEvent::ConnectFailed { peer_id: None, endpoint: one.clone() });
    // Two hours in which nobody is connected: it says nothing of this one that it does not answer.
    for _ in 0..288 {
        failed();
        assert!(offered(&discovery, 26).await.is_some(), "it was not there for two hours");
    }
    // Where others are, it is not there.
    let (other, from) = (peer(9), endpoint("tcp://192.0.2.9:9"));
    discovery.on_event(PeerConnectionEvent::Connected { peer_id: other, endpoint: from.clone(), outbound: false });
    failed();
    assert_eq!(offered(&discovery, 149).await, None);
    assert!(offered(&discovery, 200).await.is_some());
    let reason = DisconnectReason::PingTimeout;
    discovery.on_event(PeerConnectionEvent::Disconnected { peer_id: other, endpoint: from, reason });
    failed();
    assert!(offered(&discovery, 26).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_dialed_us_first_is_offered_again_when_it_has_left() {
    let one = endpoint("tcp://192.0.2.1:1");
    let discovery = StaticDiscovery::new([one.clone()]);
    discovery.init(context());
    let from = endpoint("tcp://192.0.2.1:40000");
    discovery.on_event(PeerConnectionEvent::Connected { peer_id: peer(4), endpoint: from.clone(), outbound: false });
    assert_eq!(offered(&discovery, 1).await, Some(one.clone().into()));
    discovery.on_event(PeerConnectionEvent::Answered { peer_id: peer(4), endpoint: one.clone() });
    assert_eq!(offered(&discovery, 3600).await, None, "it is connected");
    let reason = DisconnectReason::RemoteShutdown;
    discovery.on_event(PeerConnectionEvent::Disconnected { peer_id: peer(4), endpoint: from, reason });
    assert_eq!(offered(&discovery, 2).await, Some(one.clone().into()));
    // Another one answers there now, and is gone before this is known.
    discovery.on_event(PeerConnectionEvent::Answered { peer_id: peer(5), endpoint: one.clone() });
    assert_eq!(offered(&discovery, 26).await, Some(one.into()));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_at_once_is_offered_ever_more_rarely() {
    let one = endpoint("tcp://192.0.2.1:1").with_peer_id(peer(4));
    let discovery = StaticDiscovery::new([one.clone()]);
    discovery.init(context());
    let start = tokio::time::Instant::now();
    let mut offers = Vec::new();
    while start.elapsed() < Duration::from_secs(3600) {
        assert!(offered(&discovery, 1000).await.is_some());
        offers.push(start.elapsed().as_secs());
        discovery.on_event(PeerConnectionEvent::Connected { peer_id: peer(4), endpoint: one.clone(), outbound: true });
        let (endpoint, reason) = (one.clone(), DisconnectReason::RemoteShutdown);
        discovery.on_event(PeerConnectionEvent::Disconnected { peer_id: peer(4), endpoint, reason });
        // It is not the network that is to blame.
        if offers.len() > 2 {
            discovery.network_changed();
        }
    }
    assert!(offers.iter().filter(|at| **at <= 60).count() <= 5, "{offers:?}");
    assert!(offers.len() <= 5 + 6, "then one in ten minutes: {offers:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_was_connected_is_offered_soon_after_a_long_time_without_network() {
    let (one, two) = (endpoint("tcp://192.0.2.1:1").with_peer_id(peer(4)), endpoint("tcp://192.0.2.2:2"));
    let discovery = StaticDiscovery::new([one.clone(), two.clone()]);
    discovery.init(context());
    assert!(offered(&discovery, 1).await.is_some() && offered(&discovery, 1).await.is_some());
    discovery.on_event(PeerConnectionEvent::Connected { peer_id: peer(4), endpoint: one.clone(), outbound: true });
    let (at, reason) = (one.clone(), DisconnectReason::PingTimeout);
    discovery.on_event(PeerConnectionEvent::Disconnected { peer_id: peer(4), endpoint: at, reason });
    for _ in 0..100 {
        let start = tokio::time::Instant::now();
        assert!(offered(&discovery, 30).await.is_some(), "it was not there for half an hour");
        assert!(start.elapsed() <= Duration::from_secs(26));
        discovery.on_event(PeerConnectionEvent::ConnectFailed { peer_id: Some(peer(4)), endpoint: one.clone() });
    }
    // One that never answered waits longer where others are, until the network changes.
    let (peer_id, endpoint) = (peer(9), endpoint("tcp://192.0.2.9:9"));
    discovery.on_event(PeerConnectionEvent::Connected { peer_id, endpoint, outbound: false });
    (0..20).for_each(|_| {
        discovery.on_event(PeerConnectionEvent::ConnectFailed { peer_id: None, endpoint: two.clone() });
    });
    discovery.on_event(PeerConnectionEvent::Banned { peer_id: peer(4) });
    assert_eq!(offered(&discovery, 100).await, None);
    discovery.network_changed();
    assert_eq!(offered(&discovery, 1).await, Some(two.into()));
    assert_eq!(offered(&discovery, 100).await, None, "a ban is a ban");
}

#[tokio::test(start_paused = true)]
async fn whoever_has_answered_before_goes_first_and_keeps_nobody_from_its_turn() {
    let nowhere = |n: u8| endpoint(&format!("tcp://192.0.2.{n}:1"));
    let discovery = StaticDiscovery::new((1..=100).map(nowhere));
    discovery.init(context());
    let mut order = Vec::new();
    for _ in 1..=100 {
        order.push(offered(&discovery, 1).await.unwrap().addrs[0].endpoint.clone());
    }
    assert!(!order.is_sorted(), "in the order of addresses somebody is always last");
    // Two have been connected; then all are away.
    for n in [70, 80] {
        let (peer_id, endpoint) = (peer(n), nowhere(n));
        discovery.on_event(PeerConnectionEvent::Connected { peer_id, endpoint: endpoint.clone(), outbound: true });
        let reason = DisconnectReason::PingTimeout;
        discovery.on_event(PeerConnectionEvent::Disconnected { peer_id, endpoint, reason });
    }
    for n in (1..=100).filter(|n| ![70, 80].contains(n)) {
        discovery.on_event(PeerConnectionEvent::ConnectFailed { peer_id: None, endpoint: nowhere(n) });
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut next = Vec::new();
    for _ in 0..4 {
        next.push(offered(&discovery, 1).await.unwrap().addrs[0].endpoint.clone());
    }
    let known = [nowhere(70), nowhere(80)];
    let turns: Vec<bool> = next.iter().map(|endpoint| known.contains(endpoint)).collect();
    assert_eq!(turns, [true, false, true, false], "{next:?}");
}
