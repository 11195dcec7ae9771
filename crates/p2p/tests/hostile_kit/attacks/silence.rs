//! Connections that say nothing, by the hundred.

use std::collections::VecDeque;

use crate::common::affordable;
use crate::common::attacker::{Attacker, tcp_from};
use crate::common::key;
use crate::common::silent::{From, Silent};
use crate::field::{Field, Figure, Figures, Must};
use crate::honest::HONEST_TASKS;

/// Connects from many addresses and says nothing, or nothing after the transport's handshake.
pub(crate) async fn say_nothing(field: Field) -> Figures {
    let before = field.node.count("tasks").await;
    let (mut rounds, mut connections) = (0, 0);
    while field.goes_on(rounds, 1) {
        let (mut silent, mut certified) = (Silent::default(), Vec::new());
        let many = affordable(field.many(100, 1000));
        silent.open(From::ManyPrefixes, field.transport, field.addr(), many).await;
        for n in 0..field.many(20, 100) {
            // The oldest make room, and may not have got that far.
            let id = key(n as u32);
            certified.push(Attacker::dial_from(From::ManyPrefixes.ip(n), field.transport, field.addr(), &id).await);
        }
        connections += many + certified.len();
        // Each ends by itself, with everything that belongs to it.
        field.node.until("tasks", |tasks| tasks <= before + HONEST_TASKS).await;
        rounds += 1;
    }
    vec![Figure::new("silent connections, each given up", connections, Must::BeAtLeast(1))]
}

/// Opens connections from one address range as fast as it can, and holds as many as one process can.
pub(crate) async fn crowd(field: Field) -> Figures {
    let before = field.node.count("tasks").await;
    let (mut opened, mut most, mut held) = (0u32, 0, VecDeque::new());
    let (many, at_once) = (field.many(2_000, 10_000), affordable(1000));
    while field.goes_on(opened, many) {
        if let Ok(stream) = tcp_from(From::OnePrefix.ip(opened as usize), field.addr()).await {
            held.push_back(stream);
        }
        if held.len() > at_once {
            held.pop_front();
        }
        opened += 1;
        if opened % 100 == 0 {
            most = most.max(field.node.count("tasks").await);
        }
    }
    vec![
        Figure::new("connections", opened, Must::Show),
        Figure::new("tasks beside those before", most.saturating_sub(before), Must::BeAtMost(CROWD_TASKS)),
    ]
}

/// Tasks of a node's connections that are closed and linger for a second, of 16 handshakes, and of honest peers.
const CROWD_TASKS: u64 = 256 + 128;
