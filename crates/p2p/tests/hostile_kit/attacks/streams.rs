//! Streams and messages: too many, too early, too small, or never read.

use futures_util::FutureExt;
use tokio::task::JoinSet;

use crate::common::attacker::{Attacker, Carrier, End};
use crate::common::wire::{self, header, varint};
use crate::common::{ECHO, key};
use crate::field::{Field, Figure, Figures, Must};

/// The control stream, and the only protocol's.
const EARLY_STREAMS: usize = 2;

/// Streams that a remote which was accepted may have.
const STREAMS: usize = 128;

/// A stream's first window.
const WINDOW: usize = 64 << 10;

/// Connections that have said no hello open streams and fill them, and stay.
pub(crate) async fn fill_early(field: Field) -> Figures {
    let (mut rounds, mut most) = (0, 0);
    let connections: u32 = field.many(40, 250);
    while field.goes_on(rounds, connections) {
        let mut held = Vec::new();
        for n in 0..connections {
            let mut hostile = Attacker::dial(field.transport, field.addr(), &key(rounds + n)).await;
            most = most.max(crammed(&mut hostile).await);
            held.push(hostile);
        }
        rounds += connections;
    }
    vec![
        Figure::new("connections", rounds, Must::Show),
        Figure::new("streams of one that were taken at most", most, Must::BeAtMost(EARLY_STREAMS as u64)),
    ]
}

/// Opens as many streams as a peer may have, fills each, and gives how many there are.
async fn crammed(hostile: &mut Attacker) -> usize {
    if let Carrier::Quic(quic) = &hostile.carrier {
        let (connection, mut opened) = (quic.connection.clone(), Vec::new());
        while opened.len() < STREAMS {
            let Some(Ok((mut send, recv))) = connection.open_bi().now_or_never() else { break };
            // As much as the window takes.
            let _ = send.write_all(&[0; WINDOW]).now_or_never();
            opened.push((send, recv));
        }
        return opened.len();
    }
    let mut opened = Vec::new();
    for _ in 0..STREAMS {
        opened.push(hostile.open().await);
    }
    if !hostile.mux().ping().await {
        return 0;
    }
    opened.retain(|id| hostile.mux().end(*id) != Some(End::Refused));
    for stream in &opened {
        hostile.mux().write(&wire::frame(wire::DATA, *stream, &[0; WINDOW / 8])).await;
    }
    opened.len()
}

/// What one connection sends of empty messages at most.
const EMPTY: usize = 8 << 20;

/// Sends empty messages without end to a protocol that is held up, because its answers are not read.
pub(crate) async fn send_nothing(field: Field) -> Figures {
    let (mut rounds, mut sent) = (0, 0);
    while field.goes_on(rounds, 1) {
        let mut floods = JoinSet::new();
        for n in 0..field.many(2, 8) {
            let (field, id) = (field.clone(), key(100 * rounds + n));
            floods.spawn(async move {
                let mut hostile = Attacker::dial(field.transport, field.addr(), &id).await;
                let Ok((_, echo)) = hostile.join(&id).await else { return 0 };
                // It takes no more once the node reads no more, and goes when it has answered no ping.
                hostile.flood(echo, &[0; 4000], EMPTY).await
            });
        }
        sent += floods.join_all().await.into_iter().sum::<usize>();
        rounds += 1;
    }
    vec![Figure::new("KiB of empty messages that were taken", sent >> 10, Must::BeAtLeast(1))]
}

/// Opens streams for a protocol that nobody speaks, until that is enough.
pub(crate) async fn stray(field: Field) -> Figures {
    let (mut rounds, mut most) = (0, 0);
    while field.goes_on(rounds, field.many(1, 4)) {
        let id = key(rounds);
        let mut hostile = Attacker::dial(field.transport, field.addr(), &id).await;
        hostile.join(&id).await.expect("nobody is banned yet");
        let mut streams = 0u64;
        loop {
            let stream = hostile.open().await;
            hostile.send(stream, &header("/unknown/1", false)).await;
            if hostile.ended(stream).await == End::Gone || streams == 1000 {
                break;
            }
            streams += 1;
        }
        hostile.closed().await;
        most = most.max(streams);
        rounds += 1;
    }
    vec![
        Figure::new("streams of one peer at most", most, Must::BeAtMost(200)),
        Figure::new("banned", field.node.sum(&["banned"], rounds.into()).await, Must::Be(rounds.into())),
    ]
}

