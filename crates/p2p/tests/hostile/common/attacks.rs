//! Pieces of attacks that more than one program uses.

use std::net::SocketAddr;
use std::sync::Arc;

use p2p::PeerId;
use p2p::endpoint::Transport;
use tokio::net::UdpSocket;

use super::attacker::{Attacker, LOCALHOST, identity, ordinary_transport, quic_client, quic_socket, rand_nonce};
use super::wire::{self, Hello, Key, text};
use super::{in_time, key, peer_id};

/// Who is smaller says it, and once.
pub const STAY: [u8; 2] = [1, 4];

/// What quinn-proto may send beyond three times what came (RFC 9000 §8.1): it looks whether one byte is left, and sends
/// a datagram.
pub const BEYOND: usize = 1200;

/// One of many peers that say `Stay` to a node: its id is smaller.
pub fn arbiter_of(node: PeerId, from: u32) -> Key {
    (from..).map(key).find(|key| peer_id(key.id()) < node).expect("half of all are")
}

/// The end of a protocol.
pub fn ended(protocol: &str) -> Vec<u8> {
    [&[1, 5][..], &text(protocol)].concat()
}

/// TLS that fails in the listener's first look at it, before the dialer's address is proven.
pub fn wrong_tls() -> Arc<rustls::ClientConfig> {
    offering(&[b"nobody speaks this"])
}

/// TLS that offers these protocols (ALPN) in place of ours.
pub fn offering(names: &[&[u8]]) -> Arc<rustls::ClientConfig> {
    let mut tls = (**identity(&key(0)).client_config()).clone();
    tls.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
    Arc::new(tls)
}

/// The first datagram of a dial over quic, as any listener would get it.
pub async fn first_datagram() -> Vec<u8> {
    let listener = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let (endpoint, _) = quic_socket(LOCALHOST, 0);
    let config = quic_client(identity(&key(0)).client_config().clone(), ordinary_transport());
    let _dial = endpoint.connect_with(config, listener.local_addr().unwrap(), "peer.invalid").unwrap();
    let mut datagram = vec![0; 2000];
    let len = in_time("a datagram", listener.recv(&mut datagram)).await.unwrap();
    datagram.truncate(len);
    datagram
}

/// The hello of a lookup.
pub fn lookup(id: &Key) -> Hello {
    Hello { purpose: 1, protocols: Vec::new(), ..Hello::new(id.id(), rand_nonce()) }
}

/// What becomes of a lookup connection: why it is refused, if it is.
pub async fn asks(id: &Key, transport: Transport, to: SocketAddr) -> Result<(), u8> {
    let mut hostile = Attacker::dial(transport, to, id).await;
    match hostile.hello(&lookup(id)).await {
        Ok(_) => Ok(()),
        Err(reject) => {
            assert_eq!(reject[..2], [wire::VERSION, wire::REJECT], "{transport}");
            Err(reject[2])
        }
    }
}
