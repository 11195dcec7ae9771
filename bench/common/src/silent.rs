//! Peers that begin a connection and then say nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpStream, UdpSocket};

use crate::Transport;

/// Holds open what silent peers have begun.
#[derive(Debug, Default)]
pub struct Silent {
    _streams: Vec<TcpStream>,
    _socket: Option<UdpSocket>,
}

impl Silent {
    /// Begins `count` connections to `address`. Over TCP (and TLS on it) nothing is ever sent; over QUIC each client sends its
    /// first flight and does not react to what comes.
    pub async fn begin(count: usize, address: SocketAddr, transport: Transport, alpn: &[u8]) -> Self {
        let mut silent = Self::default();
        match transport {
            Transport::Tcp | Transport::Tls => {
                for _ in 0..count {
                    silent._streams.push(TcpStream::connect(address).await.unwrap());
                }
            }
            Transport::Quic => silent._socket = Some(first_flights(count, address, alpn).await),
        }
        silent
    }
}

/// Lets a client connect to a socket of ours and passes on what it sends first, never what is answered.
async fn first_flights(count: usize, address: SocketAddr, alpn: &[u8]) -> UdpSocket {
    let between = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    let mut datagram = [0; 2048];
    for _ in 0..count {
        let connecting = endpoint.connect(between.local_addr().unwrap(), "silent").unwrap();
        let (len, _) = between.recv_from(&mut datagram).await.unwrap();
        between.send_to(&datagram[..len], address).await.unwrap();
        drop(connecting);
    }
    between
}
