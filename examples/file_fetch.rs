//! Fetches a file over a raw stream, with its length and its SHA-256.
//!
//! ```sh
//! file_fetch serve FILE                    # prints quic://PEERID@192.0.2.7:41234
//! file_fetch get ENDPOINT FILE             # a file that is there is not overwritten
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use p2p::endpoint::Endpoint;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, async_trait};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What the receiving side takes at most: it decides, not the sender.
const MAX_FILE: u64 = 1 << 32;

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// On the stream: length [8], SHA-256 [32], the file.
struct Files {
    conn: PeerConn,
    serves: Option<Arc<Path>>,
}

#[async_trait]
impl Protocol for Files {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        loop {
            let stream = self.conn.accept_stream().await?;
            // On the side that only fetches, dropping the stream resets it.
            let Some(path) = self.serves.clone() else { continue };
            let peer = self.conn.peer_id().short();
            self.conn.spawn(async move {
                match serve(stream, &path).await {
                    Ok(len) => println!("{peer} fetched {len} bytes"),
                    Err(error) => println!("{peer} did not get the file: {error}"),
                }
            });
        }
    }

    fn id() -> ProtocolId {
        "/file-fetch/1".parse().expect("a valid id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

async fn serve(mut stream: impl AsyncWrite + Unpin, path: &Path) -> Result<u64> {
    let (len, hash) =
        copy(File::open(path).await.map_err(|error| at(path, error))?, &mut tokio::io::sink(), u64::MAX).await?;
    stream.write_u64(len).await?;
    stream.write_all(&hash).await?;
    // Flow control is the stream's: a receiver that is slow slows this down, and nothing else.
    let (sent, _) = copy(File::open(path).await.map_err(|error| at(path, error))?, &mut stream, len).await?;
    if sent != len {
        return Err("the file has changed while it was sent".into());
    }
    stream.shutdown().await?; // without it, the stream would be reset when it is dropped
    Ok(len)
}

async fn fetch(mut stream: impl AsyncRead + Unpin, path: &Path) -> Result<u64> {
    let len = stream.read_u64().await?;
    if len > MAX_FILE {
        return Err(format!("the file has {len} bytes, more than {MAX_FILE}").into());
    }
    let mut expected = [0; SHA256_OUTPUT_LEN];
    stream.read_exact(&mut expected).await?;
    let mut file = File::create_new(path).await.map_err(|error| at(path, error))?;
    let (got, hash) = copy(stream, &mut file, len).await?;
    file.sync_all().await?;
    if got != len || hash != expected {
        tokio::fs::remove_file(path).await.map_err(|error| at(path, error))?;
        return Err(format!("{got} of {len} bytes arrived, or not those that were announced").into());
    }
    Ok(len)
}

/// The system does not say which file its error is about.
fn at(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Copies at most `limit` bytes and gives their number and hash.
async fn copy(from: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin), limit: u64) -> Result<(u64, Vec<u8>)> {
    let (mut from, mut hash, mut total) = (from.take(limit), Context::new(&SHA256), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return Ok((total, hash.finish().as_ref().to_vec()));
        }
        hash.update(&buffer[..len]);
        to.write_all(&buffer[..len]).await?;
        total += len as u64;
    }
}

async fn start(listen: Vec<Endpoint>, serves: Option<Arc<Path>>) -> Result<Arc<Node>> {
    let config = Config { listen_endpoints: listen, ..Config::default() };
    let node = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), config)?;
    node.attach_protocol(move |conn| Files { conn, serves: serves.clone() })?;
    node.run().await?;
    Ok(node)
}

async fn run() -> Result {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", file, ref listen @ ..] => {
            let listen = if listen.is_empty() { &["quic://0.0.0.0:0"] } else { listen };
            let listen = listen.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
            let interrupted = p2p_examples::interrupted();
            let node = start(listen, Some(PathBuf::from(file).into())).await?;
            node.dialable_endpoints().iter().for_each(|endpoint| println!("file_fetch get {endpoint} FILE"));
            interrupted.await;
            node.shutdown().await;
        }
        ["get", endpoint, file] => {
            let node = start(Vec::new(), None).await?;
            let peer = node.connect(&endpoint.parse()?).await?;
            let stream = node.open_stream(&peer, &Files::id()).await?;
            let len = fetch(stream, file.as_ref()).await?;
            println!("{len} bytes, as announced, from {}", peer.short());
            node.shutdown().await;
        }
        _ => return Err("usage: file_fetch serve FILE [ENDPOINT]... | file_fetch get ENDPOINT FILE".into()),
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    p2p_examples::exit("file_fetch", run().await)
}
