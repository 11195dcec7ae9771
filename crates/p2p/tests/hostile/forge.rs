//! Datagrams from addresses of others: what they say is held against nobody.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use p2p::endpoint::Transport;
use tokio::net::UdpSocket;

use crate::common::attacker::{Attacker, LOCALHOST, identity, ordinary_transport, quic_client, quic_socket, tcp_from};
use crate::common::attacks::{BEYOND, first_datagram, wrong_tls};
use crate::common::{Companion, Honest, TRANSPORTS, Target, key, peer_id, together};

/// The address that is forged, and others of its range.
fn victim(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 9, 7, n).into()
}

/// The owner of the address gets in, over everything.
async fn the_owner_gets_in(target: &mut Target) {
    for (n, transport) in TRANSPORTS.into_iter().enumerate() {
        let id = key(90 + n as u32);
        let mut owner = Attacker::dial_from(victim(1), transport, target.addr(transport), &id).await.unwrap();
        owner.join(&id).await.unwrap_or_else(|reject| panic!("{transport}: {reject:?}"));
        target.added(peer_id(id.id())).await;
        owner.close(0, "").await;
        target.removed(peer_id(id.id())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_in_the_name_of_others_ban_nobody() {
    let _turn = together().await;
    let mut target = Target::new(|config| config.limits.exempt_private = false).await;
    let companion = Companion::beside(&target, Transport::Quic).await;
    let to = target.addr(Transport::Quic);
    // Far more points than a ban takes, were they counted.
    for _ in 0..150 {
        let config = quic_client(wrong_tls(), ordinary_transport());
        assert!(Attacker::dial_quic(victim(1), to, config).await.is_err());
    }
    the_owner_gets_in(&mut target).await;
    companion.shutdown().await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_in_the_name_of_others_take_nobody_s_place() {
    let _turn = together().await;
    let mut target = Target::new(|config| config.limits.exempt_private = false).await;
    let companion = Companion::beside(&target, Transport::Quic).await;
    let to = target.addr(Transport::Quic);
    // In the middle of its handshake, and slow.
    let slow = key(1);
    let mut hostile = Attacker::over(tcp_from(victim(1), target.addr(Transport::Tcp)).await.unwrap());
    // The listener takes connections in the order in which they come: the next one is let in after it.
    Honest::connect(&target, Transport::Tcp).await.shutdown().await;
    let mut forged = Vec::new();
    for n in 0..200u8 {
        let (endpoint, _) = quic_socket(victim(n + 2), 0);
        let tls = identity(&key(0)).client_config().clone();
        let dial = endpoint.connect_with(quic_client(tls, ordinary_transport()), to, "peer.invalid").unwrap();
        forged.push((endpoint, dial));
    }
    // So do datagrams.
    Honest::connect(&target, Transport::Quic).await.shutdown().await;
    hostile.join(&slow).await.expect("nobody took its place");
    target.added(peer_id(slow.id())).await;
    the_owner_gets_in(&mut target).await;
    companion.shutdown().await;
    target.shutdown().await;
}

/// Until an address is proven, it gets little more than three times what came from there: the answer, what is sent again
/// because nobody acknowledges it, and the close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unproven_address_gets_three_times_what_it_sent_and_one_datagram_at_most() {
    let _turn = together().await;
    let target = Target::new(|config| config.handshake_timeout = Duration::from_secs(3)).await;
    for datagrams in [1, 2] {
        let datagram = first_datagram().await;
        let forger = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
        forger.connect(target.addr(Transport::Quic)).await.unwrap();
        let (mut sent, mut got, mut buffer) = (0, Vec::new(), vec![0; 2000]);
        for _ in 0..datagrams {
            sent += forger.send(&datagram).await.unwrap();
        }
        // Longer than the node waits for the rest of the handshake.
        while let Ok(len) = tokio::time::timeout(Duration::from_secs(5), forger.recv(&mut buffer)).await {
            got.push(len.unwrap());
        }
        let all: usize = got.iter().sum();
        println!("{sent} bytes sent, {all} received: {got:?}");
        assert!(all > sent, "it answered: {got:?}");
        assert!(all < 3 * sent + BEYOND, "{all} bytes for {sent}: {got:?}");
    }
    target.shutdown().await;
}
