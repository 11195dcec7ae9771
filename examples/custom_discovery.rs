//! A discovery of one's own: a file with an endpoint in each line, read again every second.
//!
//! ```sh
//! custom_discovery peers.txt       # add and remove lines while it runs
//! ```

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use p2p::discovery::{DiscoveredPeer, Discovery, DiscoveryContext, PeerConnectionEvent, StaticDiscovery};
use p2p::endpoint::Endpoint;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::{Config, Error, Node, PeerEvent, TaskGroup, async_trait};

/// More than this is no list of peers.
const MAX_FILE: u64 = 1 << 20;

/// Keeps a list up to date with a file. `StaticDiscovery` does the rest: it offers each endpoint once, and again, with growing
/// waits, after a connection has failed or ended.
struct FileDiscovery {
    path: PathBuf,
    list: Arc<StaticDiscovery>,
    tasks: OnceLock<TaskGroup>,
}

impl FileDiscovery {
    fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, list: StaticDiscovery::new([]), tasks: OnceLock::new() })
    }
}

/// The endpoints in the text; empty lines and comments aside.
fn parse(text: &str) -> BTreeSet<Endpoint> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parsed = lines.filter_map(|line| line.parse().inspect_err(|error| eprintln!("{line:?}: {error}")).ok());
    parsed.collect()
}

#[async_trait]
impl Discovery for FileDiscovery {
    fn init(&self, context: DiscoveryContext) {
        let _ = self.tasks.set(TaskGroup::new(context.runtime.clone()));
        self.list.init(context);
    }

    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let tasks = self.tasks.get().ok_or_else(|| Error::app("`init` comes before `start`"))?;
        // The task holds the list and not the discovery, which owns the task.
        let (path, list, runtime) = (self.path.clone(), self.list.clone(), tasks.runtime().clone());
        tasks.spawn("read the list of peers", async move {
            let mut seconds = runtime.interval(Duration::from_secs(1));
            loop {
                match runtime.files().read(&path, MAX_FILE) {
                    Ok(bytes) => {
                        let wanted = parse(&String::from_utf8_lossy(&bytes));
                        for gone in list.endpoints().iter().filter(|endpoint| !wanted.contains(endpoint)) {
                            list.remove(gone);
                        }
                        wanted.into_iter().for_each(|endpoint| list.insert(endpoint));
                    }
                    // What was read before stays.
                    Err(error) => eprintln!("{}: {error}", path.display()),
                }
                seconds.tick().await;
            }
        });
        Ok(())
    }

    async fn shutdown(&self) {
        if let Some(tasks) = self.tasks.get() {
            tasks.shutdown().await;
        }
    }

    async fn recv(&self) -> DiscoveredPeer {
        self.list.recv().await
    }

    fn on_event(&self, event: PeerConnectionEvent) {
        self.list.on_event(event);
    }

    fn find_peers_with(&self, _item: &[u8]) -> Vec<DiscoveredPeer> {
        Vec::new() // a list of endpoints does not say who offers what
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("Usage: custom_discovery FILE");
        return ExitCode::from(2);
    };
    p2p_examples::exit("custom_discovery", run(path.into()).await)
}

async fn run(path: PathBuf) -> Result<(), Error> {
    let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
    let config = Config { seeding_interval: Duration::from_secs(1), ..Config::default() };
    let node = Node::builder(&key_pair).config(config).discovery(FileDiscovery::new(path)).build()?;
    let mut events = node.register_peer_events();
    let mut interrupted = p2p_examples::interrupted();
    node.run().await?;
    println!("looking for peers");
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            event = events.recv() => match event {
                Ok(PeerEvent::Added { peer }) => println!("connected: {} at {}", peer.peer_id, peer.endpoint),
                Ok(PeerEvent::Removed { peer, reason }) => println!("disconnected: {}: {reason}", peer.peer_id),
                Ok(_) => {}
                Err(error) => return Err(Error::app(error)),
            },
        }
    }
    node.shutdown().await;
    Ok(())
}
