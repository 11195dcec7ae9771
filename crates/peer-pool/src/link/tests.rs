//! What a remote can make of the messages that are put aside.

use std::task::{Context, Waker};

use p2p_core::{PeerId, runtime};
use p2p_net::{Connection, Endpoint, NetConfig, SendLimits, Transports};

use super::*;
use crate::peer::CoreParts;
use crate::{ConnectionId, Direction};

const MAX_STASH: usize = 64 << 10;

/// A link, the remote's sender, and what keeps both alive.
struct Pair {
    link: Link,
    remote: MessageSender,
    _kept: (Transports, Connection, Connection),
}

async fn pair(max_stash: usize) -> Pair {
    let runtime = runtime::current().expect("this is tokio");
    let transports = Transports::new(runtime.clone(), NetConfig::default());
    let listener = transports.listen(&"tcp://127.0.0.1:0".parse().expect("it is one")).await.expect("a port");
    let dialed = transports.dial(&listener.local_endpoint()).await.expect("it listens");
    let accepted = listener.accept().await.expect("it was dialed").accept().await.expect("over tcp nothing fails");
    let limits = SendLimits { max_message: 1 << 20, queue_messages: 1 << 20, queue_bytes: 16 << 20 };
    let budget = ByteBudget::new(64 << 20);
    let (_, send) = dialed.open_stream().await.expect("a stream").into_split();
    let remote = MessageSender::new(send, limits, &budget);
    let (recv, send) = accepted.accept_stream().await.expect("a stream").into_split();
    let core = Arc::new(Core::new(CoreParts {
        id: PeerId::from_bytes([9; 32]).expect("a canonical y coordinate"),
        connection_id: ConnectionId::new(1),
        boot: 1,
        endpoint: Endpoint::from_socket_addr(p2p_net::Transport::Tcp, ([127, 0, 0, 1], 1).into()),
        direction: Direction::Inbound,
        runtime,
        early: false,
    }));
    let link = Link::new(LinkParts {
        core,
        peer: Weak::new(),
        group: Weak::new(),
        protocol: "/test/1".parse().expect("an id"),
        remote_version: "0.1.0".parse().expect("a version"),
        sender: MessageSender::new(send, limits, &budget),
        receiver: MessageReceiver::new(recv, 1 << 20, &budget),
        max_waiting: 1,
        max_stash,
        max_message: 1 << 20,
        budget,
    });
    Pair { link, remote, _kept: (transports, dialed, accepted) }
}

/// Messages that have no bytes, and so take no credit.
const EMPTY: usize = 50_000;

async fn send_empty(remote: &MessageSender) {
    for _ in 0..EMPTY {
        remote.send(Bytes::new()).await.expect("the connection lives");
    }
    remote.finish();
}

#[tokio::test]
async fn empty_messages_that_nobody_reads_fill_what_is_put_aside() {
    let Pair { link, remote, _kept } = pair(MAX_STASH).await;
    let draining = async {
        let mut draining = pin!(link.drain());
        poll_fn(|cx| {
            let drained = draining.as_mut().poll(cx);
            let rest = link.rest();
            let held = rest.stash.len() * size_of::<(Bytes, Option<Reservation>)>();
            assert!(held <= 2 * MAX_STASH, "{held} bytes for {} messages", rest.stash.len());
            drained
        })
        .await;
    };
    let reading = async {
        // Those who read get all of them.
        for _ in 0..EMPTY {
            assert!(link.recv_rest().await.expect("there is more").is_empty());
        }
    };
    tokio::join!(send_empty(&remote), draining, reading);
}

#[tokio::test]
async fn who_reads_in_place_of_a_protocol_lets_others_go_first() {
    let Pair { link, remote, _kept } = pair(usize::MAX).await;
    send_empty(&remote).await;
    let mut draining = pin!(link.drain());
    let put_aside = || link.rest().stash.len();
    while put_aside() < EMPTY {
        let before = put_aside();
        let _ = draining.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let more = put_aside() - before;
        assert!(more <= MESSAGES_PER_TURN, "{more} messages at once");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_protocol_that_waits_gets_what_is_read_in_its_place_in_order() {
    let Pair { link, remote, _kept } = pair(MAX_STASH).await;
    remote.send(Bytes::from_static(b"0")).await.expect("the connection lives");
    assert_eq!(link.recv().await.expect("it was sent"), "0");
    let mut reading = pin!(async {
        for n in 1..=200u8 {
            assert_eq!(link.recv().await.expect("there is more"), [n].as_slice());
        }
    });
    let mut draining = pin!(link.drain());
    poll_fn(|cx| {
        assert!(reading.as_mut().poll(cx).is_pending() && draining.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    assert!(link.receiver.is_taken_over());
    let sending = async {
        for n in 1..=200u8 {
            remote.send(Bytes::copy_from_slice(&[n])).await.expect("the connection lives");
        }
        remote.finish();
    };
    tokio::join!(sending, reading, draining);
    assert!(!link.has_unread());
}

#[tokio::test]
async fn messages_that_are_received_count_as_use() {
    let Pair { link, remote, _kept } = pair(MAX_STASH).await;
    let now = link.core.runtime.now();
    assert_eq!(link.core.last_used(now), None);
    remote.send(Bytes::from_static(b"1")).await.expect("the connection lives");
    assert_eq!(link.recv().await.expect("it was sent"), "1");
    assert!(link.core.last_used(link.core.runtime.now()).is_some());
}
