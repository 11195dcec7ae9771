//! Peers of earlier runs, kept in a file.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use p2p_core::{PeerId, Runtime, StateFile};
use p2p_discovery::{DiscoveredPeer, Discovery, DiscoveryContext, PeerConnectionEvent, StaticDiscovery};
use p2p_identity::Error;
use p2p_net::Endpoint;
use p2p_net::endpoint::MAX_ENDPOINT_LEN;

/// Peers that are remembered; beyond that the oldest is forgotten.
const PEERS: usize = 256;

/// The first line of the file.
const HEADER: &str = "# p2p peers 1";

/// The longest file that is read.
const MAX_FILE_LEN: u64 = (HEADER.len() + PEERS * (MAX_ENDPOINT_LEN + 1) + 1) as u64;

/// Offers the peers that earlier runs were connected with, and writes down those that this run connects with: only
/// peers that we have dialed ourselves, so that an address in the file is one that worked.
pub(super) struct Remembered {
    file: StateFile,
    list: Arc<StaticDiscovery>,
    /// By peer, with a number that grows with each connection.
    known: Mutex<BTreeMap<PeerId, (u64, Endpoint)>>,
}

impl Remembered {
    /// Reads the file in `folder`, which blocks for as long as the disk takes. One that is missing or unreadable is no
    /// reason not to start: it is reported and replaced at the next change.
    pub(super) fn load(runtime: Arc<dyn Runtime>, folder: &Path) -> Arc<Self> {
        let path = folder.join("peers");
        let text = match runtime.files().read(&path, MAX_FILE_LEN) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                tracing::warn!(
                    path = %path.display(), %error,
                    "the remembered peers cannot be read, and are looked for anew: make the file readable, or delete it",
                );
                String::new()
            }
        };
        let known = parse(&text);
        let list = StaticDiscovery::new(known.values().map(|(_, endpoint)| endpoint.clone()));
        Arc::new(Self { file: StateFile::new(runtime, path), list, known: Mutex::new(known) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, (u64, Endpoint)>> {
        // The map is valid after each statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, peer_id: PeerId, endpoint: Endpoint) {
        let mut known = self.lock();
        let newest = known.values().map(|(order, _)| *order).max().unwrap_or(0);
        let endpoint = endpoint.with_peer_id(peer_id);
        if known.get(&peer_id).is_some_and(|(order, same)| *order == newest && *same == endpoint) {
            return;
        }
        known.insert(peer_id, (newest + 1, endpoint));
        if known.len() > PEERS {
            let oldest = known.iter().min_by_key(|(_, (order, _))| *order).map(|(peer_id, _)| *peer_id);
            if let Some((_, endpoint)) = oldest.and_then(|oldest| known.remove(&oldest)) {
                self.list.remove(&endpoint);
            }
        }
        self.save(&known);
    }

    fn forget(&self, peer_id: PeerId) {
        let mut known = self.lock();
        if let Some((_, endpoint)) = known.remove(&peer_id) {
            self.list.remove(&endpoint);
            self.save(&known);
        }
    }

    fn save(&self, known: &BTreeMap<PeerId, (u64, Endpoint)>) {
        self.file.save(write(known).into_bytes());
    }
}

/// The peers of a file, oldest first. Lines that are not an endpoint with a peer id are passed over: a file that was
/// cut or edited loses what is broken and no more.
fn parse(text: &str) -> BTreeMap<PeerId, (u64, Endpoint)> {
    let mut known = BTreeMap::new();
    for (order, line) in text.lines().enumerate() {
        if let Ok(endpoint) = line.trim().parse::<Endpoint>()
            && let Some(peer_id) = endpoint.peer_id()
            && known.len() < PEERS
        {
            known.insert(peer_id, (order as u64, endpoint));
        }
    }
    known
}

/// The file with these peers.
fn write(known: &BTreeMap<PeerId, (u64, Endpoint)>) -> String {
    let mut entries: Vec<_> = known.values().collect();
    entries.sort();
    let lines: String = entries.into_iter().map(|(_, endpoint)| format!("{endpoint}\n")).collect();
    format!("{HEADER}\n{lines}")
}

/// Reads a file of remembered peers and writes it again; gives how many peers are in it, too. For fuzzing.
#[cfg(feature = "fuzzing")]
pub fn rewrite(text: &str) -> (String, usize) {
    let known = parse(text);
    (write(&known), known.len())
}

#[async_trait]
impl Discovery for Remembered {
    fn init(&self, ctx: DiscoveryContext) {
        self.list.init(ctx);
    }

    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.list.clone().start().await
    }

    async fn shutdown(&self) {
        self.list.shutdown().await;
        self.file.saved().await;
    }

    async fn recv(&self) -> DiscoveredPeer {
        self.list.recv().await
    }

    fn on_event(&self, event: PeerConnectionEvent) {
        match &event {
            PeerConnectionEvent::Connected { peer_id, endpoint, outbound: true } => {
                self.learn(*peer_id, endpoint.clone());
            }
            PeerConnectionEvent::Banned { peer_id } => self.forget(*peer_id),
            _ => {}
        }
        self.list.on_event(event);
    }

    fn find_peers_with(&self, item: &[u8]) -> Vec<DiscoveredPeer> {
        self.list.find_peers_with(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_loses_only_what_is_damaged() {
        let peer = |n: u8| PeerId::from_bytes([n; 32]).unwrap();
        let line = |n: u8| format!("quic://{}@192.0.2.{n}:9000", peer(n));
        let whole = format!("{HEADER}\n{}\n{}\n", line(8), line(9));
        assert_eq!(parse(&whole).len(), 2);
        let damaged = format!("{HEADER}\n{}\n\u{0}\u{1}garbage\nquic://192.0.2.7:1\n{}", line(8), &line(9)[..70]);
        assert_eq!(parse(&damaged).into_keys().collect::<Vec<_>>(), [peer(8)]);
        for cut in 0..whole.len() {
            parse(&whole[..cut]);
        }
    }
}
