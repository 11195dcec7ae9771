//! The sockets of a DHT fail: in the simulator, which can make them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_core::EventListener;
use p2p_core::runtime::{Datagrams, RecvMeta, UdpSocket};
use p2p_identity::KeyPair;
use p2p_kademlia::message::{Datagram, NONCE_LEN, Ping};
use p2p_kademlia::{Dht, KademliaConfig, KademliaEvent};
use p2p_net::{Endpoint, Transport};
use p2p_sim::{Host, Sim, SocketFault};

const SECOND: Duration = Duration::from_secs(1);

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

async fn dht(host: &Host, endpoints: impl IntoIterator<Item = Endpoint>) -> Dht {
    let config = KademliaConfig { discovery_endpoints: endpoints.into_iter().collect(), ..KademliaConfig::default() };
    let dht = Dht::builder(&key(1)).config(config).runtime(host.runtime()).build().unwrap();
    dht.run().await.unwrap();
    dht
}

/// Asks from `socket` whether a node lives, and how many datagrams come back.
async fn pongs(sim: &Sim, socket: &Arc<dyn UdpSocket>, to: &Dht, at: SocketAddr) -> usize {
    let ping = Ping { from: key(2).peer_id(), to: to.peer_id(), nonce: [7; NONCE_LEN], seq: 0 };
    let contents = Datagram::Ping(ping).encode();
    let question = Datagrams { destination: at, ecn: None, contents: &contents, segment_size: None, src_ip: None };
    socket.try_send(&question).unwrap();
    let (mut buf, mut metas) = ([0; 2000], [RecvMeta::default()]);
    let receiving = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut metas));
    match sim.runtime().timeout(SECOND, receiving).await {
        Ok(received) => {
            assert_eq!(metas[0].addr, at);
            received.unwrap()
        }
        Err(_) => 0,
    }
}

/// The next events about sockets, as many as these: whether the socket failed or is bound again, and where.
async fn happen(events: &mut EventListener<KademliaEvent>, expected: &[(bool, &Endpoint)]) {
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        match events.recv().await.unwrap() {
            KademliaEvent::ListenFailed { endpoint, error, .. } => {
                assert_eq!(error, "no buffer space available");
                seen.push((false, endpoint));
            }
            KademliaEvent::Listening { endpoint } => seen.push((true, endpoint)),
            _ => {}
        }
    }
    let mut seen: Vec<_> = seen.iter().map(|(bound, endpoint)| (*bound, endpoint)).collect();
    let mut expected = expected.to_vec();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn the_sockets_of_a_dht_outlive_their_failures_without_spinning() {
    let sim = Sim::new(1);
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    sim.block_on(async {
        let at = |transport, port| Endpoint::from_socket_addr(transport, (alice.ipv4(), port).into());
        let (udp, tcp) = (at(Transport::Udp, 4004), at(Transport::Tcp, 4001));
        let dht = dht(&alice, [udp.clone(), tcp.clone()]).await;
        let mut events = dht.events();
        let asker = bob.runtime().udp_bind((bob.ipv4(), 0).into()).unwrap();
        let at = udp.socket_addr().unwrap();
        assert_eq!(pongs(&sim, &asker, &dht, at).await, 1);

        alice.set_socket_fault(Some(SocketFault::Once));
        assert_eq!(pongs(&sim, &asker, &dht, at).await, 1, "one failure is passed over");

        alice.set_socket_fault(Some(SocketFault::Broken));
        happen(&mut events, &[(false, &udp), (false, &tcp), (true, &udp), (true, &tcp)]).await;
        assert_eq!(pongs(&sim, &asker, &dht, at).await, 1);
        assert!(bob.runtime().tcp_connect(tcp.socket_addr().unwrap()).await.is_ok());

        alice.set_socket_fault(Some(SocketFault::Lasting));
        let before = sim.report().events;
        sim.sleep(600 * SECOND).await;
        let work = sim.report().events - before;
        assert!(work < 2000, "{work} events in ten minutes");
        assert_eq!(pongs(&sim, &asker, &dht, at).await, 0);
        alice.set_socket_fault(None);
        sim.sleep(31 * SECOND).await;
        assert_eq!(pongs(&sim, &asker, &dht, at).await, 1);
        dht.shutdown().await;
        assert_eq!(alice.open_sockets(), 0);
    });
}
