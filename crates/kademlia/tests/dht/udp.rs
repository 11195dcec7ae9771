//! The udp endpoint: liveness pings.

use p2p_identity::KeyPair;
use p2p_kademlia::Dht;
use p2p_kademlia::message::{DATAGRAM_LEN, Datagram, NONCE_LEN, Ping};
use p2p_net::Transport;

use crate::common::{config, node, within};

pub(crate) fn udp(dht: &Dht) -> std::net::SocketAddr {
    let endpoints = dht.endpoints();
    let udp = endpoints.iter().find(|endpoint| endpoint.transport() == Transport::Udp);
    udp.and_then(|endpoint| endpoint.socket_addr()).unwrap()
}

pub(crate) fn ping(to: &Dht, n: u64) -> Ping {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&n.to_be_bytes());
    Ping { from: KeyPair::from_seed([9; 32]).peer_id(), to: to.peer_id(), nonce, seq: 0 }
}

#[expect(clippy::disallowed_methods, reason = "an attacker needs no runtime of ours")]
async fn socket() -> tokio::net::UdpSocket {
    tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered_with_a_signed_pong_of_its_length_and_nothing_else_is() {
    let dht = node(1, config(None)).await;
    let socket = socket().await;
    let ping = ping(&dht, 1);
    socket.send_to(&Datagram::Ping(ping).encode(), udp(&dht)).await.unwrap();
    let mut buffer = [0; 2048];
    let (len, from) = within("a pong", socket.recv_from(&mut buffer)).await.unwrap();
    assert_eq!((len, from), (DATAGRAM_LEN, udp(&dht)));
    let Ok(Datagram::Pong(pong)) = Datagram::decode(&buffer[..len]) else { panic!() };
    assert!(pong.answers(&ping, "default"));
    assert_eq!(pong.seq, dht.record().unwrap().seq());

    // For somebody else, of another length, an unasked pong, rubbish.
    let other = Ping { to: KeyPair::from_seed([8; 32]).peer_id(), ..ping };
    let long = [&Datagram::Ping(ping).encode()[..], &[0]].concat();
    for bytes in [&Datagram::Ping(other).encode()[..], &long, &Datagram::Pong(pong).encode(), b"", &[0xff; 1400]] {
        socket.send_to(bytes, udp(&dht)).await.unwrap();
    }
    // What comes after them is answered first.
    socket.send_to(&Datagram::Ping(self::ping(&dht, 2)).encode(), udp(&dht)).await.unwrap();
    let (len, _) = within("a pong", socket.recv_from(&mut buffer)).await.unwrap();
    let Ok(Datagram::Pong(pong)) = Datagram::decode(&buffer[..len]) else { panic!() };
    assert_eq!(pong.nonce, self::ping(&dht, 2).nonce);
    dht.shutdown().await;
}
