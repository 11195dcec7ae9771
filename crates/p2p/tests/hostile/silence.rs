//! Peers that connect and say nothing, or too slowly, or stop in the middle. That honest ones are not delayed, and when the silent
//! are given up, is shown in virtual time: `tests/silent.rs`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use p2p::endpoint::Transport;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::common::attacker::{Attacker, LOCALHOST, identity, ordinary_transport, quic_client, quic_socket, tcp_from};
use crate::common::silent::{From, Silent};
use crate::common::wire::{self, Hello};
use crate::common::{
    Companion, STREAMS, TRANSPORTS, Target, affordable, alone, in_time, key, others_get_in, resident, together, until,
};

/// How long a handshake may take where it is to be cut short.
const SHORT: Duration = Duration::from_secs(3);

/// They stay for as long as they like, unless they have to make room.
async fn silent_connections_keep_nobody_out(from: From, exempt_private: bool) {
    let count = affordable(1000);
    for transport in TRANSPORTS {
        let target = Target::new(|config| config.limits.exempt_private = exempt_private).await;
        let companion = Companion::beside(&target, transport).await;
        let tasks = target.node.tasks();
        let memory = resident();
        let mut silent = Silent::default();
        silent.open(from, transport, target.addr(transport), count).await;
        others_get_in(&target, transport, 7).await;
        companion.goes_on().await;
        assert!(resident() < memory + (128 << 20));
        // Those that come over tcp end with their sockets, with everything that belongs to them.
        drop(silent);
        if transport != Transport::Quic {
            until("the silent ones' end", || target.node.tasks() <= tasks + 2).await;
        }
        companion.shutdown().await;
        target.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_from_one_address_keep_nobody_out() {
    let _turn = alone().await;
    silent_connections_keep_nobody_out(From::OneAddress, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_from_one_prefix_keep_nobody_out() {
    let _turn = alone().await;
    silent_connections_keep_nobody_out(From::OnePrefix, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_from_many_prefixes_keep_nobody_out() {
    let _turn = alone().await;
    silent_connections_keep_nobody_out(From::ManyPrefixes, false).await;
}

/// They go through TLS, which costs them as much as us, and are silent then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_after_the_transports_handshake_keeps_nobody_out() {
    let _turn = alone().await;
    let count = affordable(100);
    for transport in [Transport::Tls, Transport::Quic] {
        let mut target = Target::new(|_| ()).await;
        let companion = Companion::beside(&target, transport).await;
        let tasks = target.node.tasks();
        let mut silent = Vec::new();
        for n in 0..count {
            // Beyond what is under way at a time the oldest makes room, and may not have got that far.
            let ip = From::ManyPrefixes.ip(n);
            silent.push(Attacker::dial_from(ip, transport, target.addr(transport), &key(n as u32)).await);
        }
        others_get_in(&target, transport, 5).await;
        drop(silent);
        target.failure().await;
        until("the silent ones' end", || target.node.tasks() <= tasks + 2).await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// Writes get through up to a byte, and then nothing does, unnoticed by the writer.
#[derive(Debug)]
struct CutOff(TcpStream, usize);

impl AsyncWrite for CutOff {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let left = self.1.min(bytes.len());
        if left == 0 {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = std::task::ready!(Pin::new(&mut self.0).poll_write(cx, &bytes[..left]))?;
        self.1 -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for CutOff {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

/// Goes through the handshake as far as it gets, and stays.
async fn stop_at(transport: Transport, to: SocketAddr, n: u32, cut: usize) {
    let attempt = async {
        match transport {
            Transport::Tcp => {
                let mut hostile = Attacker::over(CutOff(tcp_from(LOCALHOST, to).await.unwrap(), cut));
                let _ = hostile.join(&key(n)).await;
                hostile.closed().await;
            }
            Transport::Tls => {
                let stream = CutOff(tcp_from(LOCALHOST, to).await.unwrap(), cut);
                let name = ServerName::try_from("peer.invalid").unwrap();
                let connector = tokio_rustls::TlsConnector::from(identity(&key(n)).client_config().clone());
                if let Ok(tls) = connector.connect(name, stream).await {
                    let mut hostile = Attacker::over(tls);
                    let _ = hostile.join(&key(n)).await;
                    hostile.closed().await;
                }
            }
            _ => {
                let (endpoint, _) = quic_socket(LOCALHOST, cut);
                let config = quic_client(identity(&key(n)).client_config().clone(), ordinary_transport());
                let connecting = endpoint.connect_with(config, to, "peer.invalid").unwrap();
                // It hears of no end either.
                let _ = tokio::time::timeout(2 * SHORT, async {
                    let connection = connecting.await?;
                    connection.open_bi().await?.0.write_all(&[0x40]).await.unwrap();
                    connection.accept_bi().await
                })
                .await;
            }
        }
    };
    in_time("the end of a handshake that stopped", attempt).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_stops_anywhere_ends_at_its_deadline() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let target = Target::new(|config| {
            config.handshake_timeout = SHORT;
            // Those that have got through are silent from then on.
            config.ping_interval = Duration::from_secs(1);
            config.ping_timeout = SHORT;
        })
        .await;
        let companion = Companion::beside(&target, transport).await;
        let tasks = target.node.tasks();
        let cuts: Vec<usize> = match transport {
            Transport::Tcp => (0..280).step_by(3).collect(),
            Transport::Tls => (0..1100).step_by(23).collect(),
            _ => (0..6).collect(),
        };
        let mut attempts = JoinSet::new();
        for (n, cut) in cuts.into_iter().enumerate() {
            attempts.spawn(stop_at(transport, target.addr(transport), n as u32, cut));
        }
        let peers = target.node.peers();
        println!("{transport}: {} handshakes stop, {peers} peers", attempts.len());
        while let Some(done) = in_time("all of them", attempts.join_next()).await {
            done.unwrap();
        }
        until("the end of what they left", || target.node.tasks() <= tasks + 2 && target.node.peers() == 1).await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// A byte now and then is no progress.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_drips_ends_at_its_deadline() {
    let _turn = together().await;
    for transport in STREAMS {
        let target = Target::new(|config| config.handshake_timeout = SHORT).await;
        let companion = Companion::beside(&target, transport).await;
        let tasks = target.node.tasks();
        let mut drips = JoinSet::new();
        for n in 0..20 {
            let to = target.addr(transport);
            drips.spawn(async move {
                let mut stream = tcp_from(LOCALHOST, to).await.unwrap();
                let hello = wire::message(&Hello::new(key(n).id(), u64::from(n)).encode());
                let mut all = [wire::frame(wire::OPEN, 1, &[]), wire::frame(wire::DATA, 1, &hello)].concat();
                if transport == Transport::Tls {
                    // The beginning of a record, as long as there may be.
                    all = [&[22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xf0][..], &[0; 1000]].concat();
                }
                for byte in all {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    // Real time: all of it would take far longer than a handshake may.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                panic!("all of it was taken");
            });
        }
        while let Some(done) = in_time("the end of the drips", drips.join_next()).await {
            done.unwrap();
        }
        until("the end of what they left", || target.node.tasks() <= tasks + 2).await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}
