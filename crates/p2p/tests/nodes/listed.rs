//! Peers on a list of endpoints.

use p2p::discovery::StaticDiscovery;
use p2p::{Config, Node, PeerPoolEvent, PeerPoolEventKind};

use crate::common::{Host, eventually, everywhere, in_time, new_key, shutdown};

#[test]
fn a_listed_peer_that_dialed_us_first_is_dialed_again_when_it_has_left() {
    everywhere(|world| async move {
        let (key, list) = (new_key(), StaticDiscovery::new([]));
        let node = Node::builder(&new_key()).config(world.config()).runtime(world.runtime.clone());
        let node = node.discovery(list.clone()).build().unwrap();
        let mut host = Host { events: node.register_peer_events(), node };
        host.run().await.unwrap();
        let peer = world.build(&key, world.config());
        peer.run().await.unwrap();
        peer.connect(&host.endpoint()).await.unwrap();
        host.added().await;
        // Listed without an id: who answers there shows when it is dialed.
        let (at, mut told) = (peer.endpoint().with_peer_id(None), host.monitor().register::<PeerPoolEvent>());
        list.insert(at.clone());
        let known = async {
            loop {
                if let PeerPoolEventKind::PeerAlreadyConnected = told.recv().await.unwrap().kind {
                    return;
                }
            }
        };
        in_time("it is dialed", known).await;
        shutdown([peer]).await;
        eventually("it has left", || host.peers() == 0).await;
        let again = world.build(&key, Config { listen_endpoints: vec![at], ..world.config() });
        again.run().await.unwrap();
        eventually("it is dialed again", || host.peer(&again.peer_id()).is_some()).await;
        shutdown([host, again]).await;
    });
}
