//! Datagrams from addresses that are not the sender's.

use std::net::{IpAddr, Ipv4Addr};

use p2p::endpoint::Transport;
use tokio::net::UdpSocket;

use crate::common::attacker::{Attacker, LOCALHOST, identity, ordinary_transport, quic_client, quic_socket};
use crate::common::attacks::{BEYOND, first_datagram, wrong_tls};
use crate::common::wire::Key;
use crate::common::{TRANSPORTS, key};
use crate::field::{Field, Figure, Figures, Must};
use crate::honest::{HONEST_TASKS, PAUSE, TRIES};

/// The address that is forged, and others of its range.
fn victim(n: u32) -> IpAddr {
    Ipv4Addr::new(127, 9, 7, 1 + (n % 250) as u8).into()
}

/// Handshakes of a kind in one round: more than the points of a ban, and more than the node has without asking for a proof.
const FORGED: u32 = 150;

/// Begins handshakes in the name of others, wrong ones and ones that nobody goes on with; then those others come.
pub(crate) async fn blame(field: Field) -> Figures {
    let before = field.node.count("tasks").await;
    let (mut rounds, mut owners, mut comers) = (0, 0u32, 0u32);
    while field.goes_on(rounds, 1) {
        let mut begun = Vec::new();
        // Nobody hears what the node answers.
        let mut begin = |from, tls| {
            let (endpoint, _) = quic_socket(from, 0);
            let config = quic_client(tls, ordinary_transport());
            let dial = endpoint.connect_with(config, field.addr(), "peer.invalid").expect("a dial");
            begun.push((endpoint, dial));
        };
        (0..FORGED).for_each(|_| begin(victim(0), wrong_tls()));
        field.node.has("refused", FORGED.into()).await;
        (0..FORGED).for_each(|n| begin(victim(n), identity(&key(0)).client_config().clone()));
        for transport in TRANSPORTS {
            comers += 1;
            owners += u32::from(comes(&field, transport, &key(1000 + comers)).await);
        }
        drop(begun);
        field.node.until("tasks", |tasks| tasks <= before + HONEST_TASKS).await;
        rounds += 1;
    }
    vec![
        Figure::new("forged handshakes", 2 * FORGED * rounds, Must::Show),
        Figure::new("owners of the address that got in", owners, Must::Be(comers.into())),
    ]
}

/// Whether somebody gets in who is at the address that was forged.
async fn comes(field: &Field, transport: Transport, id: &Key) -> bool {
    for _ in 0..TRIES {
        let dialed = Attacker::dial_from(victim(0), transport, field.node.addr(transport), id).await;
        if let Ok(mut owner) = dialed
            && owner.join(id).await.is_ok()
        {
            owner.close(0, "").await;
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// Datagrams that may be answered, and ones that may not, as fast as they can be sent.
pub(crate) async fn flood(field: Field) -> Figures {
    let sockets = [0, 1, 2, 3].map(|n| async move { UdpSocket::bind((victim(n), 0)).await.expect("a socket") });
    let sockets = futures_util::future::join_all(sockets).await;
    let (mut rounds, mut sent, mut got, mut buffer) = (0, 0, 0, [0; 2000]);
    while field.goes_on(rounds, field.many(2_000, 20_000)) {
        let datagram = match (field.transport, rounds % 4) {
            (Transport::Udp, 0..=2) => ping(&field, rounds),
            (Transport::Udp, _) => vec![0xa5; 90],
            // An initial packet of a version there is not, which is answered with those there are.
            (_, 0) => [&[0xc0, 0xa, 0xb, 0xc, 0xd, 8][..], &[7; 8], &[8], &[9; 8], &[0; 1178]].concat(),
            // Of a connection that there is not, which is answered with a reset.
            (_, 1) => [&[0x40][..], &[rounds as u8; 60]].concat(),
            (_, 2) => vec![0xff; 1200],
            _ => vec![0x00; 20],
        };
        let socket = &sockets[rounds as usize % sockets.len()];
        // What the system has no room for is lost.
        sent += socket.send_to(&datagram, field.addr()).await.unwrap_or(0);
        for socket in &sockets {
            while let Ok((len, _)) = socket.try_recv_from(&mut buffer) {
                got += len;
            }
        }
        rounds += 1;
    }
    vec![
        Figure::new("datagrams", rounds, Must::Show),
        Figure::new("bytes that came back", got, Must::BeAtMost(sent as u64)),
        Figure::new("bytes sent", sent, Must::Show),
    ]
}

/// Of one node to another, with a sender made up.
fn ping(field: &Field, n: u32) -> Vec<u8> {
    let (from, nonce) = (key(n % 100).id(), [n.to_be_bytes(); 4].concat());
    [&[1, 0][..], &from, field.node.id.as_bytes(), &nonce, &[0; 8]].concat()
}

/// The beginning of a dial, once and twice, and nothing after it: what comes back is counted until the node gives up.
pub(crate) async fn amplify(field: Field) -> Figures {
    let (mut rounds, mut given_up, mut sent, mut got, mut beyond) = (0, 0, 0, 0, 0);
    while field.goes_on(rounds, 1) {
        let mut forgers = Vec::new();
        for n in 0..field.many(4, 16) {
            let datagram = first_datagram().await;
            let forger = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
            forger.connect(field.addr()).await.unwrap();
            let mut from_here = 0;
            for _ in 0..=n % 2 {
                from_here += forger.send(&datagram).await.unwrap();
            }
            forgers.push((forger, from_here));
        }
        rounds += 1;
        // Each has been given up: what was to be sent is there.
        given_up += forgers.len() as u64;
        field.node.has("refused", given_up).await;
        let mut buffer = [0; 2000];
        for (forger, from_here) in forgers {
            let mut back = 0;
            while let Ok(len) = forger.try_recv(&mut buffer) {
                back += len;
            }
            sent += from_here;
            got += back;
            beyond = beyond.max(back.saturating_sub(3 * from_here));
        }
    }
    vec![
        Figure::new("bytes sent", sent, Must::Show),
        Figure::new("bytes that came back", got, Must::BeAtLeast(1)),
        Figure::new("bytes beyond three times, for one address", beyond, Must::BeAtMost(BEYOND as u64)),
    ]
}
