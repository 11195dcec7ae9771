//! Peers that come and go, or talk nonsense, again and again.

use std::time::Duration;

use p2p::endpoint::Transport;
use p2p::{Config, DisconnectReason, Node};

use crate::common::attacker::{Attacker, Carrier, Trap, ordinary_transport, rand_nonce};
use crate::common::wire::{Hello, REJECT, VERSION, goodbye};
use crate::common::{Companion, NETWORK, STREAMS, TRANSPORTS, Target, in_time, key, patient, peer_id, together};

const BANNED: u8 = 11;

/// How a hostile peer goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// The connection is cut.
    Cut,
    /// It is closed, with a code, and without a good-bye.
    Close,
}

async fn go(mut hostile: Attacker, way: Way) {
    match way {
        Way::Close => hostile.close(0, "").await,
        Way::Cut => {
            if let Carrier::Quic(quic) = &mut hostile.carrier {
                // A close that no application has asked for: the nearest to a cut that is noticed at once.
                quic.connection.close(0u32.into(), b"");
            }
            drop(hostile);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flapping_leads_to_a_ban_of_the_one_who_flaps() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        for way in [Way::Cut, Way::Close] {
            if transport == Transport::Quic && matches!(way, Way::Cut) {
                continue;
            }
            let mut target = Target::new(|_| ()).await;
            let companion = Companion::beside(&target, transport).await;
            let id = key(1);
            let mut rounds = 0;
            let reject = loop {
                assert!(rounds < 100, "{transport} {way:?}: may come and go for ever");
                let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
                match hostile.join(&id).await {
                    Ok(_) => {
                        target.added(peer_id(id.id())).await;
                        go(hostile, way).await;
                        target.removed(peer_id(id.id())).await;
                    }
                    Err(reject) => break reject,
                }
                rounds += 1;
            };
            println!("{transport} {way:?}: banned after {rounds} rounds");
            assert_eq!(reject[..3], [VERSION, REJECT, BANNED], "{transport}");
            // Its neighbor at the same address is not concerned, and a ban can be lifted.
            let mut other = Attacker::dial(transport, target.addr(transport), &key(2)).await;
            other.join(&key(2)).await.unwrap();
            assert!(target.node.unban(&peer_id(id.id())));
            let mut pardoned = Attacker::dial(transport, target.addr(transport), &id).await;
            pardoned.join(&id).await.unwrap();
            companion.shutdown().await;
            drop((other, pardoned));
            target.shutdown().await;
        }
    }
}

/// Coming and going in good order is no offence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coming_and_going_with_a_good_bye_is_no_offence() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = Target::new(|_| ()).await;
        for _ in 0..30 {
            let id = key(1);
            let mut peer = Attacker::dial(transport, target.addr(transport), &id).await;
            let (control, echo) = peer.join(&id).await.unwrap();
            target.added(peer_id(id.id())).await;
            peer.send(control, &goodbye(0, "")).await;
            peer.finish(echo).await;
            peer.ended(echo).await;
            peer.close(0, "").await;
            assert!(target.removed(peer_id(id.id())).await.is_orderly());
        }
        target.shutdown().await;
    }
}

