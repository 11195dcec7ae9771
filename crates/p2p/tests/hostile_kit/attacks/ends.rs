//! What would keep a node from its own business: floods while it shuts down, and the dead on its list.

use std::net::{TcpListener, UdpSocket};
use std::time::Instant;

use p2p::endpoint::{Endpoint, Transport};

use crate::common::attacker::{Attacker, Carrier, LOCALHOST};
use crate::common::wire::{WINDOW, frame, message};
use crate::common::{Target, key, until};
use crate::field::{Field, Figure, Figures, Must};
use crate::process::NodeProcess;

/// Credit that lasts.
const CREDIT: u32 = 1 << 31;

/// Bytes of each message of a flood.
const MESSAGE: usize = 1 << 10;

/// Floods the echo of a node, reads what comes back, and goes on while the node is told to end.
pub(crate) async fn flood_on(field: Field) -> Figures {
    let (mut rounds, mut floods) = (0u32, 0u32);
    while field.goes_on(rounds, field.many(2, 8)) {
        let mut hostile = Attacker::dial(field.transport, field.addr(), &key(rounds)).await;
        // While the node has much to do, a handshake may come too late.
        if floods < field.many(2, 8)
            && let Ok((_, echo)) = hostile.join(&key(rounds)).await
        {
            tokio::spawn(flood_and_read(hostile, echo));
            floods += 1;
        }
        rounds += 1;
    }
    vec![Figure::new("floods that go on", floods, Must::BeAtLeast(1))]
}

/// Until the connection ends.
async fn flood_and_read(mut hostile: Attacker, echo: u32) {
    let block = message(&[0; MESSAGE]).repeat(16);
    match &mut hostile.carrier {
        Carrier::Mux(mux) => {
            mux.write(&frame(WINDOW, echo, &CREDIT.to_be_bytes())).await;
            hostile.flood(echo, &block, usize::MAX).await;
        }
        Carrier::Quic(quic) => {
            let (mut send, mut recv) = quic.take(echo);
            tokio::spawn(async move { while let Ok(Some(_)) = recv.read_chunk(usize::MAX, false).await {} });
            while send.write_all(&block).await.is_ok() {}
        }
    }
}

/// Peers on a node's list of which nobody answers.
const DEAD: usize = 99;

/// Starts a node with a list of peers of which only the last one lives.
pub(crate) async fn list_the_dead(field: Field) -> Figures {
    let good = Target::new(|_| ()).await;
    let (mut streams, mut sockets, mut list) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..DEAD {
        // They take what comes, and say nothing.
        let addr = if field.transport == Transport::Quic {
            let socket = UdpSocket::bind((LOCALHOST, 0)).expect("a socket");
            sockets.push(socket);
            sockets.last().map(UdpSocket::local_addr)
        } else {
            let listener = TcpListener::bind((LOCALHOST, 0)).expect("a socket");
            streams.push(listener);
            streams.last().map(TcpListener::local_addr)
        };
        let port = addr.expect("one more").expect("an address").port();
        list.push(Endpoint::new(field.transport, LOCALHOST, port));
    }
    list.push(good.endpoint(field.transport));
    let begin = Instant::now();
    let node = NodeProcess::start(field.case, &list).await;
    until("the living one is met", || good.node.peer(&node.id).is_some()).await;
    let took = begin.elapsed();
    node.end().await;
    good.shutdown().await;
    vec![
        Figure::new("dead peers on the list", DEAD, Must::Show),
        Figure::new("ms until the living one is met", u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Must::Show),
    ]
}
