//! Claims that are false, and certificates and hellos that nothing of ours would make.

use p2p::keypair::KeyPair;

use crate::common::attacker::{Attacker, LOCALHOST, rand_nonce};
use crate::common::attacks::offering;
use crate::common::wire::{self, Hello, Key};
use crate::common::{Honest, in_time, key};
use crate::field::{Field, Figure, Figures, Must};
use crate::honest::enters;

/// Claims to be somebody else, with whatever it can get hold of; then that one comes.
pub(crate) async fn pretend(field: Field) -> Figures {
    let victim = Key::new([11; 32]);
    let (mut rounds, mut believed) = (0, 0u32);
    while field.goes_on(rounds, 12) {
        let thief = key(rounds);
        let mut hostile = Attacker::dial(field.transport, field.addr(), &thief).await;
        let hello = Hello::new(victim.id(), rand_nonce());
        if let Ok((control, answer)) = hostile.hello(&hello).await {
            let transcript = wire::transcript(&hello.encode(), &answer);
            let forged = match rounds % 3 {
                0 => thief.sign("p2p/1 handshake", &[&[0], &transcript]),
                1 => vec![0; 64],
                // In the role of the listener.
                _ => victim.sign("p2p/1 handshake", &[&[1], &transcript]),
            };
            hostile.message(control).await;
            hostile.send(control, &wire::accept(Some(&forged))).await;
        }
        rounds += 1;
        hostile.closed().await;
        field.node.has("failed", rounds.into()).await;
        let there = field.node.order(&format!("has {}", crate::common::peer_id(victim.id()))).await;
        believed += u32::from(there.as_deref() != Some("no"));
    }
    let owner = Honest::node_of(&KeyPair::from_seed(victim.seed)).await;
    let connected = enters(&owner, field.node.endpoint(field.transport)).await.0.is_some();
    in_time("shutdown", owner.shutdown()).await;
    vec![
        Figure::new("false claims", rounds, Must::Show),
        Figure::new("believed", believed, Must::Be(0)),
        Figure::new("owners that connected after them", u64::from(connected), Must::Be(1)),
    ]
}

/// Offers no name of a protocol in TLS (ALPN).
pub(crate) async fn offer_nothing(field: Field) -> Figures {
    let (mut rounds, mut accepted) = (0, 0u32);
    while field.goes_on(rounds, 8) {
        let dialed = Attacker::try_dial(field.transport, LOCALHOST, field.addr(), offering(&[])).await;
        if let Ok(mut nameless) = dialed {
            accepted += u32::from(nameless.hello(&Hello::new(key(0).id(), rand_nonce())).await.is_ok());
        }
        rounds += 1;
    }
    vec![Figure::new("dials", rounds, Must::Show), Figure::new("accepted", accepted, Must::Be(0))]
}

/// Sends hellos that break a bound.
pub(crate) async fn exaggerate(field: Field) -> Figures {
    let (mut rounds, mut refused, mut accepted) = (0, 0u32, 0u32);
    while field.goes_on(rounds, 5) {
        let id = key(rounds);
        let mut hello = Hello::new(id.id(), rand_nonce());
        match rounds % 5 {
            0 => hello.record = Some(wire::record(&id, 10_000)),
            1 => hello.record = Some(wire::record(&id, 9)),
            2 => hello.network = vec![b'a'; 3 << 20],
            3 => hello.protocols = (0..65).map(|n| (format!("/p/{n:03}"), "0.1.0".to_string(), 1)).collect(),
            _ => hello.payload = vec![0; 1025],
        }
        let mut hostile = Attacker::dial(field.transport, field.addr(), &id).await;
        let control = hostile.open().await;
        // What is too long is refused by its length; the rest need not be sent, and is more than may be.
        let message = wire::message(&hello.encode());
        hostile.write(control, &message[..message.len().min(16 << 10)]).await;
        match hostile.message(control).await {
            Some(answer) if answer.get(1) == Some(&wire::REJECT) => refused += 1,
            _ => accepted += 1,
        }
        hostile.finish(control).await;
        hostile.closed().await;
        rounds += 1;
    }
    vec![
        Figure::new("refused with a reason", refused, Must::Be(rounds.into())),
        Figure::new("others", accepted, Must::Be(0)),
    ]
}
