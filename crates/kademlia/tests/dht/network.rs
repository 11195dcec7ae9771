//! Finding nodes.

use p2p_kademlia::{Key, Mode};

use crate::common::{alone, closest_of, key_pair, network, shut_down, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_finds_the_closest_nodes_and_each_other() {
    let _alone = alone().await;
    let nodes = network(30).await;
    let mut found = 0;
    for (n, dht) in nodes.iter().enumerate() {
        assert_eq!(dht.mode(), Mode::Server, "the loopback counts at once");
        let key = Key::of_value(&[n as u8]);
        let records = within("closest", dht.closest(&key)).await.unwrap();
        let keys: Vec<Key> = records.iter().map(|record| Key::of_peer("default", &record.peer_id())).collect();
        found += closest_of(&nodes, dht, &key, 20).iter().filter(|one| keys.contains(one)).count();

        let other = &nodes[(n + 11) % nodes.len()];
        let record = within("find", dht.find_peer(&other.peer_id())).await.unwrap().expect("it is there");
        assert_eq!((record.peer_id(), record.discovery_addrs().len()), (other.peer_id(), 2));
    }
    // All that there are; one connection in a hundred may fail on a loaded machine.
    assert!(found >= 30 * 20 * 99 / 100, "{found} of {}", 30 * 20);
    let size = nodes[3].network_size().expect("lookups have ended");
    assert!(size.low <= 29.0 && size.high >= 29.0, "{size:?}");
    let nobody = within("find", nodes[0].find_peer(&key_pair(999).peer_id())).await.unwrap();
    assert_eq!(nobody, None);
    shut_down(nodes).await;
}

#[tokio::test]
async fn a_node_alone_says_so() {
    use p2p_kademlia::{Dht, DhtError, KademliaConfig};

    let dht = Dht::new(&key_pair(1), KademliaConfig::loopback()).unwrap();
    assert!(matches!(dht.put("x").await, Err(p2p_identity::Error::NotRunning)));
    dht.run().await.unwrap();
    assert!(matches!(dht.run().await, Err(p2p_identity::Error::AlreadyRunning)));
    assert!(within("closest", dht.closest(&dht.key())).await.unwrap().is_empty());
    // It keeps what it is given: it is the closest there is.
    assert_eq!(within("put", dht.put("x")).await.unwrap().stored, 1);
    dht.shutdown().await;
    assert!(matches!(dht.get(&dht.key()).await, Err(p2p_identity::Error::ShutDown)));
    assert_eq!(dht.tasks(), 0);

    // In vain, and at once rather than after all time-outs: the port is closed.
    let config = KademliaConfig {
        bootstrap_peers: vec!["tcp://127.0.0.1:1".parse().unwrap()],
        discovery_endpoints: Vec::new(),
        ..KademliaConfig::loopback()
    };
    let client = Dht::new(&key_pair(2), config).unwrap();
    client.run().await.unwrap();
    let error = within("put", client.put("x")).await.unwrap_err();
    assert_eq!(DhtError::of(&error), Some(DhtError::NoNodes));
    client.shutdown().await;
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transports_mix() {
    use crate::common::{config, network_of};
    use p2p_kademlia::KademliaConfig;

    let _alone = alone().await;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mixed = |bootstrap: Option<&p2p_kademlia::Dht>| {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let endpoint = format!("{}://127.0.0.1:0", ["quic", "tls", "tcp"][n % 3]).parse().unwrap();
        KademliaConfig { discovery_endpoints: vec![endpoint], ..config(bootstrap) }
    };
    let nodes = network_of(9, mixed).await;
    let put = within("put", nodes[1].put("over everything")).await.unwrap();
    assert_eq!(put.stored, 9);
    for dht in &nodes {
        assert!(within("get", dht.get(&put.key)).await.unwrap().is_some());
    }
    shut_down(nodes).await;
}
