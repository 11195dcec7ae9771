//! Finding nodes.

use p2p_kademlia::{Key, Mode};

use crate::common::{closest_of, key_pair, network, shut_down, simulated, until, within};

#[test]
fn everybody_finds_the_closest_nodes_and_each_other() {
    simulated(|| async {
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
        // All that there are.
        assert_eq!(found, 30 * 20);
        // The lookups of a network that grew are followed by those of the whole one.
        let is_right = || nodes[3].network_size().is_some_and(|size| size.low <= 29.0 && size.high >= 29.0);
        until("the size is known", is_right).await;
        let nobody = within("find", nodes[0].find_peer(&key_pair(999).peer_id())).await.unwrap();
        assert_eq!(nobody, None);
        shut_down(nodes).await;
    });
}

#[tokio::test]
async fn a_node_alone_says_so() {
    use p2p_kademlia::{Dht, DhtError, KademliaConfig};

    let dht = Dht::new(&key_pair(1), KademliaConfig::loopback()).unwrap();
    assert!(matches!(dht.put("x").await, Err(p2p_identity::Error::NotRunning)));
    assert!(matches!(dht.providers(&dht.key()), Err(p2p_identity::Error::NotRunning)));
    dht.run().await.unwrap();
    assert!(matches!(dht.run().await, Err(p2p_identity::Error::AlreadyRunning)));
    assert!(within("closest", dht.closest(&dht.key())).await.unwrap().is_empty());
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

#[test]
fn a_server_that_knows_nobody_stores_nothing() {
    simulated(|| async {
        use crate::common::{node, tcp};
        use p2p_kademlia::DhtError;

        let server = node(1, tcp(None)).await;
        let key = Key::of_value(b"a song");
        let told = within("put", server.put("x")).await.unwrap_err();
        assert_eq!(DhtError::of(&told), Some(DhtError::NoNodes));
        // What was not stored is not in the way either.
        for _ in 0..2 {
            let told = within("put", server.put_mutable("status", "x", Some(0))).await.unwrap_err();
            assert_eq!(DhtError::of(&told), Some(DhtError::NoNodes));
        }
        let told = within("provide", server.provide(key)).await.map(drop).unwrap_err();
        assert_eq!(DhtError::of(&told), Some(DhtError::NoNodes));
        assert!(within("no provider", server.providers(&key).unwrap().next()).await.is_none());

        // Receipts count others, and it keeps what they keep.
        let other = node(2, tcp(Some(&server))).await;
        until("they meet", || server.contacts().len() == 1 && other.contacts().len() == 1).await;
        let put = within("put", server.put("x")).await.unwrap();
        assert_eq!(put.stored, 1);
        other.shutdown().await;
        assert!(within("get", server.get(&put.key)).await.unwrap().is_some());
        server.shutdown().await;
    });
}

/// A node that was made on a runtime which is gone.
async fn orphan(n: u16, bootstrap: Option<p2p_kademlia::Dht>) -> p2p_kademlia::Dht {
    use crate::common::{node, tcp};

    let (tell, made) = tokio::sync::oneshot::channel();
    #[expect(clippy::disallowed_methods, reason = "a runtime ends outside of others")]
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let dht = node(n, tcp(bootstrap.as_ref())).await;
            if bootstrap.is_some() {
                until("it knows somebody", || dht.contacts().len() == 1).await;
            }
            let _ = tell.send(dht);
        });
    });
    let dht = within("a node", made).await.unwrap();
    thread.join().unwrap();
    dht
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_runtime_is_gone_stores_nothing() {
    use crate::common::{node, tcp};
    use p2p_identity::Error;

    let server = node(1, tcp(None)).await;
    for bootstrap in [None, Some(server.clone())] {
        let dht = orphan(2, bootstrap).await;
        assert!(matches!(within("put", dht.put("x")).await, Err(Error::ShutDown)));
        assert!(matches!(within("provide", dht.provide(dht.key())).await, Err(Error::ShutDown)));
        assert!(matches!(within("get", dht.get(&dht.key())).await, Err(Error::ShutDown)));
        assert!(matches!(dht.providers(&dht.key()), Err(Error::ShutDown)));
    }
    server.shutdown().await;
}

