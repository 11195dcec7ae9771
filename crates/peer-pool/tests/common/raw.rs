//! A remote that keeps to no rule that a test does not want it to keep to, and those that it is tried on.

use std::collections::BTreeMap;
use std::sync::Arc;

use p2p_core::{ByteBudget, PeerId, Runtime};
use p2p_identity::access::AllowAll;
use p2p_identity::handshake::{MAX_MESSAGE_LEN, NONCE_LEN, run};
use p2p_identity::{
    Channel, DisconnectReason, Error, Handshake, HandshakeParams, Offer, ProtocolKind, Purpose, TlsIdentity,
    peer_id_from_certificates,
};
use p2p_net::{
    CloseReason, Connection, Endpoint, MessageReceiver, MessageSender, NetConfig, RecvStream, SendLimits, SendStream,
    Transport, Transports,
};
use p2p_peer_pool::PoolConfig;
use p2p_peer_pool::control::ControlMessage;
use p2p_peer_pool::header::{Header, StreamKind};

use super::{Node, PATIENCE, in_time};

/// A remote that speaks the wire format and does with it what the tests like.
pub struct Raw {
    pub id: PeerId,
    pub transports: Transports,
    pub connection: Connection,
    pub control: MessageSender,
    _inbox: MessageReceiver,
}

impl Raw {
    pub async fn connect(runtime: &Arc<dyn Runtime>, to: &Endpoint, n: u8) -> Result<Self, Error> {
        let key = super::key(n);
        let mut net = NetConfig::default();
        net.tls = Some(TlsIdentity::new(&key)?.configs());
        let transports = Transports::new(runtime.clone(), net);
        let connection = transports.dial(to).await?;
        let (recv, send) = connection.open_stream().await?.into_split();
        let budget = ByteBudget::new(1 << 30);
        let control =
            MessageSender::new(send, SendLimits { queue_messages: 100_000, ..SendLimits::default() }, &budget);
        let inbox = MessageReceiver::new(recv, MAX_MESSAGE_LEN, &budget);
        let mut params = HandshakeParams::new(key.clone(), u64::from(n));
        let offer = Offer { version: "0.1.0".parse()?, kind: ProtocolKind::Optional };
        params.protocols = BTreeMap::from([(super::id("/x"), offer)]);
        let channel = match connection.peer_certificates() {
            Some(certificates) => Channel::Certified(peer_id_from_certificates(certificates)?),
            None => Channel::Plain,
        };
        let mut nonce = [0; NONCE_LEN];
        runtime.fill_random(&mut nonce);
        let handshake = Handshake::dial(Arc::new(params), channel, None, Purpose::Peer, nonce, &[])?;
        let handshake = handshake.with_certificates(connection.peer_certificates())?;
        let deadline = runtime.now() + PATIENCE;
        run(handshake, &control, &inbox, &**runtime, deadline, &|| {}, |_| Ok(())).await?;
        Ok(Self { id: key.peer_id(), transports, connection, control, _inbox: inbox })
    }

    pub async fn open(&self, protocol: &str, kind: StreamKind) -> (RecvStream, SendStream) {
        let (recv, mut send) = self.connection.open_stream().await.unwrap().into_split();
        let header = Header { protocol: super::id(protocol), kind }.to_framed().unwrap();
        send.write_all_bytes(header).await.unwrap();
        (recv, send)
    }

    /// Up to the point where the node announces it.
    pub async fn join(runtime: &Arc<dyn Runtime>, node: &mut Node, n: u8) -> (Self, RecvStream, SendStream) {
        let raw = Self::connect(runtime, &node.endpoint, n).await.unwrap();
        let (recv, send) = raw.open("/x", StreamKind::Messages).await;
        assert_eq!(node.added().await.peer_id, raw.id);
        (raw, recv, send)
    }

    pub fn say(&self, message: &ControlMessage) {
        let _ = self.control.try_send(message.to_bytes().unwrap());
    }

    pub async fn closed(&self) -> CloseReason {
        in_time("close", self.connection.closed()).await
    }
}

/// A node with one protocol that nobody reads.
pub async fn node(runtime: &Arc<dyn Runtime>, transport: Transport, config: PoolConfig) -> Node {
    let node = Node::with(runtime, transport, 1, config, Arc::new(AllowAll)).await;
    drop(node.hold("/x", ProtocolKind::Optional));
    node
}

/// An honest peer comes, says something and goes.
pub async fn honest(runtime: &Arc<dyn Runtime>, transport: Transport, node: &mut Node) {
    let peer = Node::new(runtime, transport, 200).await;
    peer.pool.connect(&node.endpoint).await.unwrap();
    assert_eq!(node.added().await.peer_id, peer.id());
    peer.pool.shutdown().await;
    assert_eq!(node.removed().await, DisconnectReason::RemoteShutdown);
}

/// With which code a stream is reset, which must happen.
pub async fn reset_code(mut recv: RecvStream) -> u32 {
    match in_time("reset", recv.read_chunk()).await.unwrap_err() {
        p2p_net::Error::Reset(code) => code,
        other => panic!("{other:?}"),
    }
}
