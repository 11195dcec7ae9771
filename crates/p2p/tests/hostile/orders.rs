//! Floods that would keep a node from doing what it wants to do itself.

use std::time::Duration;

use p2p::DisconnectReason;

use crate::common::attacker::{Attacker, End};
use crate::common::attacks::{STAY, arbiter_of, ended};
use crate::common::wire;
use crate::common::{Companion, ECHO, TRANSPORTS, Target, key, peer_id, together};

/// More than may be good for nothing, and far less than what keeps a node busy.
const MANY: usize = 300;

/// Streams that may wait there to be accepted.
const WAITING: usize = 4;

/// Whatever changes nothing has a price, and too much of it ends the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_messages_that_change_nothing_end_the_connection() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        for (what, message) in [("Stay", STAY.to_vec()), ("Ended", ended(ECHO)), ("Goodbye", wire::goodbye(1, ""))] {
            // Long enough for all of it to arrive before a good-bye is over.
            let mut target = Target::new(|config| config.drain_timeout = Duration::from_secs(20)).await;
            let companion = Companion::beside(&target, transport).await;
            let id = arbiter_of(target.node.peer_id(), 0);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
            let (control, _) = hostile.join(&id).await.unwrap();
            target.added(peer_id(id.id())).await;
            hostile.write(control, &wire::message(&message).repeat(MANY)).await;
            match target.removed(peer_id(id.id())).await {
                DisconnectReason::ProtocolViolation(why) => {
                    assert!(why.contains("nothing"), "{transport} {what}: {why}")
                }
                other => panic!("{transport} {what}: {other}"),
            }
            assert_eq!(hostile.closed().await.map(|(code, _)| code), Some(0x8000_0004), "{transport} {what}");
            companion.shutdown().await;
            target.shutdown().await;
        }
    }
}

/// Each is refused, as nobody accepts it and so many wait already, or comes without a header.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_come_to_nothing_end_the_connection() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        for with_header in [true, false] {
            let mut target = Target::new(|config| config.limits.waiting_streams = WAITING).await;
            let companion = Companion::beside(&target, transport).await;
            let id = key(1);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
            hostile.join(&id).await.unwrap();
            target.added(peer_id(id.id())).await;
            if with_header {
                for _ in 0..WAITING {
                    let stream = hostile.open().await;
                    hostile.send(stream, &wire::header(ECHO, true)).await;
                }
            }
            // In turns, each of fewer than may be open: what the node says about them is read.
            let (mut last, mut opened) = (End::Finished, 0);
            while last != End::Gone && opened < 1_000_000 {
                let mut turn = Vec::new();
                for _ in 0..64 {
                    let stream = hostile.open().await;
                    if with_header {
                        hostile.send(stream, &wire::header(ECHO, true)).await;
                    } else {
                        hostile.reset(stream, 7).await;
                    }
                    turn.push(stream);
                }
                for stream in turn {
                    last = hostile.ended(stream).await;
                    hostile.reset(stream, 7).await;
                    opened += 1;
                }
            }
            match target.removed(peer_id(id.id())).await {
                DisconnectReason::ProtocolViolation(why) => {
                    assert!(why.contains("come to nothing"), "{transport} {with_header}: {why}")
                }
                other => panic!("{transport} {with_header}: {other}"),
            }
            companion.shutdown().await;
            target.shutdown().await;
        }
    }
}
