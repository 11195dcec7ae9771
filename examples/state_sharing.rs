//! Application state that protocols reach, and an application that hears of what they change: three nodes in a row keep one
//! table of scores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::util::encode;
use p2p::{Config, Error, Node, async_trait};
use tokio::sync::watch;

/// The best score of each player. Merging takes the higher one, so news may come in any order and more than once.
type Scores = BTreeMap<String, u64>;

/// Takes news in and gives what of it was new.
fn merge(scores: &watch::Sender<Scores>, news: Scores) -> Scores {
    let mut fresh = Scores::new();
    scores.send_if_modified(|scores| {
        for (player, score) in news {
            let known = scores.entry(player.clone()).or_default();
            if score > *known {
                *known = score;
                fresh.insert(player, score);
            }
        }
        !fresh.is_empty()
    });
    fresh
}

struct Board {
    conn: PeerConn,
    /// The application's state: the protocols of all peers hold the same, and a `watch` tells the application of changes.
    scores: Arc<watch::Sender<Scores>>,
}

#[async_trait]
impl Protocol for Board {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let known = self.scores.borrow().clone();
        self.conn.send_msg(&known).await?;
        loop {
            let fresh = merge(&self.scores, self.conn.recv_msg().await?);
            if !fresh.is_empty() {
                // To everybody else. Who is too slow to take it would have to be sent all of it later; see `Broadcast::busy`.
                self.conn.broadcast_except(encode(&fresh)?, &[self.conn.peer_id()])?;
            }
        }
    }

    fn id() -> ProtocolId {
        "/board/1".parse().expect("a valid id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

/// The application: a node and the state that its protocols share.
struct Player {
    node: Arc<Node>,
    scores: Arc<watch::Sender<Scores>>,
}

impl Player {
    async fn new() -> Result<Self, Error> {
        let node = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), Config::loopback())?;
        let scores = Arc::new(watch::Sender::new(Scores::new()));
        let shared = scores.clone();
        node.attach_protocol(move |conn| Board { conn, scores: shared.clone() })?;
        node.run().await?;
        Ok(Self { node, scores })
    }

    /// From the application to the peers: the node sends without any `PeerConn`.
    fn score(&self, player: &str, score: u64) -> Result<(), Error> {
        let fresh = merge(&self.scores, Scores::from([(player.into(), score)]));
        self.node.broadcast_msg(&Board::id(), &fresh)?;
        Ok(())
    }

    async fn dial(&self, other: &Self) -> Result<(), Error> {
        let there = other.node.listen_endpoints().remove(0).with_peer_id(other.node.peer_id());
        self.node.connect(&there).await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (ada, bob, cyd) = (Player::new().await?, Player::new().await?, Player::new().await?);
    ada.score("ada", 7)?; // before anybody is there
    bob.dial(&ada).await?;
    cyd.dial(&bob).await?;
    bob.score("bob", 3)?;
    cyd.score("cyd", 5)?;
    cyd.score("ada", 9)?; // cyd is not connected with ada: bob passes it on

    let all = Scores::from([("ada".into(), 9), ("bob".into(), 3), ("cyd".into(), 5)]);
    for (player, name) in [(&ada, "ada"), (&bob, "bob"), (&cyd, "cyd")] {
        // From the protocols to the application.
        #[expect(
            clippy::disallowed_methods,
            reason = "only what runs in the simulator must wake tasks in a fixed order"
        )]
        let mut scores = player.scores.subscribe();
        let agreed = scores.wait_for(|scores| *scores == all);
        player
            .node
            .runtime()
            .timeout(Duration::from_secs(60), agreed)
            .await
            .map_err(Error::app)?
            .map_err(Error::app)?;
        println!("{name} knows {all:?}");
    }
    for player in [&ada, &bob, &cyd] {
        player.node.shutdown().await;
    }
    Ok(())
}
