//! Those who connect and say nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use p2p::endpoint::Transport;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::attacker::{identity, ordinary_transport, quic_client, quic_socket, tcp_from};
use super::key;

/// Where the silent ones come from.
#[derive(Debug, Clone, Copy)]
pub enum From {
    OneAddress,
    OnePrefix,
    ManyPrefixes,
}

impl From {
    pub fn ip(self, n: usize) -> IpAddr {
        let (high, low) = ((n / 250) as u8, (n % 250) as u8);
        Ipv4Addr::from(match self {
            Self::OneAddress => [127, 0, 0, 1],
            Self::OnePrefix => [127, 9, 1, 1 + low],
            Self::ManyPrefixes => [127, 10 + high, low, 1],
        })
        .into()
    }
}

/// What keeps silent connections open.
#[derive(Default)]
pub struct Silent {
    streams: Vec<TcpStream>,
    endpoints: Vec<quinn::Endpoint>,
    dials: JoinSet<()>,
}

impl Silent {
    pub async fn open(&mut self, from: From, transport: Transport, to: SocketAddr, count: usize) {
        if transport == Transport::Quic {
            // Hears nothing, and so answers nothing, many connections at a time.
            let config = quic_client(identity(&key(1)).client_config().clone(), ordinary_transport());
            for n in 0..count {
                if n % 10 == 0 {
                    self.endpoints.push(quic_socket(from.ip(n / 10), 0).0);
                }
                let endpoint = self.endpoints.last().unwrap();
                let connecting = endpoint.connect_with(config.clone(), to, "peer.invalid").unwrap();
                self.dials.spawn(async move { drop(connecting.await) });
            }
        } else {
            for n in 0..count {
                if let Ok(stream) = tcp_from(from.ip(n), to).await {
                    self.streams.push(stream);
                }
            }
        }
    }
}
