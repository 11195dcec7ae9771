//! Who is banned, and comes by another way.

use std::time::Duration;

use crate::common::attacks::asks;
use crate::common::{Companion, TRANSPORTS, Target, key, peer_id, together};

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
