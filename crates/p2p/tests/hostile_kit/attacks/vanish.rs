//! Peers that go without a word, or give no credit.

use std::time::Duration;

use crate::common::attacker::{Attacker, LOCALHOST, identity, ordinary_transport, quic_client, rand_nonce};
use crate::common::wire::Hello;
use crate::common::{in_time, key};
use crate::field::{Field, Figure, Figures, Must};

/// Becomes a peer, and says nothing more, or cuts the connection off.
pub(crate) async fn fall_silent(field: Field) -> Figures {
    let (mut gone, mut rounds, mut removals) = (0, 0, 0);
    while field.goes_on(rounds, 1) {
        let (mut silent, before) = (Vec::new(), gone);
        for n in 0..field.many(4, 16) {
            let id = key(gone);
            let mut hostile = Attacker::dial(field.transport, field.addr(), &id).await;
            hostile.join(&id).await.expect("nobody is banned yet");
            field.node.knows(&id).await;
            gone += 1;
            if n % 2 == 0 {
                silent.push(hostile);
            }
        }
        for n in before..gone {
            in_time("an end that is noticed", async {
                while field.node.removals(&key(n)).await == 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
        }
        rounds += 1;
    }
    for n in 0..gone {
        removals += field.node.removals(&key(n)).await;
    }
    vec![
        Figure::new("peers that vanished", gone, Must::Show),
        Figure::new("noticed, each once", removals, Must::Be(gone.into())),
    ]
}

/// Grants no credit in the handshake, or little.
pub(crate) async fn grant_nothing(field: Field) -> Figures {
    let mut rounds = 0;
    while field.goes_on(rounds, 5) {
        let (stream, connection) =
            [(0u32, 0u32), (0, 1 << 20), (1 << 20, 0), (1, 1 << 20), (60, 60)][rounds as usize % 5];
        let mut transport = ordinary_transport();
        transport.stream_receive_window(stream.into()).receive_window(connection.into());
        let id = key(rounds);
        let config = quic_client(identity(&id).client_config().clone(), transport);
        let mut hostile = Attacker::dial_quic(LOCALHOST, field.addr(), config).await.expect("a connection");
        let control = hostile.open().await;
        hostile.send(control, &Hello::new(id.id(), rand_nonce()).encode()).await;
        hostile.closed().await;
        rounds += 1;
    }
    vec![Figure::new("handshakes given up", field.node.sum(&["failed"], rounds.into()).await, Must::Be(rounds.into()))]
}
