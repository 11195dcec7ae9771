//! Who is banned, and comes by another way.

use std::time::Duration;

use p2p::close_code;

use crate::common::attacker::{Attacker, End, rand_nonce};
use crate::common::attacks::asks;
use crate::common::wire::Hello;
use crate::common::{Companion, TRANSPORTS, Target, key, peer_id, together};

const LOOKUP: u64 = 1;
const BANNED: u8 = 11;
const DENIED: u8 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_gets_no_lookup_where_peers_connect() {
    let _turn = together().await;
    let serves = "udp://127.0.0.1:0".parse().unwrap();
    let target = Target::new(|config| config.discovery_endpoints = vec![serves]).await;
    for (n, transport) in TRANSPORTS.into_iter().enumerate() {
        let companion = Companion::beside(&target, transport).await;
        let (banned, other) = (key(2 * n as u32), key(2 * n as u32 + 1));
        let to = target.addr(transport);
        assert_eq!(asks(&banned, transport, to).await, Ok(()), "{transport}: not yet");
        target.node.ban(&peer_id(banned.id()), Duration::from_secs(600));
        assert_eq!(asks(&banned, transport, to).await, Err(BANNED), "{transport}");
        assert_eq!(asks(&other, transport, to).await, Ok(()), "{transport}: somebody else");
        target.node.unban(&peer_id(banned.id()));
        assert_eq!(asks(&banned, transport, to).await, Ok(()), "{transport}: no longer");
        companion.shutdown().await;
    }
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_gets_no_lookup_at_a_port_of_the_dht() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let serves = format!("{transport}://127.0.0.1:0").parse().unwrap();
        let target = Target::new(|config| config.discovery_endpoints = vec![serves]).await;
        let id = key(1);
        let to = target.node.dht().unwrap().endpoints()[0].socket_addr().unwrap();
        assert_eq!(asks(&id, transport, to).await, Ok(()), "{transport}: not yet");
        target.node.ban(&peer_id(id.id()), Duration::from_secs(600));
        assert_eq!(asks(&id, transport, to).await, Err(DENIED), "{transport}");
        target.shutdown().await;
    }
}

/// It has asked, and would ask again over the same connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_idle_lookup_connections_of_a_peer_end_with_its_ban() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let serves = format!("{transport}://127.0.0.1:0").parse().unwrap();
        let dht = Target::new(|config| config.discovery_endpoints = vec![serves]).await;
        let both = Target::new(|config| config.discovery_endpoints = vec!["udp://127.0.0.1:0".parse().unwrap()]).await;
        let own_port = dht.node.dht().unwrap().endpoints()[0].socket_addr().unwrap();
        for (target, to) in [(&dht, own_port), (&both, both.addr(transport))] {
            let (banned, other) = (key(1), key(2));
            let mut connections = Vec::new();
            for id in [&banned, &other] {
                let hello = Hello { purpose: LOOKUP, protocols: Vec::new(), ..Hello::new(id.id(), rand_nonce()) };
                let mut hostile = Attacker::dial(transport, to, id).await;
                // Its first stream asks something that cannot be read, and is answered.
                let (_, asked) = hostile.join_with(id, &hello).await.unwrap();
                assert_eq!(hostile.ended(asked).await, End::Finished, "{transport}");
                connections.push(hostile);
            }
            target.node.ban(&peer_id(banned.id()), Duration::from_secs(600));
            let code = connections[0].closed().await.map(|(code, _)| code);
            assert_eq!(code, Some(u64::from(close_code::DENIED)), "{transport}");
            target.node.ban(&peer_id(other.id()), Duration::from_secs(600));
            let code = connections[1].closed().await.map(|(code, _)| code);
            assert_eq!(code, Some(u64::from(close_code::DENIED)), "{transport}: the other's lived until its own ban");
        }
        dht.shutdown().await;
        both.shutdown().await;
    }
}
