//! Claims to be somebody.

use std::collections::VecDeque;

use p2p::endpoint::Transport;

use crate::common::attacker::{Attacker, rand_nonce};
use crate::common::key;
use crate::common::wire::{Hello, Key, REJECT};
use crate::field::{Field, Figure, Figures, Must};

/// Connections that are held at a time.
const HELD: usize = 64;

/// Connects again and again, says hello, and waits: over tcp in the name of others, over tls and quic under one key.
pub(crate) async fn take_places(field: Field) -> Figures {
    let (mut held, mut rounds, mut refused) = (VecDeque::new(), 0, 0u32);
    while field.goes_on(rounds, field.many(100, 400)) {
        let name = key(rounds);
        let proven = Key::nth(7, 0);
        // One and the same, restarted each time, and others.
        let claimed = if field.transport == Transport::Tcp && rounds % 2 == 0 { name.id() } else { proven.id() };
        let mut hello = Hello::new(claimed, rand_nonce());
        hello.boot_nonce = u64::from(rounds);
        let mut hostile = Attacker::dial(field.transport, field.addr(), &proven).await;
        match hostile.hello(&hello).await {
            Ok(_) => held.push_back(hostile),
            Err(reject) => refused += u32::from(reject.get(1) == Some(&REJECT)),
        }
        if held.len() > HELD {
            held.pop_front();
        }
        rounds += 1;
    }
    let peers = field.node.count("added").await;
    drop(held);
    vec![
        Figure::new("claims", rounds, Must::Show),
        Figure::new("refused", refused, Must::Show),
        Figure::new("peers so far", peers, Must::Show),
    ]
}
