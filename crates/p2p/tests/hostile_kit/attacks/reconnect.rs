//! Peers that come and go, talk nonsense, or begin what they do not end, until they are banned for it.

use crate::common::attacker::{Attacker, Carrier, rand_nonce};
use crate::common::key;
use crate::common::wire::{Hello, Key, REJECT, VERSION};
use crate::field::{Field, Figure, Figures, Must};

/// How many times one peer tries: far more than is borne.
const TRIES: u32 = 1000;

const BANNED: u8 = 11;

#[derive(Debug, Clone, Copy)]
enum Way {
    /// It is accepted, and refuses, or goes.
    LeadsNowhere,
    /// It becomes a peer, and says what makes no sense.
    TalksNonsense,
    /// It becomes a peer, and goes at once without a good-bye.
    Flaps,
}

pub(crate) async fn lead_nowhere(field: Field) -> Figures {
    until_banned(Way::LeadsNowhere, &field, field.many(1, 4), 500).await
}

pub(crate) async fn talk_nonsense(field: Field) -> Figures {
    until_banned(Way::TalksNonsense, &field, field.many(4, 16), 10).await
}

pub(crate) async fn flap(field: Field) -> Figures {
    until_banned(Way::Flaps, &field, field.many(1, 4), 200).await
}

/// Does it again and again under each of several names, until that name is banned.
async fn until_banned(way: Way, field: &Field, least: u32, borne: u64) -> Figures {
    let (mut names, mut times, mut most, mut banned) = (0, 0, 0, 0u32);
    while field.goes_on(names, least) {
        let id = key(names);
        for n in 0..TRIES {
            let hostile = Attacker::dial(field.transport, field.addr(), &id).await;
            match once(way, field, hostile, &id, n).await {
                Ok(()) => {
                    times += 1;
                    most = most.max(n + 1);
                    // So that it is booked before the next time.
                    match way {
                        Way::LeadsNowhere => field.node.has("failed", times).await,
                        Way::TalksNonsense => drop(field.node.sum(&["violations", "banned"], times).await),
                        Way::Flaps => {}
                    }
                }
                Err(reject) if reject.starts_with(&[VERSION, REJECT, BANNED]) => {
                    banned += 1;
                    break;
                }
                // Over tcp and tls it may still be there, in the eyes of the node.
                Err(_) => {}
            }
        }
        names += 1;
    }
    vec![
        Figure::new("names", names, Must::Show),
        Figure::new("times that one was let in at most", most, Must::BeAtMost(borne)),
        Figure::new("banned", banned, Must::Be(names.into())),
    ]
}

async fn once(way: Way, field: &Field, mut hostile: Attacker, id: &Key, n: u32) -> Result<(), Vec<u8>> {
    match way {
        Way::LeadsNowhere => {
            let (control, _) = hostile.hello(&Hello::new(id.id(), rand_nonce())).await?;
            if n.is_multiple_of(2) {
                // Access control says no.
                hostile.send(control, &[VERSION, REJECT, 12]).await;
                hostile.finish(control).await;
                hostile.closed().await;
            } else {
                hostile.close(0, "").await;
            }
        }
        Way::TalksNonsense => {
            let (control, _) = hostile.join(id).await?;
            field.node.knows(id).await;
            match &mut hostile.carrier {
                Carrier::Mux(mux) if n.is_multiple_of(2) => mux.write(&[0xa5; 100]).await,
                _ => hostile.send(control, &[0xa5; 100]).await,
            }
            hostile.closed().await;
        }
        Way::Flaps => {
            hostile.join(id).await?;
            hostile.close(0, "").await;
        }
    }
    Ok(())
}
