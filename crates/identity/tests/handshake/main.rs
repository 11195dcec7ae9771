//! Handshakes over connections, in memory and over real sockets.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod sockets;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use p2p_core::{Runtime, TokioRuntime};
use p2p_identity::handshake::NONCE_LEN;
use p2p_identity::{HandshakeParams, KeyPair, Offer, ProtocolKind};

/// Long enough for anything that happens at all, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

fn runtime() -> Arc<dyn Runtime> {
    Arc::new(TokioRuntime::current().unwrap())
}

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

fn params(n: u8) -> Arc<HandshakeParams> {
    let mut params = HandshakeParams::new(key(n), 1);
    let offer = Offer { version: "0.1.0".parse().unwrap(), kind: ProtocolKind::Mandatory };
    params.protocols.insert("/chat".parse().unwrap(), offer);
    Arc::new(params)
}

fn nonce(runtime: &dyn Runtime) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    runtime.fill_random(&mut nonce);
    nonce
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    runtime().timeout(PATIENCE, future).await.expect("it takes no longer than that")
}
