//! Lookups: of those who are banned, and those that are never asked to the end.

use p2p::layers::kademlia::{Key, Request, Response};
use tokio::time::sleep;

use crate::common::attacker::Attacker;
use crate::common::attacks::{asks, lookup};
use crate::common::wire::{self, Hello};
use crate::common::{key, peer_id};
use crate::field::{Field, Figure, Figures, Must};
use crate::honest::{PAUSE, TRIES};

fn to(field: &Field) -> std::net::SocketAddr {
    field.node.lookups(field.transport)
}

/// Asks, is banned, and asks on, at the ports of peers and of lookups.
pub(crate) async fn ask_while_banned(field: Field) -> Figures {
    let (mut rounds, mut before, mut banned, mut others) = (0, 0u32, 0u32, 0u32);
    while field.goes_on(rounds, 4) {
        let (id, other) = (key(2 * rounds), key(2 * rounds + 1));
        before += u32::from(asks(&id, field.transport, to(&field)).await.is_ok());
        field.node.order(&format!("ban {}", peer_id(id.id()))).await;
        for _ in 0..4 {
            banned += u32::from(asks(&id, field.transport, to(&field)).await.is_ok());
            let mut hostile = Attacker::dial(field.transport, field.addr(), &id).await;
            banned += u32::from(hostile.join(&id).await.is_ok());
        }
        others += u32::from(asks(&other, field.transport, to(&field)).await.is_ok());
        rounds += 1;
    }
    vec![
        Figure::new("lookups before a ban", before, Must::Be(rounds.into())),
        Figure::new("lookups and peers in spite of a ban", banned, Must::Be(0)),
        Figure::new("lookups of others", others, Must::Be(rounds.into())),
    ]
}

/// Asks for the nodes close to some position, and gives whether it was told.
async fn is_served(field: &Field, id: &wire::Key, request: &[u8]) -> bool {
    let mut asker = Attacker::dial(field.transport, to(field), id).await;
    let hello = Hello { payload: request.to_vec(), ..lookup(id) };
    let Ok(control) = asker.shake(id, &hello).await else { return false };
    let answer = asker.message(control).await.unwrap_or_default();
    matches!(Response::decode(&answer), Ok(Response::Contacts(_)))
}

/// Takes every place there is with requests that have only begun; somebody else asks meanwhile.
pub(crate) async fn half_send(field: Field) -> Figures {
    let request = Request::FindNode { target: Key::of_value(b"anything") }.encode().expect("a short request");
    let mut held = Vec::new();
    let connections: u32 = field.many(100, 400);
    for n in 0..connections {
        let mut hostile = Attacker::dial(field.transport, to(&field), &key(n)).await;
        if hostile.shake(&key(n), &lookup(&key(n))).await.is_ok() {
            let stream = hostile.open().await;
            let message = wire::message(&request);
            hostile.write(stream, &message[..message.len() / 2]).await;
        }
        held.push(hostile);
    }
    let (mut rounds, mut served, mut tries) = (0, 0u32, 0u32);
    while field.goes_on(rounds, 3) {
        for _ in 0..TRIES {
            tries += 1;
            if is_served(&field, &key(10_000 + rounds), &request).await {
                served += 1;
                break;
            }
            sleep(PAUSE).await;
        }
        rounds += 1;
    }
    drop(held);
    vec![
        Figure::new("half-sent requests", connections, Must::Show),
        Figure::new("tries of others", tries, Must::Show),
        Figure::new("lookups of others", served, Must::Be(rounds.into())),
    ]
}