#[cfg(feature = "quic")]
#[test]
fn transports_mix() {
    simulated(|| async {
        use crate::common::{config, network_of};
        use p2p_kademlia::KademliaConfig;

        let next = std::sync::atomic::AtomicUsize::new(0);
        let mixed = |bootstrap: Option<&p2p_kademlia::Dht>| {
            let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let endpoint = format!("{}://127.0.0.1:0", ["quic", "tls", "tcp"][n % 3]).parse().unwrap();
            KademliaConfig { discovery_endpoints: vec![endpoint], ..config(bootstrap) }
        };
        let nodes = network_of(9, mixed).await;
        let put = within("put", nodes[1].put("over everything")).await.unwrap();
        assert_eq!(put.stored, 8);
        for dht in &nodes {
            assert!(within("get", dht.get(&put.key)).await.unwrap().is_some());
        }
        shut_down(nodes).await;
    });
}

#[test]
fn networks_and_policies_keep_apart() {
    simulated(|| async {
        use crate::common::{node, tcp};
        use p2p_identity::DenyList;
        use p2p_kademlia::KademliaConfig;
        use std::sync::Arc;

        let denied = DenyList::new();
        let first = node(1, KademliaConfig { access_control: Arc::new(denied.clone()), ..tcp(None) }).await;
        let other = node(2, KademliaConfig { network: "another".into(), ..tcp(Some(&first)) }).await;
        denied.insert(key_pair(3).peer_id());
        let unwanted = node(3, tcp(Some(&first))).await;
        let friend = node(4, tcp(Some(&first))).await;
        until("friends meet", || first.contacts().len() == 1 && friend.contacts().len() == 1).await;
        assert_eq!(first.contacts()[0].peer_id(), friend.peer_id());
        assert!(other.contacts().is_empty() && unwanted.contacts().is_empty());
        // A friend that is one no more: it is asked no more, and does not get an answer.
        denied.insert(friend.peer_id());
        assert_eq!(within("get", first.get(&Key::of_value(b"x"))).await.unwrap(), None);
        until("it is forgotten", || first.contacts().is_empty()).await;
        let put = within("put", friend.put("for nobody else")).await;
        assert_eq!(p2p_kademlia::DhtError::of(&put.unwrap_err()), Some(p2p_kademlia::DhtError::NoNodes));
        shut_down(vec![first, other, unwanted, friend]).await;
    });
}

/// A listener of somebody else's, whose handshakes end in lookups for us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_others_accepted_are_served() {
    use crate::common::{config, node};
    use p2p_identity::{HandshakeParams, Opening, Purpose, RejectReason, Terms, TlsIdentity};
    use p2p_kademlia::{Dht, KademliaConfig};
    use p2p_net::{NetConfig, SendLimits, Transports};
    use std::sync::Arc;
    use std::time::Duration;

    let keys = key_pair(1);
    let mut net = NetConfig::default();
    net.tls = Some(TlsIdentity::new(&keys).unwrap().configs());
    let transports = Transports::new(p2p_core::runtime::current().unwrap(), net);
    let listener = transports.listen(&"tls://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let endpoint = listener.local_endpoint();
    let settings = KademliaConfig { discovery_endpoints: Vec::new(), ..config(None) };
    let dht = Dht::builder(&keys).config(settings).transports(transports.clone()).addrs(vec![endpoint.clone()]);
    let dht = dht.build().unwrap();
    dht.run().await.unwrap();
    assert_eq!(dht.record().unwrap().addrs()[0].endpoint.port(), endpoint.port());

    let (served, runtime) = (dht.clone(), dht.runtime().clone());
    let accepting = p2p_core::TaskGroup::new(runtime.clone());
    accepting.spawn("a pool's listener", async move {
        let mut params = HandshakeParams::new(keys, 1);
        params.serves = vec![Purpose::Peer, Purpose::Lookup];
        while let Ok(incoming) = listener.accept().await {
            let connection = incoming.accept().await.unwrap();
            let opening = Opening::accepted(connection, |_| Arc::new(params.clone()), &*runtime).unwrap();
            let terms = Terms {
                runtime: &*runtime,
                budget: &transports.config().budget,
                // A pool's control messages are shorter than answers may be.
                limits: SendLimits { max_message: 16 << 10, queue_messages: 64, queue_bytes: 32 << 10 },
                priority: 0,
                deadline: runtime.now() + Duration::from_secs(20),
                progress: &|| {},
            };
            served.serve(opening.authenticate(terms, |_, _| Ok::<_, RejectReason>(())).await.unwrap());
        }
    });
    let other = node(2, KademliaConfig { bootstrap_peers: vec![endpoint], ..config(None) }).await;
    until("they meet", || other.contacts().len() == 1 && dht.contacts().len() == 1).await;
    let put = within("put", other.put("x")).await.unwrap();
    assert_eq!(put.stored, 1);
    other.shutdown().await;
    dht.shutdown().await;
    accepting.shutdown().await;
}
