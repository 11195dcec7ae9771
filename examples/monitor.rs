//! Prints everything that a node's monitor has to say: connections, peers, discovery.

use std::time::Duration;

use p2p::keypair::{KeyPair, KeyPairType};
use p2p::{Config, ConnectionEvent, DiscoveryEvent, Error, Node, PeerPoolEvent};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let key_pair = || KeyPair::generate(&KeyPairType::Ed25519);
    let watched = Node::new(&key_pair(), Config::loopback())?;
    // Each listener gets every event from now on and has a queue of its own. One that nobody reads loses its oldest
    // events, and costs the node nothing.
    let mut connections = watched.monitor().register::<ConnectionEvent>();
    let mut pool = watched.monitor().register::<PeerPoolEvent>();
    let mut discovery = watched.monitor().register::<DiscoveryEvent>();

    let runtime = watched.runtime().clone();
    let doings = async move {
        watched.run().await?;
        for endpoint in watched.listen_endpoints() {
            let visitor = Node::new(&key_pair(), Config::loopback())?;
            visitor.run().await?;
            visitor.connect(&endpoint).await?;
            visitor.shutdown().await;
        }
        // Nobody listens at a port that was just given back.
        let gone = Node::new(&key_pair(), Config::loopback())?;
        gone.run().await?;
        let endpoint = gone.listen_endpoints().remove(0);
        gone.shutdown().await;
        if watched.connect(&endpoint).await.is_ok() {
            return Err(Error::app("somebody answered where nobody is"));
        }
        watched.shutdown().await;
        drop(watched); // the listeners end with the last handle
        Ok::<_, Error>(())
    };

    let print = async {
        loop {
            tokio::select! {
                Ok(event) = connections.recv() => println!("connection  {event}"),
                Ok(event) = pool.recv() => println!("pool        {event}"),
                Ok(event) = discovery.recv() => println!("discovery   {event}"),
                else => break, // all three have ended
            }
        }
    };
    let both = async { tokio::join!(doings, print).0 };
    runtime.timeout(Duration::from_secs(60), both).await.map_err(Error::app)?
}
