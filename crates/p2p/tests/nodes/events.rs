//! What listeners are told of peers that come and go in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p::discovery::{DiscoveredPeer, Discovery, PeerConnectionEvent};
use p2p::endpoint::Transport;
use p2p::protocol::ProtocolKind;
use p2p::{
    Config, ConnectionId, DisconnectReason, Error, EventListener, Limits, Node, PeerEvent, PeerId, PeerPoolEvent,
    PeerPoolEventKind, Runtime, async_trait,
};

use crate::common::{World, eventually, everywhere, new_key, shutdown};

const CLIENTS: usize = 4;
const ROUNDS: usize = 12;

/// Follows events and checks that `Added` and `Removed` of each peer alternate.
struct Follower {
    events: EventListener<PeerEvent>,
    present: BTreeMap<PeerId, ConnectionId>,
    ended: usize,
}

impl Follower {
    fn catch_up(&mut self) {
        while let Some(event) = self.events.try_recv() {
            match event.unwrap() {
                PeerEvent::Added { peer } => {
                    let before = self.present.insert(peer.peer_id, peer.connection_id);
                    assert_eq!(before, None, "added twice");
                }
                PeerEvent::Removed { peer, .. } => {
                    assert_eq!(self.present.remove(&peer.peer_id), Some(peer.connection_id), "removed another");
                    self.ended += 1;
                }
                _ => {}
            }
        }
    }
}

/// Comes and goes in all ways.
async fn churn(world: &World, hub: &crate::common::Host) {
    let mut client = world.host().await;
    let _conns = client.hold("/x", ProtocolKind::Optional);
    for round in 0..ROUNDS {
        let (own, peer) = (client.peer_id(), hub.peer_id());
        if (1..=3).contains(&(round % 6)) {
            // Where the hub acts, it must be on the new connection.
            eventually("the hub has let the last connection go", || hub.peer(&own).is_none()).await;
        }
        while client.connect(&hub.endpoint()).await.is_err() {
            // It was banned a moment ago.
            // Real time: it is only tried again.
            world.runtime.sleep(Duration::from_millis(5)).await;
        }
        // The hub may be a moment behind, or about to refuse it after all.
        eventually("the hub has decided", || hub.peer(&own).is_some() || client.peers() == 0).await;
        match round % 6 {
            0 => client.disconnect(&peer, 0, "").await,
            1 => hub.disconnect(&own, 0, "").await,
            2 => hub.ban(&own, Duration::from_millis(20)),
            3 => drop(tokio::join!(client.disconnect(&peer, 0, ""), hub.disconnect(&own, 0, ""))),
            4 => {
                // Restarts with the same key, without a word.
                let key = client.key_pair().clone();
                let fresh = world.build(&key, world.config());
                fresh.run().await.unwrap();
                drop(std::mem::replace(&mut client, fresh));
            }
            _ => {
                let key = client.key_pair().clone();
                let fresh = world.build(&key, world.config());
                fresh.run().await.unwrap();
                shutdown([std::mem::replace(&mut client, fresh)]).await;
            }
        }
        eventually("the client is alone", || client.peers() == 0).await;
    }
    shutdown([client]).await;
}

