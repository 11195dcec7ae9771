//! Nodes that answer badly.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use p2p_identity::{KeyPair, PeerRecord, encode};
use p2p_kademlia::message::{Closer, Datagram, NONCE_LEN, Ping};
use p2p_kademlia::{Dht, KademliaConfig, Key, Request, Response, StoredValue};

use super::attacker::{Lie, Responder, responder};
use crate::common::{closest_of, key_pair, network_of, node, shut_down, simulated, tcp, until, within};

fn lie(lie: impl Fn(&Request, &PeerRecord) -> Option<Bytes> + Send + Sync + 'static) -> Lie {
    Arc::new(lie)
}

/// Contacts, as an answer to a request of any kind that wants them.
fn contacts(request: &Request, contacts: Vec<PeerRecord>) -> Option<Bytes> {
    let closer = Closer { contacts, seq: 1, observed: None };
    let response = match request {
        Request::GetValue { .. } => Response::Value { value: None, closer },
        Request::GetProviders { .. } => Response::Providers { providers: Vec::new(), closer },
        _ => Response::Contacts(closer),
    };
    response.encode().ok()
}

fn record(n: u16, endpoint: &str) -> PeerRecord {
    PeerRecord::builder().discovery_addr(endpoint.parse::<p2p_net::Endpoint>().unwrap()).sign(&key_pair(n), 9).unwrap()
}

/// Every way to answer badly, one node each.
async fn responders(victim: &KeyPair) -> Vec<Responder> {
    let raw = |bytes: Bytes| lie(move |_, _| Some(bytes.clone()));
    let own = PeerRecord::builder()
        .discovery_addr("tcp://127.0.0.1:1".parse::<p2p_net::Endpoint>().unwrap())
        .sign(victim, 1 << 40)
        .unwrap();
    let ping = Ping { from: victim.peer_id(), to: key_pair(500).peer_id(), nonce: [1; NONCE_LEN], seq: 1 };
    let pong = Datagram::Pong(ping.answer(&key_pair(500), "default", 1).unwrap()).encode();
    // A number of contacts beyond the bound, with all their bytes.
    let many: Vec<PeerRecord> = (0..10_000).map(|n| record(600 + n % 50, "tcp://127.0.0.1:9")).collect();
    let many = encode(&(0u32, many, 1u64, None::<u8>)).unwrap();
    let nobody: Vec<PeerRecord> = (0..20).map(|n| record(700 + n, "tcp://127.0.0.1:9")).collect();
    let unroutable: Vec<PeerRecord> = ["240.0.0.1", "192.0.2.1", "198.18.0.1", "100.64.0.1", "255.1.2.3"]
        .iter()
        .zip(750..)
        .map(|(ip, n)| record(n, &format!("tcp://{ip}:9")))
        .collect();
    let later = Duration::from_secs(7);
    let behaviors: Vec<(Duration, Lie)> = vec![
        (later, lie(|request, _| contacts(request, Vec::new()))),
        (Duration::ZERO, lie(|_, _| None)),
        (Duration::ZERO, lie(|_, _| Response::Stored.encode().ok())),
        (Duration::ZERO, raw([&[1], &many[..]].concat().into())),
        (Duration::ZERO, lie(move |request, _| contacts(request, vec![own.clone(); 20]))),
        (Duration::ZERO, lie(move |request, _| contacts(request, unroutable.clone()))),
        (Duration::ZERO, lie(move |request, _| contacts(request, nobody.clone()))),
        (Duration::ZERO, raw(Bytes::copy_from_slice(&pong))),
        (Duration::ZERO, raw(Bytes::from(vec![0xff; 5000]))),
        (Duration::ZERO, raw(Bytes::new())),
        (
            Duration::ZERO,
            lie(|request, _| match request {
                // A value that does not belong there.
                Request::GetValue { .. } => {
                    let value = StoredValue::immutable("wrong").ok();
                    Response::Value { value, closer: Closer::default() }.encode().ok()
                }
                _ => contacts(request, Vec::new()),
            }),
        ),
    ];
    let mut responders = Vec::new();
    for ((delay, lie), n) in behaviors.into_iter().zip(500..) {
        responders.push(responder(key_pair(n), delay, lie).await);
    }
    responders
}

#[test]
fn lookups_go_on_without_those_who_answer_badly() {
    simulated(|| async {
        let nodes = network_of(12, tcp).await;
        let victim_keys = key_pair(90);
        let responders = responders(&victim_keys).await;
        let mut bootstrap_peers: Vec<_> = responders.iter().map(|one| one.endpoint.clone()).collect();
        bootstrap_peers.push(nodes[0].endpoints()[0].clone());
        // It takes those it is given in turn, and so gets to know all of them.
        let config = KademliaConfig { bootstrap_peers, seeding_interval: Duration::from_millis(500), ..tcp(None) };
        let victim: Dht = node(90, config).await;
        let honest = |dht: &Dht| {
            let ids: Vec<_> = nodes.iter().map(Dht::peer_id).collect();
            dht.contacts().iter().filter(|record| ids.contains(&record.peer_id())).count()
        };
        until("it knows the honest", || honest(&victim) >= 12).await;
        // And the others: they have answered well so far.
        until("it has met some", || responders.iter().filter(|one| one.asked.load(Ordering::Relaxed) > 0).count() >= 5)
            .await;

        for n in 0..6u8 {
            let key = Key::of_value(&[n]);
            let found = within("closest", victim.closest(&key)).await.unwrap();
            let keys: Vec<Key> = found.iter().map(|record| Key::of_peer("default", &record.peer_id())).collect();
            let missing = closest_of(&nodes, &victim, &key, 12).iter().filter(|key| !keys.contains(key)).count();
            assert!(missing <= 1, "{missing} honest nodes are missing");
            assert!(found.iter().all(|record| record.peer_id() != victim.peer_id()));
        }
        let put = within("put", victim.put("through them")).await.unwrap();
        assert!(put.stored >= 12, "{put:?}");
        for dht in [&victim, &nodes[7]] {
            assert_eq!(within("get", dht.get(&put.key)).await.unwrap().as_deref(), Some(&b"through them"[..]));
        }
        assert_eq!(within("get", victim.get(&Key::of_value(b"nobody has it"))).await.unwrap(), None);
        // Nobody who never answered is in the table, and nothing of what was said about the victim counts.
        let nowhere = |record: &PeerRecord| record.discovery_addrs().iter().any(|addr| addr.endpoint.port() <= 9);
        assert!(!victim.contacts().iter().any(nowhere));
        let ours = victim.record().unwrap();
        assert!(!nowhere(&ours) && ours.seq() > 1 << 40, "{ours:?}");
        drop(responders);
        victim.shutdown().await;
        shut_down(nodes).await;
    });
}

#[test]
fn alone_with_those_who_answer_badly_a_node_gives_up_in_bounded_time() {
    simulated(|| async {
        let victim_keys = key_pair(91);
        let responders = responders(&victim_keys).await;
        let bootstrap_peers = responders.iter().map(|one| one.endpoint.clone()).collect();
        let victim = node(91, KademliaConfig { bootstrap_peers, ..tcp(None) }).await;
        until("it has met somebody", || !victim.contacts().is_empty()).await;
        assert_eq!(within("get", victim.get(&Key::of_value(b"x"))).await.unwrap(), None);
        assert!(responders.iter().all(|one| one.asked.load(Ordering::Relaxed) < 500));
        assert!(responders.iter().all(|one| one.record.peer_id() != victim.peer_id()));
        victim.shutdown().await;
        assert_eq!(victim.tasks(), 0);
    });
}
