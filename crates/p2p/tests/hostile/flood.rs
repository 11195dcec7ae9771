//! More connections, peers and bytes than there is room for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use p2p::endpoint::Transport;
use p2p::{Error, HandshakeError, RejectReason};
use tokio::task::JoinSet;

use crate::common::attacker::{Attacker, LOCALHOST, tcp_from};
use crate::common::wire::{self, REJECT, VERSION, varint};
use crate::common::{
    Companion, Honest, STREAMS, TRANSPORTS, Target, affordable, alone, in_time, key, others_get_in, peer_id, together,
    until,
};

const SLOTS_FULL: u8 = 13;

fn crowd(n: usize) -> IpAddr {
    Ipv4Addr::new(127, 9, 1, 1 + (n % 250) as u8).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_from_one_prefix_keep_nobody_out() {
    let _turn = alone().await;
    for transport in STREAMS {
        let target = Target::new(|config| config.limits.exempt_private = false).await;
        let companion = Companion::beside(&target, transport).await;
        let most = Arc::new(AtomicUsize::new(0));
        let opened = Arc::new(AtomicUsize::new(0));
        let mut flood = JoinSet::new();
        let (workers, held) = (4, affordable(1000) / 4);
        for worker in 0..workers {
            let (to, node, most, opened) = (target.addr(transport), target.node.clone(), most.clone(), opened.clone());
            flood.spawn(async move {
                let mut streams = std::collections::VecDeque::new();
                for n in 0..10_000 / workers / if transport == Transport::Tcp { 1 } else { 2 } {
                    if let Ok(stream) = tcp_from(crowd(worker * 50 + n % 50), to).await {
                        opened.fetch_add(1, Ordering::Relaxed);
                        streams.push_back(stream);
                    }
                    if streams.len() >= held {
                        streams.pop_front();
                    }
                    most.fetch_max(node.tasks(), Ordering::Relaxed);
                }
            });
        }
        until("the flood has begun", || opened.load(Ordering::Relaxed) > 0).await;
        others_get_in(&target, transport, 5).await;
        in_time("the flood", async { while flood.join_next().await.is_some() {} }).await;
        others_get_in(&target, transport, 5).await;
        println!(
            "{transport}: {} opened, at most {} tasks",
            opened.load(Ordering::Relaxed),
            most.load(Ordering::Relaxed)
        );
        companion.shutdown().await;
        target.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_of_one_prefix_that_hold_all_slots_give_way() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let slots = 16;
        let mut target = Target::new(|config| {
            config.limits.exempt_private = false;
            config.inbound_slots = slots;
        })
        .await;
        let companion = Companion::beside(&target, transport).await;
        let mut inside = Vec::new();
        for n in 0..24 {
            let key = key(n);
            let Ok(mut hostile) = Attacker::dial_from(crowd(n as usize), transport, target.addr(transport), &key).await
            else {
                panic!("{transport}: not let in to be told why")
            };
            match hostile.join(&key).await {
                Ok(_) => {
                    target.added(peer_id(key.id())).await;
                    inside.push(hostile);
                }
                Err(reject) => {
                    assert_eq!(reject[..3], [VERSION, REJECT, SLOTS_FULL], "{transport}");
                    let (_, error) = target.failure().await;
                    let named = matches!(error, Error::Handshake(HandshakeError::Refused(RejectReason::SlotsFull)));
                    assert!(named, "{transport}: {error}");
                }
            }
        }
        assert_eq!(inside.len(), slots - 1, "{transport}: all but the companion's");
        // From elsewhere.
        let mut honest = Vec::new();
        for _ in 0..4 {
            let peer = Honest::connect(&target, transport).await;
            peer.exchange(3).await;
            honest.push(peer);
        }
        for peer in honest {
            peer.exchange(1).await;
            peer.shutdown().await;
        }
        companion.shutdown().await;
        drop(inside);
        target.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_beyond_the_slots_are_told_so() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = Target::new(|config| {
            config.inbound_slots = 4;
            config.ping_timeout = Duration::from_secs(60);
        })
        .await;
        let companion = Companion::beside(&target, transport).await;
        let mut inside = Vec::new();
        for n in 0..20 {
            let mut hostile = Attacker::dial(transport, target.addr(transport), &key(n)).await;
            match hostile.join(&key(n)).await {
                Ok(_) => {
                    target.added(peer_id(key(n).id())).await;
                    inside.push(hostile);
                }
                Err(reject) => {
                    assert_eq!(reject[..3], [VERSION, REJECT, SLOTS_FULL], "{transport}");
                    target.failure().await;
                }
            }
        }
        assert_eq!((inside.len(), target.node.peers()), (3, 4), "{transport}");
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// A good-bye gives the slot back at once, while the connection may stay a while to be drained. That is no way around
/// the limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_say_good_bye_and_stay_are_bounded() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let slots = 4;
        let target = Target::new(|config| {
            config.inbound_slots = slots;
            config.drain_timeout = Duration::from_secs(20);
        })
        .await;
        let companion = Companion::beside(&target, transport).await;
        let mut staying = Vec::new();
        let mut most = 0;
        for n in 0..60 {
            let mut hostile = Attacker::dial(transport, target.addr(transport), &key(n)).await;
            if let Ok((control, echo)) = hostile.join(&key(n)).await {
                hostile.send(echo, b"here").await;
                if hostile.message(echo).await.is_some() {
                    hostile.send(control, &wire::goodbye(1, "")).await;
                    // The echo stream's end says that the good-bye was taken.
                    hostile.ended(echo).await;
                }
            }
            most = most.max(target.node.peers());
            staying.push(hostile);
        }
        println!("{transport}: {slots} slots, {most} peers at once");
        assert!(most <= 3 * slots, "{transport}: {slots} slots, {most} peers at once");
        companion.goes_on().await;
        drop(staying);
        drop(companion);
        drop(target);
    }
}

/// Before anybody knows who they are, they send as much as they are allowed, on streams that nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_bytes_before_the_handshake_stall_nobody_else() {
    let _turn = together().await;
    for transport in STREAMS {
        let target = Target::new(|config| {
            config.limits.memory = 16 << 20;
            config.handshake_timeout = Duration::from_secs(10);
        })
        .await;
        let companion = Companion::beside(&target, transport).await;
        let honest = Honest::connect(&target, transport).await;
        let mut senders = JoinSet::new();
        for n in 0..40 {
            let mut hostile = Attacker::dial(transport, target.addr(transport), &key(n)).await;
            senders.spawn(async move {
                for _ in 0..20 {
                    let stream = hostile.open().await;
                    // The node stops reading once it holds enough.
                    let _ = tokio::time::timeout(Duration::from_secs(1), hostile.write(stream, &[0; 65_000])).await;
                }
                hostile
            });
        }
        let mut held = Vec::new();
        while let Some(hostile) = in_time("the senders", senders.join_next()).await {
            held.push(hostile.unwrap());
        }
        companion.goes_on().await;
        large_messages(&honest, 5).await;
        let newcomer = Honest::connect(&target, transport).await;
        newcomer.exchange(5).await;
        drop(held);
        newcomer.shutdown().await;
        honest.shutdown().await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

async fn large_messages(honest: &Honest, count: usize) {
    for _ in 0..count {
        let message = vec![7; 300_000];
        in_time("a large message", async {
            honest.conn.send(message.clone()).await.unwrap();
            assert_eq!(honest.conn.recv().await.unwrap().len(), message.len());
        })
        .await;
    }
}

/// A length costs nothing to send, and so must not cost others anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_only_begin_stall_nobody_else() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let target = Target::new(|config| config.limits.memory = 8 << 20).await;
        let companion = Companion::beside(&target, transport).await;
        let honest = Honest::connect(&target, transport).await;
        let mut held = Vec::new();
        for n in 0..20 {
            let mut hostile = Attacker::dial(transport, target.addr(transport), &key(n)).await;
            let (_, echo) = hostile.join(&key(n)).await.unwrap();
            hostile.write(echo, &[varint(1 << 20), vec![1]].concat()).await;
            held.push(hostile);
        }
        companion.goes_on().await;
        large_messages(&honest, 5).await;
        honest.shutdown().await;
        companion.shutdown().await;
        drop(held);
        target.shutdown().await;
    }
}