#[test]
fn added_and_removed_alternate_whatever_happens() {
    everywhere(|world| async move {
        let limits = Limits { event_queue: 10_000, ..Limits::default() };
        let hub = world.host_with(Config { limits, ..world.config() }).await;
        let _conns = hub.hold("/x", ProtocolKind::Optional);
        let follow = |(peers, events): (Vec<p2p::PeerInfo>, _)| Follower {
            present: peers.into_iter().map(|peer| (peer.peer_id, peer.connection_id)).collect(),
            events,
            ended: 0,
        };
        let mut first = follow(hub.watch_peers());
        let mut pool = hub.monitor().register::<PeerPoolEvent>();
        let mut later = Vec::new();
        let clients = futures_util::future::join_all((0..CLIENTS).map(|_| churn(&world, &hub)));
        let watching = async {
            // Listeners that begin in the middle of it all miss nothing and see nothing twice.
            loop {
                later.push(follow(hub.watch_peers()));
                first.catch_up();
                // Real time: more listeners begin, however many there are by the end.
                world.runtime.sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            _ = clients => {}
            () = watching => {}
        }
        eventually("the hub is alone", || hub.peers() == 0).await;
        for follower in later.iter_mut().chain([&mut first]) {
            follower.catch_up();
            assert!(follower.present.is_empty(), "{:?}", follower.present);
            assert_eq!(follower.events.lost(), 0);
        }
        assert!(first.ended >= CLIENTS * ROUNDS / 2, "{}", first.ended);
        let (mut new, mut gone) = (0, 0);
        while let Some(event) = pool.try_recv() {
            match event.unwrap().kind {
                PeerPoolEventKind::NewPeer => new += 1,
                PeerPoolEventKind::RemovePeer { .. } => gone += 1,
                _ => {}
            }
        }
        assert_eq!((new, gone), (first.ended, first.ended));
        shutdown([hub]).await;
    });
}

#[test]
fn a_peer_is_described_alike_everywhere() {
    everywhere(|world| async move {
        let (mut a, mut b) = (world.host().await, world.host().await);
        let (mut conns, _there) = (a.hold("/x", ProtocolKind::Optional), b.hold("/x", ProtocolKind::Optional));
        a.connect(&b.endpoint()).await.unwrap();
        let (at_a, at_b) = (a.added().await, b.added().await);
        let conn = conns.recv().await.unwrap();
        assert_eq!((at_a.peer_id, at_b.peer_id), (b.peer_id(), a.peer_id()));
        assert_eq!(
            (conn.peer_id(), conn.connection_id(), conn.direction()),
            (at_a.peer_id, at_a.connection_id, at_a.direction)
        );
        assert_eq!(conn.remote_endpoint(), &b.endpoint());
        assert_eq!(at_a.endpoint, b.endpoint());
        assert_eq!(a.outbound_peers(), BTreeMap::from([(b.peer_id(), b.endpoint())]));
        assert!(a.inbound_peers().is_empty() && b.outbound_peers().is_empty());
        assert_eq!(b.inbound_peers(), BTreeMap::from([(a.peer_id(), at_b.endpoint.clone())]));
        assert_eq!(at_b.endpoint.transport(), world.transport);
        let protocols = BTreeSet::from([crate::common::id("/x")]);
        assert_eq!((&at_a.protocols, &at_b.protocols), (&protocols, &protocols));
        assert_eq!(a.peer_protocols(&b.peer_id()), Some(protocols));
        assert_eq!(conn.remote_version(), &"0.1.0".parse().unwrap());
        eventually("the round trip is measured", || a.peer(&b.peer_id()).is_some_and(|peer| peer.rtt.is_some())).await;
        assert!(conn.rtt().is_some());
        a.shutdown().await;
        assert_eq!(a.removed().await, DisconnectReason::LocalShutdown);
        assert_eq!(b.removed().await, DisconnectReason::RemoteShutdown);
        shutdown([a, b]).await;
    });
}

/// A discovery that finds nobody and knows who is connected.
#[derive(Default)]
struct Knows {
    connected: Mutex<BTreeSet<PeerId>>,
    told: AtomicUsize,
}

#[async_trait]
impl Discovery for Knows {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        Ok(())
    }

    async fn shutdown(&self) {}

    async fn recv(&self) -> DiscoveredPeer {
        std::future::pending().await
    }

    fn on_event(&self, event: PeerConnectionEvent) {
        self.told.fetch_add(1, Ordering::Relaxed);
        let mut connected = self.connected.lock().unwrap();
        match event {
            PeerConnectionEvent::Connected { peer_id, .. } => assert!(connected.insert(peer_id), "told twice"),
            PeerConnectionEvent::Disconnected { peer_id, .. } | PeerConnectionEvent::Banned { peer_id } => {
                assert!(connected.remove(&peer_id), "it was not there");
            }
            _ => {}
        }
    }

    fn find_peers_with(&self, _: &[u8]) -> Vec<DiscoveredPeer> {
        Vec::new()
    }
}

/// On one thread, so that what happens at once has happened before anybody is told.
#[test]
fn a_discovery_that_was_told_late_knows_who_is_gone() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let runtime: Arc<dyn Runtime> = Arc::new(p2p::TokioRuntime::current().unwrap());
        let world = World { runtime, transport: Transport::Tcp, is_tokio: true };
        let knows = Arc::new(Knows::default());
        let config = Config { limits: Limits { event_queue: 1, ..Limits::default() }, ..world.config() };
        let builder = Node::builder(&new_key()).config(config).runtime(world.runtime.clone());
        let hub = builder.discovery(knows.clone()).build().unwrap();
        hub.run().await.unwrap();
        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(world.host().await);
        }
        for client in &clients {
            client.connect(&hub.listen_endpoints()[0]).await.unwrap();
        }
        eventually("all are known", || knows.connected.lock().unwrap().len() == 6).await;
        let before = knows.told.load(Ordering::Relaxed);
        for client in &clients[..5] {
            hub.ban(&client.peer_id(), Duration::from_millis(1));
        }
        let left = BTreeSet::from([clients[5].peer_id()]);
        eventually("it knows who is left", || *knows.connected.lock().unwrap() == left).await;
        // Each of them was told of once.
        assert_eq!(knows.told.load(Ordering::Relaxed) - before, 5);
        hub.shutdown().await;
        shutdown(clients).await;
    });
}
