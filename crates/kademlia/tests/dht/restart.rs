//! What a node remembers.

use std::time::Duration;

use p2p_kademlia::{Dht, Joined, KademliaConfig};

use crate::common::{config, key_pair, network_of, node, patient, shut_down, simulated, tcp, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_comes_back_without_bootstrap_peers() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = network_of(8, |bootstrap| patient(tcp(bootstrap))).await;
    let remembering = |bootstrap: Option<&Dht>| KademliaConfig {
        state_dir: Some(folder.path().to_path_buf()),
        ..patient(tcp(bootstrap))
    };
    let first = node(100, remembering(Some(&nodes[0]))).await;
    until("it knows the others", || first.contacts().len() == 8).await;
    let seq = first.record().unwrap().seq();
    first.shutdown().await;
    drop(first);

    let again = node(100, remembering(None)).await;
    until("it has found them again", || again.contacts().len() == 8).await;
    assert!(again.record().unwrap().seq() > seq, "its new record counts more");
    let put = within("put", again.put("still here")).await.unwrap();
    assert_eq!(within("get", nodes[3].get(&put.key)).await.unwrap().as_deref(), Some(&b"still here"[..]));
    again.shutdown().await;

    // Whatever is in the files, a node starts; contacts that are whole are used.
    let contacts = folder.path().join("dht-contacts");
    #[expect(clippy::disallowed_methods, reason = "a test that damages files")]
    let damage = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = folder.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    };
    damage("dht-contacts", &|bytes| {
        let half = bytes.len() / 2;
        bytes.truncate(half);
    });
    damage("dht-seq", &|bytes| bytes.extend(b"rubbish"));
    let damaged = node(100, remembering(None)).await;
    until("half of them lead to all", || damaged.contacts().len() == 8).await;
    drop(damaged);
    for rubbish in [&b""[..], b"rubbish", &[0xff; 3 << 20]] {
        damage("dht-contacts", &|bytes| *bytes = rubbish.to_vec());
        let alone = node(100, remembering(None)).await;
        assert!(alone.contacts().is_empty());
        alone.shutdown().await;
    }
    // Records that their peers have not signed.
    let forger = node(101, remembering(Some(&nodes[0]))).await;
    until("it knows the others", || forger.contacts().len() >= 8).await;
    forger.shutdown().await;
    damage("dht-contacts", &|bytes| bytes.iter_mut().skip(60).step_by(50).for_each(|byte| *byte ^= 1));
    let fooled = node(100, remembering(None)).await;
    assert_eq!(within("nobody", fooled.joined()).await.unwrap(), Joined::First, "nothing of it is believed");
    assert!(fooled.contacts().is_empty());
    fooled.shutdown().await;
    assert!(contacts.exists());
    shut_down(nodes).await;
}

#[test]
fn a_node_that_dies_leaves_the_tables() {
    simulated(|| async {
        let short = |bootstrap: Option<&Dht>| KademliaConfig {
            refresh_interval: Duration::from_secs(3),
            dial_timeout: Duration::from_secs(1),
            ..tcp(bootstrap)
        };
        let mut nodes = network_of(6, short).await;
        until("everybody knows everybody", || nodes.iter().all(|dht| dht.contacts().len() == 5)).await;
        // Without a good-bye: its sockets are gone.
        let dead = nodes.pop().unwrap();
        let peer_id = dead.peer_id();
        drop(dead);
        let gone = |dht: &Dht| dht.contacts().iter().all(|record| record.peer_id() != peer_id);
        until("nobody has it any more", || nodes.iter().all(gone)).await;
        assert!(nodes.iter().all(|dht| dht.contacts().len() == 4), "the others are still there");
        shut_down(nodes).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_ends_everything() {
    let dht = node(1, config(None)).await;
    let endpoints = dht.endpoints();
    let other = node(3, config(Some(&dht))).await;
    until("it is known", || dht.contacts().len() == 1).await;
    let _providing = within("provide", dht.provide(dht.key())).await.unwrap();
    drop(dht);
    other.shutdown().await;
    let rebind = || {
        let config = KademliaConfig { discovery_endpoints: endpoints.clone(), ..KademliaConfig::loopback() };
        async move {
            let again = Dht::new(&key_pair(2), config).unwrap();
            again.run().await.map(|()| again)
        }
    };
    let runtime = p2p_core::runtime::current().unwrap();
    let again = within("the ports are free", async {
        loop {
            if let Ok(again) = rebind().await {
                return again;
            }
            // Real time: it is only tried again.
            runtime.sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    again.shutdown().await;
}
