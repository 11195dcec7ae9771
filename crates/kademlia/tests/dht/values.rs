//! Values and providers.

use std::collections::BTreeSet;

use p2p_core::PeerId;
use p2p_identity::Error;
use p2p_kademlia::{Dht, DhtError, Key, Refused};

use crate::common::{network, shut_down, simulated, within};

#[test]
fn values_are_stored_found_and_replaced() {
    simulated(|| async {
        let nodes = network(25).await;
        let put = within("put", nodes[3].put("hello")).await.unwrap();
        assert_eq!(put.key, Key::of_value(b"hello"));
        assert!(put.stored >= 18, "{put:?}");
        for dht in [&nodes[0], &nodes[11], &nodes[24]] {
            assert_eq!(within("get", dht.get(&put.key)).await.unwrap().as_deref(), Some(&b"hello"[..]));
        }
        assert_eq!(within("get", nodes[1].get(&Key::of_value(b"other"))).await.unwrap(), None);
        assert!(matches!(nodes[3].put(vec![0; 1001]).await, Err(Error::MessageTooLarge { len: 1001, max: 1000 })));

        let (writer, reader) = (&nodes[5], &nodes[17]);
        let publisher = writer.peer_id().into();
        let get = || async { within("get", reader.get_mutable(&publisher, "status")).await.unwrap() };
        assert_eq!(get().await, None);
        within("put", writer.put_mutable("status", "away", None)).await.unwrap();
        within("put", writer.put_mutable("status", "back", Some(1))).await.unwrap();
        let there = get().await.unwrap();
        assert_eq!((there.seq, &there.value[..]), (2, &b"back"[..]));
        let error = within("put", writer.put_mutable("status", "late", Some(1))).await.unwrap_err();
        assert!(matches!(DhtError::of(&error), Some(DhtError::Conflict(_))), "{error}");
        within("put", writer.put_mutable("status", "again", None)).await.unwrap();
        assert_eq!(get().await.map(|there| there.seq), Some(3));
        let error = writer.put_mutable(vec![0; 65], "x", None).await.unwrap_err();
        assert!(matches!(error, Error::Config { field: "salt", .. }), "{error}");
        shut_down(nodes).await;
    });
}

async fn providers(dht: &Dht, key: &Key) -> BTreeSet<PeerId> {
    let mut stream = dht.providers(key).unwrap();
    let mut found = BTreeSet::new();
    while let Some(record) = within("provider", stream.next()).await {
        record.verify().unwrap();
        assert!(found.insert(record.peer_id()), "each once");
    }
    found
}

#[test]
fn providers_are_found_by_everybody() {
    simulated(|| async {
        let nodes = network(20).await;
        let key = Key::of_value(b"the song");
        let mut providing = Vec::new();
        for dht in &nodes[2..5] {
            providing.push(within("provide", dht.provide(key)).await.unwrap());
        }
        let expected: BTreeSet<PeerId> = nodes[2..5].iter().map(Dht::peer_id).collect();
        for dht in [&nodes[0], &nodes[3], &nodes[19]] {
            assert_eq!(providers(dht, &key).await, expected);
        }
        assert!(providers(&nodes[1], &Key::of_value(b"another")).await.is_empty());
        assert_eq!(providing[0].key(), key);
        drop(providing);

        // A search that nobody waits for any more ends, and so does one that is given up by a shutdown.
        drop(nodes[7].providers(&key).unwrap());
        let mut given_up = nodes[8].providers(&Key::of_value(b"never")).unwrap();
        nodes[8].shutdown().await;
        assert!(within("the end", given_up.next()).await.is_none());
        assert!(nodes[8].providers(&key).is_err());
        shut_down(nodes).await;
    });
}

#[test]
fn reasons_are_told_in_words() {
    let error = Error::from(DhtError::Conflict(Refused::Older { current: 7 }));
    assert!(error.to_string().contains('7'), "{error}");
}
