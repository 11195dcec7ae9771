//! Peers that go without a word, or only by half. When that is noticed is shown in virtual time: `tests/silent.rs`.

use std::time::Duration;

use p2p::endpoint::Transport;
use p2p::{DisconnectReason, PeerEvent};
use tokio::io::AsyncWriteExt;

use crate::common::attacker::{Attacker, LOCALHOST, identity, tcp_from};
use crate::common::{Companion, STREAMS, TRANSPORTS, Target, in_time, key, peer_id, together};

const INTERVAL: Duration = Duration::from_millis(500);

/// An honest peer is never silent for so long, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Exactly one `Removed` of the peer.
async fn noticed(target: &mut Target, n: u32) -> DisconnectReason {
    let id = peer_id(key(n).id());
    let reason = target.removed(id).await;
    println!("noticed: {reason}");
    let more = target.events_so_far().await;
    let again = more.iter().any(|event| matches!(event, PeerEvent::Removed { peer, .. } if peer.peer_id == id));
    assert!(!again, "removed twice");
    assert!(target.node.peer(&id).is_none());
    reason
}

async fn joined(target: &mut Target, transport: Transport, n: u32) -> (Attacker, u32) {
    let mut hostile = Attacker::dial(transport, target.addr(transport), &key(n)).await;
    let (_, echo) = hostile.join(&key(n)).await.unwrap();
    target.added(peer_id(key(n).id())).await;
    hostile.send(echo, b"here").await;
    assert_eq!(hostile.message(echo).await.unwrap(), b"here");
    (hostile, echo)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_falls_silent_is_noticed() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = Target::new(|config| (config.ping_interval, config.ping_timeout) = (INTERVAL, TIMEOUT)).await;
        let companion = Companion::beside(&target, transport).await;
        let (hostile, _) = joined(&mut target, transport, 1).await;
        // The socket stays open, and for tcp and tls the kernel acknowledges what comes.
        if transport == Transport::Quic {
            hostile.quic().socket.pull_the_plug();
        }
        let reason = noticed(&mut target, 1).await;
        assert_eq!(reason, DisconnectReason::PingTimeout, "{transport}");
        companion.shutdown().await;
        drop(hostile);
        target.shutdown().await;
    }
}

/// A peer whose transport acknowledges, and which never answers: any byte is life, but not for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_only_acknowledges_is_noticed_in_the_end() {
    let _turn = together().await;
    let mut target = Target::new(|config| {
        (config.ping_interval, config.ping_timeout) = (INTERVAL, TIMEOUT);
        config.stall_timeout = TIMEOUT;
    })
    .await;
    let companion = Companion::beside(&target, Transport::Quic).await;
    let (hostile, _) = joined(&mut target, Transport::Quic, 1).await;
    let reason = target.removed(peer_id(key(1).id())).await;
    assert!(matches!(reason, DisconnectReason::Stalled | DisconnectReason::PingTimeout), "{reason}");
    drop(hostile);
    // Over tcp and tls, one that sends, and does not answer.
    for transport in STREAMS {
        let (mut hostile, _) = joined(&mut target, transport, 2).await;
        let sending = async {
            loop {
                // Half a frame, byte by byte, for as long as it takes.
                hostile.mux().write(&[0]).await;
                // Real time: it sends until the end, however often that is.
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        };
        let reason = tokio::select! {
            reason = target.removed(peer_id(key(2).id())) => reason,
            () = sending => unreachable!(),
        };
        println!("{transport}: {reason}");
        let expected = matches!(
            reason,
            DisconnectReason::Stalled | DisconnectReason::PingTimeout | DisconnectReason::ProtocolViolation(_)
        );
        assert!(expected, "{reason}");
    }
    companion.shutdown().await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_connection_is_noticed() {
    let _turn = together().await;
    for transport in STREAMS {
        let mut target = Target::new(|_| ()).await;
        let companion = Companion::beside(&target, transport).await;
        let (mut hostile, _) = joined(&mut target, transport, 1).await;
        hostile.mux().io.shutdown().await.unwrap();
        let reason = noticed(&mut target, 1).await;
        assert!(matches!(reason, DisconnectReason::Lost(_)), "{transport}: {reason}");
        companion.shutdown().await;
        target.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_connection_is_noticed() {
    let _turn = together().await;
    for transport in STREAMS {
        let mut target = Target::new(|_| ()).await;
        let companion = Companion::beside(&target, transport).await;
        let stream = tcp_from(LOCALHOST, target.addr(transport)).await.unwrap();
        // Closing it says RST.
        stream.set_zero_linger().unwrap();
        let mut hostile = if transport == Transport::Tls {
            let connector = tokio_rustls::TlsConnector::from(identity(&key(1)).client_config().clone());
            let name = rustls::pki_types::ServerName::try_from("peer.invalid").unwrap();
            Attacker::over(in_time("TLS", connector.connect(name, stream)).await.unwrap())
        } else {
            Attacker::over(stream)
        };
        hostile.join(&key(1)).await.unwrap();
        target.added(peer_id(key(1).id())).await;
        drop(hostile);
        let reason = noticed(&mut target, 1).await;
        assert!(matches!(reason, DisconnectReason::Lost(_)), "{transport}: {reason}");
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// TCP ends in the middle of a TLS session, which says nothing of its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_off_is_noticed() {
    let _turn = together().await;
    for transport in STREAMS {
        let mut target = Target::new(|_| ()).await;
        let companion = Companion::beside(&target, transport).await;
        let (hostile, _) = joined(&mut target, transport, 1).await;
        drop(hostile);
        let reason = noticed(&mut target, 1).await;
        assert!(matches!(reason, DisconnectReason::Lost(_)), "{transport}: {reason}");
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// Says good-bye and does not go; slots are not held by those who leave, and those who leave do go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_says_good_bye_and_stays_is_closed() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = Target::new(|_| ()).await;
        let companion = Companion::beside(&target, transport).await;
        let mut hostile = Attacker::dial(transport, target.addr(transport), &key(1)).await;
        let (control, echo) = hostile.join(&key(1)).await.unwrap();
        target.added(peer_id(key(1).id())).await;
        hostile.send(control, &crate::common::wire::goodbye(5, "so long")).await;
        hostile.send(echo, b"and one more").await;
        let reason = target.removed(peer_id(key(1).id())).await;
        assert!(matches!(reason, DisconnectReason::Remote { code: 5, .. }), "{transport}: {reason}");
        assert!(hostile.closed().await.is_some(), "{transport}");
        companion.shutdown().await;
        target.shutdown().await;
    }
}
