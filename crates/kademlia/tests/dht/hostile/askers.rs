//! Nodes that ask badly.

use std::time::Duration;

use p2p_core::TaskGroup;
use p2p_identity::{Error, HandshakeError, Purpose, RejectReason};
use p2p_kademlia::{Key, Refused, Request, Response};
use tokio::io::AsyncWriteExt;

use super::attacker::Attacker;
use crate::common::{config, key_pair, node, simulated, tcp, until, within};

#[test]
fn what_cannot_be_read_is_refused_and_the_connection_lives() {
    simulated(|| async {
        let dht = node(1, config(None)).await;
        let endpoint = dht.endpoints()[0].clone();
        let attacker = Attacker::new(key_pair(66));

        let error = within("a refusal", attacker.dial(&endpoint, Purpose::Peer, &[])).await.err().unwrap();
        let Error::Handshake(HandshakeError::Remote(reason)) = error else { panic!("{error}") };
        assert_eq!(reason, RejectReason::PurposeUnsupported(Purpose::Peer));

        // In the hello, and on streams.
        let opened = within("a connection", attacker.dial(&endpoint, Purpose::Lookup, b"rubbish")).await.unwrap();
        let answer = within("an answer", opened.receiver.recv()).await.unwrap().unwrap();
        assert_eq!(Response::decode(&answer).unwrap(), Refused::Malformed.into());
        for rubbish in [&b""[..], b"\0", b"\x01\xff\xff\xff\xff\x0f", &[1; 5000]] {
            let answer =
                within("an answer", attacker.ask(&opened.connection, rubbish.to_vec())).await.unwrap().unwrap();
            assert_eq!(Response::decode(&answer).unwrap(), Refused::Malformed.into());
        }
        // A stream that ends, or is given up, before the question is whole.
        for _ in 0..100 {
            opened.connection.open_stream().await.unwrap().reset(7);
        }
        let request = Request::FindNode { target: Key::of_value(b"x") }.encode().unwrap();
        let answer = within("an answer", attacker.ask(&opened.connection, request)).await.unwrap().unwrap();
        assert!(matches!(Response::decode(&answer), Ok(Response::Contacts(_))));
        assert!(dht.contacts().is_empty(), "whoever asks is in no table");
        dht.shutdown().await;
        assert_eq!(dht.tasks(), 0);
        attacker.transports.shutdown().await;
    });
}

#[test]
fn who_asks_too_much_is_told_to_wait() {
    simulated(|| async {
        let dht = node(2, tcp(None)).await;
        let attacker = Attacker::new(key_pair(67));
        let opened = within("a connection", attacker.dial(&dht.endpoints()[0], Purpose::Lookup, &[])).await.unwrap();
        let request = Request::GetRecord.encode().unwrap();
        let (mut answered, mut busy) = (0, 0);
        for _ in 0..1000 {
            let answer = within("an answer", attacker.ask(&opened.connection, request.clone())).await.unwrap().unwrap();
            match Response::decode(&answer).unwrap() {
                Response::Record(_) => answered += 1,
                Response::Refused(Refused::Busy) => busy += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(answered >= 200 && busy > 0, "{answered} answered, {busy} not");
        dht.shutdown().await;
        attacker.transports.shutdown().await;
    });
}

#[test]
fn connections_that_say_nothing_make_room() {
    simulated(|| async {
        let mut limits = tcp(None).limits;
        (limits.inbound_connections, limits.handshakes.total) = (8, 8);
        limits.handshakes.timeout = Duration::from_secs(2);
        let dht = node(3, p2p_kademlia::KademliaConfig { limits, ..tcp(None) }).await;
        let endpoint = dht.endpoints()[0].clone();
        let attacker = Attacker::new(key_pair(68));
        // Some never begin their handshake, others are done with it and ask nothing.
        let mut silent = Vec::new();
        let mut idle = Vec::new();
        for n in 0..30 {
            if n % 2 == 0 {
                silent.push(attacker.transports.dial(&endpoint).await.unwrap());
            } else {
                idle.push(within("a connection", attacker.dial(&endpoint, Purpose::Lookup, &[])).await.unwrap());
            }
        }
        let friend = node(4, tcp(Some(&dht))).await;
        until("a friend gets in", || friend.contacts().len() == 1).await;
        let closed = idle.iter().filter(|opened| opened.connection.close_reason().is_some()).count();
        assert!(closed >= 15 - 8, "{closed} of 15 made room");
        for dht in [friend, dht] {
            dht.shutdown().await;
            assert_eq!(dht.tasks(), 0);
        }
        attacker.transports.shutdown().await;
    });
}

/// Each connection has a request under way that never becomes whole, and the next one before the time of that is over.
#[test]
fn connections_that_ask_by_halves_make_room_and_end() {
    simulated(|| async {
        for transport in ["tcp", "tls", "quic"] {
            let endpoints = [format!("{transport}://127.0.0.1:0"), "udp://127.0.0.1:0".into()];
            let mut config = tcp(None);
            config.discovery_endpoints = endpoints.iter().map(|text| text.parse().unwrap()).collect();
            config.request_timeout = Duration::from_secs(1);
            config.limits.inbound_connections = 8;
            config.limits.idle_timeout = Duration::from_secs(2);
            let dht = node(5, config).await;
            let attacker = Attacker::new(key_pair(69));
            let askers = TaskGroup::new(attacker.runtime().clone());
            let mut closed = Vec::new();
            for _ in 0..8 {
                let opened =
                    within("a connection", attacker.dial(&dht.endpoints()[0], Purpose::Lookup, &[])).await.unwrap();
                let connection = opened.connection.clone();
                closed.push(connection.clone());
                let runtime = attacker.runtime().clone();
                askers.spawn("asks by halves", async move {
                    let mut halves = Vec::new();
                    while let Ok(mut stream) = opened.connection.open_stream().await {
                        if stream.write_all(b"\x20half").await.is_err() {
                            break;
                        }
                        halves.push(stream);
                        runtime.sleep(Duration::from_millis(250)).await;
                    }
                });
            }
            let friend = node(6, tcp(Some(&dht))).await;
            until("a friend gets in", || friend.contacts().len() == 1).await;
            let ended = |connection: &&p2p_net::Connection| connection.close_reason().is_some();
            assert!(closed.iter().filter(ended).count() > 0, "{transport}: nobody made room");
            // And without anybody who needs the room each has its time.
            until("all have ended", || closed.iter().all(|connection| ended(&connection))).await;
            for dht in [friend, dht] {
                dht.shutdown().await;
                assert_eq!(dht.tasks(), 0);
            }
            attacker.transports.shutdown().await;
        }
    });
}