/// Unproven claims over tcp, each of somebody else, take the slots of nobody who waits a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_without_a_proof_do_not_keep_slots() {
    let _turn = together().await;
    let target = Target::new(|config| config.inbound_slots = 8).await;
    let companion = Companion::beside(&target, Transport::Tcp).await;
    let victim = key(1);
    let mut waiting = Vec::new();
    for n in 0..60 {
        // One and the same peer, restarted each time, and others.
        let claimed = if n % 2 == 0 { victim.id() } else { key(n).id() };
        let mut hello = wire::Hello::new(claimed, u64::from(n));
        hello.boot_nonce = u64::from(n);
        let stream = tcp_from(LOCALHOST, target.addr(Transport::Tcp)).await.unwrap();
        let mut hostile = Attacker::over(stream);
        let _ = hostile.hello(&hello).await;
        waiting.push(hostile);
    }
    let node = Honest::node().await;
    let honest = in_time("a slot", async {
        loop {
            match node.connect(&target.endpoint(Transport::Tcp)).await {
                Ok(peer) => break peer,
                Err(error) => {
                    println!("not yet: {error}");
                    // Real time: it is only tried again.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
    .await;
    assert_eq!(honest, target.node.peer_id());
    in_time("shutdown", node.shutdown()).await;
    companion.shutdown().await;
    target.shutdown().await;
}
