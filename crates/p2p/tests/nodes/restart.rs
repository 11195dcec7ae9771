//! A node that comes back.

use std::path::Path;

use p2p::keypair::KeyPair;
use p2p::{Config, PeerEvent};

use crate::common::{Host, World, everywhere, in_time, over_tcp, shutdown};

async fn start(world: &World, key: &Path, state: &Path) -> Host {
    let key = KeyPair::load_or_generate(key).unwrap();
    let host = world.build(&key, Config { state_dir: Some(state.into()), ..world.config() });
    host.run().await.unwrap();
    host
}

#[test]
fn it_is_the_same_node_and_finds_its_peers_again() {
    everywhere(|world| async move {
        let folder = tempfile::tempdir().unwrap();
        let (key, state) = (folder.path().join("key.pem"), folder.path().join("state"));
        let (mut b, mut dials_us) = (world.host().await, world.host().await);
        let host = start(&world, &key, &state).await;
        let own = host.peer_id();
        host.connect(&b.endpoint()).await.unwrap();
        assert_eq!(b.added().await.peer_id, own);
        dials_us.connect(&host.endpoint()).await.unwrap();
        dials_us.added().await;
        // It is remembered before anything ends in good order.
        let file = state.join("peers");
        let peer = b.peer_id().to_string();
        let remembered = || std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&peer));
        crate::common::eventually("the peer is written down", remembered).await;
        shutdown([host]).await;
        b.removed().await;
        dials_us.removed().await;
        for ending in ["shutdown", "drop"] {
            let mut again = start(&world, &key, &state).await;
            assert_eq!(again.peer_id(), own, "another identity after {ending}");
            assert_eq!(b.added().await.peer_id, own);
            assert_eq!(again.added().await.peer_id, b.peer_id());
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains(&dials_us.peer_id().to_string()), "only who was dialed has an address that works");
            match ending {
                "shutdown" => shutdown([again]).await,
                _ => drop(again),
            }
            b.removed().await;
        }
        // A damaged file is no reason not to start.
        std::fs::write(&file, [0xff; 5000]).unwrap();
        let mut again = start(&world, &key, &state).await;
        again.connect(&b.endpoint()).await.unwrap();
        again.added().await;
        crate::common::eventually("it is written anew", remembered).await;
        shutdown([again, b, dials_us]).await;
    });
}

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    over_tcp(|_| async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let key = KeyPair::load_or_generate(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let text = std::fs::read(&path).unwrap();
        assert_eq!(KeyPair::load_or_generate(&path).unwrap().peer_id(), key.peer_id());
        assert_eq!(std::fs::read(&path).unwrap(), text);
        for damage in [&b""[..], b"not a key", &text[..text.len() / 2]] {
            std::fs::write(&path, damage).unwrap();
            let error = KeyPair::load_or_generate(&path).unwrap_err();
            assert!(error.to_string().contains("key.pem"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), damage);
        }
    });
}

#[test]
fn a_restarted_peer_replaces_its_stale_connection() {
    everywhere(|world| async move {
        let mut b = world.host().await;
        let key = crate::common::new_key();
        let first = world.build(&key, world.config());
        first.run().await.unwrap();
        first.connect(&b.endpoint()).await.unwrap();
        let stale = b.added().await;
        // The first one is still there, as one whose machine has lost its network would be.
        let second = world.build(&key, world.config());
        second.run().await.unwrap();
        in_time("connect", second.connect(&b.endpoint())).await.unwrap();
        let removed = in_time("Removed", b.events.recv()).await.unwrap();
        assert!(
            matches!(&removed, PeerEvent::Removed { peer, reason: p2p::DisconnectReason::Replaced }
                if peer.connection_id == stale.connection_id),
            "{removed:?}"
        );
        let fresh = b.added().await;
        assert_ne!(fresh.connection_id, stale.connection_id);
        assert_eq!(b.peers(), 1);
        shutdown([first, second, b]).await;
    });
}
