//! Messages on the control stream.

use crate::common::attacker::Attacker;
use crate::common::attacks::{STAY, arbiter_of, ended};
use crate::common::{ECHO, peer_id, wire};
use crate::field::{Field, Figure, Figures, Must};

/// Bytes that a connection may take of a flood before it ends: what a window holds that has grown, and little more. A
/// node that reads before it acts takes all that comes.
const TAKEN: usize = 4 << 20;

/// What is sent at most.
const FLOOD: usize = 64 << 20;

/// Floods the control stream with what changes nothing; every other time the node is told to ban the sender meanwhile.
pub(crate) async fn flood(field: Field) -> Figures {
    let (mut rounds, mut most) = (0, 0);
    while field.goes_on(rounds, 4) {
        let id = arbiter_of(field.node.id, 1000 * rounds);
        let message = if rounds / 2 % 2 == 0 { STAY.to_vec() } else { ended(ECHO) };
        let mut hostile = Attacker::dial(field.transport, field.addr(), &id).await;
        let (control, _) = hostile.join(&id).await.expect("nobody is banned yet");
        field.node.knows(&id).await;
        let block = wire::message(&message).repeat(1000);
        let flood = hostile.flood(control, &block, FLOOD);
        let taken = if rounds % 2 == 0 {
            let ban = format!("ban {}", peer_id(id.id()));
            tokio::join!(flood, field.node.order(&ban)).0
        } else {
            flood.await
        };
        most = most.max(taken);
        hostile.closed().await;
        rounds += 1;
    }
    let ended = field.node.sum(&["violations", "banned"], rounds.into()).await;
    vec![
        Figure::new("floods", rounds, Must::Show),
        Figure::new("KiB that one connection took at most", most >> 10, Must::BeAtMost(TAKEN as u64 >> 10)),
        Figure::new("ended by rule or ban", ended, Must::Be(rounds.into())),
    ]
}