/// Says nonsense in every way there is, after a proper handshake.
async fn talk_nonsense(hostile: &mut Attacker, control: u32, round: u32) {
    match (&mut hostile.carrier, round % 2) {
        (Carrier::Mux(mux), 0) => mux.write(&[0xa5; 100]).await,
        _ => hostile.send(control, &[0xa5; 100]).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_after_the_handshake_leads_to_a_ban() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = Target::new(|_| ()).await;
        let companion = Companion::beside(&target, transport).await;
        let id = key(1);
        let mut rounds = 0;
        let reject = loop {
            assert!(rounds < 20, "{transport}: may talk nonsense for ever");
            let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
            let control = match hostile.join(&id).await {
                Ok((control, _)) => control,
                Err(reject) => break reject,
            };
            target.added(peer_id(id.id())).await;
            talk_nonsense(&mut hostile, control, rounds).await;
            let reason = target.removed(peer_id(id.id())).await;
            let expected = matches!(reason, DisconnectReason::ProtocolViolation(_) | DisconnectReason::Banned);
            assert!(expected, "{transport}: {reason}");
            assert!(hostile.closed().await.is_some());
            rounds += 1;
        };
        assert_eq!(reject[..3], [VERSION, REJECT, BANNED], "{transport}");
        // A little of it is forgiven meanwhile.
        assert!(rounds >= 4, "{transport}: {rounds}");
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// With addresses that are held responsible, the address goes with the peer, and comes back no more under new names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_under_many_names_leads_to_a_ban_of_the_address() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = Target::new(|config| config.limits.exempt_private = false).await;
        let companion = Companion::beside(&target, transport).await;
        let ip = [127, 77, 7, 7].into();
        let mut rounds = 0;
        while let Ok(mut hostile) = Attacker::dial_from(ip, transport, target.addr(transport), &key(rounds)).await {
            assert!(rounds < 40, "{transport}: may talk nonsense for ever");
            let Ok((control, _)) = hostile.join(&key(rounds)).await else { break };
            target.added(peer_id(key(rounds).id())).await;
            talk_nonsense(&mut hostile, control, rounds).await;
            target.removed(peer_id(key(rounds).id())).await;
            rounds += 1;
        }
        // Of what each does its address bears a fifth; some of that is forgiven meanwhile.
        assert!(rounds >= 17, "{transport}: {rounds}");
        // Others get in.
        let other = Companion::beside(&target, transport).await;
        other.shutdown().await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// The list of bans has a limit, and the one that ends first is evicted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_bans_is_bounded() {
    let _turn = together().await;
    let mut target = Target::new(|config| config.limits.offenders = 4).await;
    let companion = Companion::beside(&target, Transport::Tcp).await;
    let addr = target.addr(Transport::Tcp);
    for n in 0..6 {
        for round in 0.. {
            assert!(round < 20, "{n} may talk nonsense for ever");
            let mut hostile = Attacker::dial(Transport::Tcp, addr, &key(n)).await;
            let Ok((control, _)) = hostile.join(&key(n)).await else { break };
            target.added(peer_id(key(n).id())).await;
            talk_nonsense(&mut hostile, control, round).await;
            target.removed(peer_id(key(n).id())).await;
        }
    }
    let mut first = Attacker::dial(Transport::Tcp, addr, &key(0)).await;
    first.join(&key(0)).await.unwrap();
    companion.shutdown().await;
    target.shutdown().await;
}

/// A node that is to stay connected with a hostile peer does not dial it in a tight loop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_always_drops_is_dialed_less_and_less() {
    let _turn = together().await;
    for transport in STREAMS {
        let (trap, addr) = Trap::new(transport, &key(1), ordinary_transport()).await;
        let config = Config {
            network: NETWORK.into(),
            dial_peers: vec![format!("{transport}://{addr}").parse().unwrap()],
            ..patient()
        };
        let node = Node::new(&p2p::keypair::KeyPair::from_seed([44; 32]), config).unwrap();
        node.run().await.unwrap();
        let mut dials = 0;
        let mut dialed = async || {
            let mut caught = in_time("a dial", trap.catch()).await;
            caught.welcome(&key(1)).await;
            dials += 1;
        };
        dialed().await;
        // Real time: a busy machine dials less often, and never more.
        let over = tokio::time::sleep(Duration::from_secs(4));
        tokio::select! {
            () = over => {}
            () = async { loop { dialed().await } } => {}
        }
        println!("{transport}: {dials} dials in 4 s");
        assert!(dials <= 12, "{transport}: {dials}");
        in_time("shutdown", node.shutdown()).await;
    }
}

/// What a peer does with a handshake after it has proven who it is and was accepted.
#[derive(Debug, Clone, Copy)]
enum Idle {
    /// It goes.
    Drops,
    /// It refuses, having been accepted.
    Rejects,
}

/// Over tls and quic the certificate says whose handshake it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_lead_nowhere_have_a_price() {
    let _turn = together().await;
    for transport in [Transport::Tls, Transport::Quic] {
        for way in [Idle::Drops, Idle::Rejects] {
            let mut target = Target::new(|_| ()).await;
            let companion = Companion::beside(&target, transport).await;
            let id = key(1);
            let mut tries = 0;
            let reject = loop {
                tries += 1;
                assert!(tries < 1000, "{transport} {way:?}: free");
                let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
                let control = match hostile.hello(&Hello::new(id.id(), rand_nonce())).await {
                    Ok((control, _)) => control,
                    Err(reject) => break reject,
                };
                if let Idle::Rejects = way {
                    // Access control says no.
                    hostile.send(control, &[VERSION, REJECT, 12]).await;
                    target.failure().await;
                    continue;
                }
                hostile.close(0, "").await;
                target.failure().await;
            };
            println!("{transport} {way:?}: {tries} tries");
            assert_eq!(reject[..3], [VERSION, REJECT, BANNED], "{transport} {way:?}");
            assert!(tries > 100, "{transport} {way:?}: {tries} are little");
            companion.shutdown().await;
            target.shutdown().await;
        }
    }
}
