//! Real connections over each transport: what TLS proves and what the handshake proves.

use p2p_identity::handshake::{MAX_MESSAGE_LEN, RemotePeer, run};
use p2p_identity::{
    Channel, Error, Handshake, HandshakeError, PeerId, Purpose, RejectReason, Result, TlsIdentity, close_code,
    peer_id_from_certificates,
};
use p2p_net::{Connection, Endpoint, Listener, MessageReceiver, MessageSender, NetConfig, SendLimits, Stream};
use p2p_net::{Transport, Transports};

use crate::{PATIENCE, key, nonce, params, runtime, within};

/// The transports of a node that proves to be one peer in TLS, and says that it is one in its hello.
struct Node {
    transports: Transports,
    says: u8,
}

/// What keeps a connection up while the other side may still need it.
type Guard = (Connection, MessageSender, MessageReceiver);

impl Node {
    fn new(proves: u8, says: u8) -> Self {
        let mut config = NetConfig::default();
        config.tls = Some(TlsIdentity::new(&key(proves)).unwrap().configs());
        Self { transports: Transports::new(runtime(), config), says }
    }

    async fn dial(&self, endpoint: &Endpoint, expected: Option<PeerId>) -> Result<(RemotePeer, Guard)> {
        let connection = self.transports.dial(endpoint).await?;
        let (channel, nonce) = (channel(&connection)?, nonce(&**self.transports.runtime()));
        let handshake = Handshake::dial(params(self.says), channel, expected, Purpose::Peer, nonce, &[])?;
        let stream = connection.open_stream().await?;
        self.shake(handshake, connection, stream).await
    }

    async fn serve(&self, listener: &Listener) -> Result<(RemotePeer, Guard)> {
        let connection = listener.accept().await?.accept().await?;
        let (channel, nonce) = (channel(&connection)?, nonce(&**self.transports.runtime()));
        let handshake = Handshake::listen(params(self.says), channel, nonce)?;
        let stream = connection.accept_stream().await?;
        self.shake(handshake, connection, stream).await
    }

    async fn shake(&self, handshake: Handshake, connection: Connection, stream: Stream) -> Result<(RemotePeer, Guard)> {
        let (recv, send) = stream.into_split();
        let budget = &self.transports.config().budget;
        let sender = MessageSender::new(send, SendLimits::default(), budget);
        let receiver = MessageReceiver::new(recv, MAX_MESSAGE_LEN, budget);
        let runtime = &**self.transports.runtime();
        match run(handshake, &sender, &receiver, runtime, runtime.now() + PATIENCE, &|| {}, |_| Ok(())).await {
            Ok(peer) => Ok((peer, (connection, sender, receiver))),
            Err(error) => {
                connection.close(close_code::HANDSHAKE, "handshake failed");
                Err(error)
            }
        }
    }
}

fn channel(connection: &Connection) -> Result<Channel> {
    match connection.peer_certificates() {
        Some(certificates) => Ok(Channel::Certified(peer_id_from_certificates(certificates)?)),
        None => Ok(Channel::Plain),
    }
}

fn transports() -> Vec<Transport> {
    let all = [Transport::Tcp, Transport::Tls, Transport::Quic];
    all.into_iter().filter(|transport| cfg!(feature = "quic") || *transport != Transport::Quic).collect()
}

async fn meet(
    transport: Transport,
    dialer: &Node,
    listener: &Node,
    expected: Option<PeerId>,
) -> (Result<RemotePeer>, Result<RemotePeer>) {
    let anywhere = Endpoint::new(transport, std::net::IpAddr::from([127, 0, 0, 1]), 0);
    let door = listener.transports.listen(&anywhere).await.unwrap();
    let there = door.local_endpoint();
    let (at_dialer, at_listener) =
        within(async { tokio::join!(dialer.dial(&there, expected), listener.serve(&door)) }).await;
    let results = (
        at_dialer.as_ref().map(|(peer, _)| peer.clone()).map_err(Clone::clone),
        at_listener.as_ref().map(|(peer, _)| peer.clone()).map_err(Clone::clone),
    );
    drop((at_dialer, at_listener));
    results
}

fn reason(result: Result<RemotePeer>) -> RejectReason {
    match result {
        Err(Error::Handshake(HandshakeError::Refused(reason) | HandshakeError::Remote(reason))) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_there_is_proven_on_every_transport() {
    for transport in transports() {
        let (dialer, listener) = (Node::new(1, 1), Node::new(2, 2));
        let (a, b) = meet(transport, &dialer, &listener, Some(key(2).peer_id())).await;
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!((a.peer_id, b.peer_id), (key(2).peer_id(), key(1).peer_id()), "{transport}");
        assert!(a.proven && b.proven, "{transport}");
    }
}

#[tokio::test]
async fn somebody_else_is_not_taken_for_whom_we_dialed() {
    for transport in transports() {
        let (expected, actual) = (key(3).peer_id(), key(2).peer_id());
        let (a, b) = meet(transport, &Node::new(1, 1), &Node::new(2, 2), Some(expected)).await;
        for result in [a, b] {
            assert_eq!(reason(result), RejectReason::IdentityMismatch { expected, actual }, "{transport}");
        }
    }
}

#[tokio::test]
async fn a_name_that_the_certificate_does_not_prove_is_refused() {
    for transport in transports().into_iter().filter(|transport| transport.is_secure()) {
        let (claimed, proven) = (key(3).peer_id(), key(2).peer_id());
        let (a, b) = meet(transport, &Node::new(1, 1), &Node::new(2, 3), None).await;
        for result in [a, b] {
            assert_eq!(reason(result), RejectReason::FalseIdentity { claimed, proven }, "{transport}, a listener");
        }
        let (a, b) = meet(transport, &Node::new(2, 3), &Node::new(1, 1), None).await;
        for result in [a, b] {
            assert_eq!(reason(result), RejectReason::FalseIdentity { claimed, proven }, "{transport}, a dialer");
        }
    }
}

#[tokio::test]
async fn a_node_that_reaches_itself_notices() {
    for transport in transports() {
        let (a, b) = meet(transport, &Node::new(1, 1), &Node::new(1, 1), None).await;
        assert_eq!((reason(a), reason(b)), (RejectReason::SelfDial, RejectReason::SelfDial), "{transport}");
    }
}