/// Raw streams of a protocol that accepts none, held open.
pub(crate) async fn hold_streams(field: Field) -> Figures {
    let (mut rounds, mut most, mut echoes) = (0, 0, 0u32);
    while field.goes_on(rounds, field.many(4, 32)) {
        let id = key(rounds);
        let mut hostile = Attacker::dial(field.transport, field.addr(), &id).await;
        let (_, echo) = hostile.join(&id).await.expect("it keeps the rules so far");
        let (mut open, mut held) = (0, Vec::new());
        for _ in 0..2 * STREAMS {
            if let Carrier::Quic(quic) = &hostile.carrier {
                let Some(Ok((mut send, recv))) = quic.connection.open_bi().now_or_never() else { break };
                let _ = send.write_all(&wire::message(&header(ECHO, true))).now_or_never();
                held.push((send, recv));
                open += 1;
                continue;
            }
            let stream = hostile.open().await;
            hostile.send(stream, &header(ECHO, true)).await;
            if hostile.mux().ping().await && hostile.mux().end(stream).is_none() {
                open += 1;
            }
        }
        most = most.max(open);
        hostile.send(echo, b"on").await;
        echoes += u32::from(hostile.message(echo).await.is_some_and(|message| message == b"on"));
        rounds += 1;
    }
    vec![
        Figure::new("streams of one peer at most", most, Must::BeAtMost(STREAMS as u64)),
        Figure::new("protocols beside them that went on", echoes, Must::Be(rounds.into())),
    ]
}

/// Lengths of which nothing follows.
pub(crate) async fn claim_lengths(field: Field) -> Figures {
    let (mut rounds, mut closed) = (0, 0u32);
    while field.goes_on(rounds, 16) {
        let id = key(rounds);
        let mut hostile = Attacker::dial(field.transport, field.addr(), &id).await;
        let claim = |max: u64| [varint([max + 1, 1 << 32, 1 << 61, (1 << 62) - 1][rounds as usize % 4]), vec![0; 100]];
        match rounds / 4 % 4 {
            0 => {
                let control = hostile.open().await;
                hostile.write(control, &claim(16 << 10).concat()).await;
            }
            1 if matches!(hostile.carrier, Carrier::Mux(_)) => {
                hostile.open().await;
                hostile.mux().write(&wire::frame_claiming(wire::DATA, 1, 0xff_ffff, &[0; 8])).await;
            }
            2 => {
                let (control, _) = hostile.join(&id).await.expect("it keeps the rules so far");
                hostile.write(control, &claim(1024).concat()).await;
            }
            _ => {
                let (_, echo) = hostile.join(&id).await.expect("it keeps the rules so far");
                hostile.write(echo, &claim(1 << 20).concat()).await;
            }
        }
        closed += u32::from(hostile.closed().await.is_some());
        rounds += 1;
    }
    vec![
        Figure::new("lengths", rounds, Must::Show),
        Figure::new("closed with a reason", closed, Must::Be(rounds.into())),
    ]
}

/// Peers that are sent much and read nothing.
pub(crate) async fn read_nothing(field: Field) -> Figures {
    let peers: u32 = field.many(4, 16);
    let mut held = Vec::new();
    for n in 0..peers {
        let mut hostile = Attacker::dial(field.transport, field.addr(), &key(n)).await;
        hostile.join(&key(n)).await.expect("it keeps the rules so far");
        field.node.knows(&key(n)).await;
        held.push(hostile);
    }
    let mut rounds = 0;
    while field.goes_on(rounds, field.many(2, 16)) {
        field.node.order("broadcast 1000").await;
        rounds += 1;
    }
    field.node.has("silent", peers.into()).await;
    vec![
        Figure::new("broadcasts of 16 KiB", 1000 * rounds, Must::Show),
        Figure::new("disconnected because they read nothing", field.node.count("silent").await, Must::Be(peers.into())),
    ]
}
