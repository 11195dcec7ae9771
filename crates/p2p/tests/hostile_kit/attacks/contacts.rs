//! Nodes of the DHT that name others which are not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::layers::identity::PeerRecord;
use p2p::layers::kademlia::message::Closer;
use p2p::layers::kademlia::{Request, Response};
use tokio::net::TcpListener;

use super::dht::{Lie, responder_of};
use crate::common::attacker::LOCALHOST;
use crate::common::wire::Key;
use crate::common::{NETWORK, key, until};
use crate::field::{Field, Figure, Figures, Must};
use crate::process::NodeProcess;

/// Contacts in an answer, as many as there may be.
const NAMED: u32 = 20;

fn pair(key: &Key) -> KeyPair {
    KeyPair::from_seed(key.seed)
}

/// Answers each question with new nodes, all at the address of somebody who has nothing to do with it, and counts who
/// dials that one.
pub(crate) async fn invent(field: Field) -> Figures {
    let third = TcpListener::bind((LOCALHOST, 0)).await.expect("a socket");
    let there = Endpoint::new(Transport::Tcp, LOCALHOST, third.local_addr().expect("an address").port());
    let dials = Arc::new(AtomicU64::new(0));
    let counter = dials.clone();
    let counting = tokio::spawn(async move {
        while let Ok((stream, _)) = third.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            drop(stream);
        }
    });
    let named = Arc::new(AtomicU32::new(0));
    let names = named.clone();
    let lie: Lie = Arc::new(move |request, _| {
        let first = 1000 + names.fetch_add(NAMED, Ordering::Relaxed);
        let record = |n| PeerRecord::builder().discovery_addr(there.clone()).sign(&pair(&key(n)), 1).ok();
        let closer = Closer { contacts: (first..first + NAMED).filter_map(record).collect(), seq: 1, observed: None };
        let response = match request {
            Request::GetValue { .. } => Response::Value { value: None, closer },
            Request::GetProviders { .. } => Response::Providers { providers: Vec::new(), closer },
            _ => Response::Contacts(closer),
        };
        response.encode().ok()
    });
    let liar = responder_of(NETWORK, pair(&key(0)), Duration::ZERO, lie).await;
    let node = NodeProcess::start(field.case, std::slice::from_ref(&liar.endpoint)).await;
    let (mut rounds, begun) = (0, Instant::now());
    until("it has been told lies", || named.load(Ordering::Relaxed) >= NAMED).await;
    while field.goes_on(rounds, 50) {
        // So long as it takes to ask for something else.
        node.counts().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        rounds += 1;
    }
    node.end().await;
    counting.abort();
    // What the defaults allow.
    let most = 4 + begun.elapsed().as_secs() / 60;
    vec![
        Figure::new("nodes named", named.load(Ordering::Relaxed), Must::Show),
        Figure::new("dials of the third party", dials.load(Ordering::Relaxed), Must::BeAtMost(most)),
    ]
}
