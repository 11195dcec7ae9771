//! A node that lets in only those on a list, and what happens when somebody is taken off it.

use std::sync::Arc;
use std::time::Duration;

use p2p::access_control::AllowList;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::{Config, Error, Node, PeerEvent};

async fn visitor(key_pair: &KeyPair) -> Result<Arc<Node>, Error> {
    // It listens nowhere: dialing needs no endpoint of one's own.
    let node = Node::new(key_pair, Config::default())?;
    node.run().await?;
    Ok(node)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let friend_key = KeyPair::generate(&KeyPairType::Ed25519);
    let friends = AllowList::new();
    friends.insert(friend_key.peer_id());

    // The node holds a handle to the same list: what is inserted or removed later counts at once.
    let config = Config { access_control: Arc::new(friends.clone()), ..Config::loopback() };
    let club = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), config)?;
    club.run().await?;
    let door = club.listen_endpoints().remove(0).with_peer_id(club.peer_id());

    let (friend, stranger) = (visitor(&friend_key).await?, visitor(&KeyPair::generate(&KeyPairType::Ed25519)).await?);
    friend.connect(&door).await?;
    println!("the friend is in");
    // The list is asked once the stranger has proven who it is, and the stranger is told why.
    match stranger.connect(&door).await {
        Ok(_) => return Err(Error::app("the stranger is in")),
        Err(error) => println!("the stranger is not: {error}"),
    }

    let mut events = friend.register_peer_events();
    friends.remove(friend_key.peer_id());
    let removed = async {
        loop {
            match events.recv().await.map_err(Error::app)? {
                PeerEvent::Removed { reason, .. } => return Ok::<_, Error>(reason),
                _ => continue,
            }
        }
    };
    let reason = friend.runtime().timeout(Duration::from_secs(60), removed).await.map_err(Error::app)??;
    println!("the friend is no longer welcome: {reason}");

    for node in [&friend, &stranger, &club] {
        node.shutdown().await;
    }
    Ok(())
}
