//! The DHT as a node's discovery.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use p2p_core::{EventBus, PeerId};
use p2p_discovery::{Discovery, DiscoveryContext, DiscoveryEventKind, PeerConnectionEvent};
use p2p_identity::{AllowAll, DisconnectReason, Error, ProtocolKind};
use p2p_kademlia::{Dht, KademliaDiscovery};

use crate::common::{key_pair, simulated, tcp, until, within};

/// A node's discovery, as a node would use it; its peers are taken at an endpoint that nobody listens at.
async fn start(
    n: u16,
    bootstrap: Option<&Dht>,
    items: &[(&str, ProtocolKind)],
    events: &EventBus<p2p_discovery::DiscoveryEvent>,
) -> Arc<KademliaDiscovery> {
    let dht = Dht::new(&key_pair(n), tcp(bootstrap)).unwrap();
    let discovery = KademliaDiscovery::new(dht);
    let (runtime, peer_id) = (discovery.dht().runtime().clone(), discovery.dht().peer_id());
    assert!(matches!(discovery.clone().start().await, Err(Error::NotRunning)), "it has no node yet");
    discovery.init(DiscoveryContext {
        runtime,
        peer_id,
        record: Arc::new(|| None),
        listen_endpoints: vec![format!("tcp://127.0.0.1:{}", 20_000 + n).parse().unwrap()],
        seeding_interval: Duration::from_secs(1),
        access_control: Arc::new(AllowAll),
        events: events.clone(),
    });
    for (item, kind) in items {
        discovery.advertise(item.as_bytes(), *kind);
    }
    discovery.clone().start().await.unwrap();
    discovery
}

#[test]
fn peers_that_have_what_is_wanted_are_handed_out_once_and_promptly() {
    simulated(|| async {
        let events = EventBus::new(1024);
        let mut listener = events.register();
        let chat = [("chat", ProtocolKind::Mandatory)];
        let mut nodes: Vec<Arc<KademliaDiscovery>> = Vec::new();
        for n in 0..8 {
            let bootstrap = nodes.first().map(|first| first.dht().clone());
            let items: &[_] = if n % 2 == 0 { &chat } else { &[("files", ProtocolKind::Mandatory)] };
            nodes.push(start(n, bootstrap.as_ref(), items, &events).await);
        }
        let seeker = &nodes[2];
        let mut found = BTreeSet::new();
        for _ in 0..3 {
            let peer = within("a peer", seeker.recv()).await;
            let peer_id = peer.peer_id.unwrap();
            assert!(found.insert(peer_id), "once");
            let endpoint = peer.addrs[0].endpoint.clone();
            assert_eq!(endpoint.peer_id(), Some(peer_id));
            seeker.on_event(PeerConnectionEvent::Connected { peer_id, endpoint, outbound: true });
        }
        let expected: BTreeSet<PeerId> = [0, 4, 6].map(|n: usize| nodes[n].dht().peer_id()).into();
        assert_eq!(found, expected);
        let runtime = seeker.dht().runtime().clone();
        assert!(runtime.timeout(Duration::from_secs(1), seeker.recv()).await.is_err(), "there is nobody else");

        // Who went comes again, later.
        let peer_id = nodes[4].dht().peer_id();
        let endpoint: p2p_net::Endpoint = "tcp://127.0.0.1:20004".parse().unwrap();
        seeker.on_event(PeerConnectionEvent::Disconnected {
            peer_id,
            endpoint,
            reason: DisconnectReason::RemoteShutdown,
        });
        assert_eq!(within("again", seeker.recv()).await.peer_id, Some(peer_id));

        // From the table, at once.
        until("it knows who has files", || seeker.find_peers_with(b"files").len() == 4).await;
        assert!(seeker.find_peers_with(b"nothing of the kind").is_empty());
        // Over the network, exactly.
        let key = p2p_kademlia::Key::of_value(b"files");
        until("they are provided", || nodes[1].dht().busy().0 == 0).await;
        let mut exact = BTreeSet::new();
        let mut providers = seeker.dht().providers(&key).unwrap();
        while let Some(record) = within("providers", providers.next()).await {
            exact.insert(record.peer_id());
        }
        let having: BTreeSet<PeerId> = [1, 3, 5, 7].map(|n: usize| nodes[n].dht().peer_id()).into();
        assert!(exact.is_subset(&having) && !exact.is_empty(), "{exact:?}");

        nodes[1].unadvertise(b"files");
        until("everybody hears of it", || seeker.find_peers_with(b"files").len() == 3).await;

        let mut kinds = Vec::new();
        while let Some(Ok(event)) = listener.try_recv() {
            kinds.push(event.kind);
        }
        assert!(kinds.contains(&DiscoveryEventKind::LookupStarted), "{kinds:?}");
        assert!(kinds.iter().any(|kind| matches!(kind, DiscoveryEventKind::LookupSucceeded(1..))), "{kinds:?}");
        for discovery in nodes {
            discovery.shutdown().await;
            assert_eq!(discovery.dht().tasks(), 0);
        }
    });
}
