//! Asks a node of the DHT over one connection, without being a node: what a whole lookup does with each contact.

use std::sync::Arc;
use std::time::Duration;

use p2p::Bytes;
use p2p::endpoint::Endpoint;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::layers::core::runtime;
use p2p::layers::identity::handshake::{self, MAX_MESSAGE_LEN, NONCE_LEN};
use p2p::layers::identity::{Channel, Handshake, HandshakeParams, Purpose, TlsIdentity, peer_id_from_certificates};
use p2p::layers::kademlia::message::MAX_RESPONSE_LEN;
use p2p::layers::kademlia::{Request, Response};
use p2p::layers::net::{Connection, MessageReceiver, MessageSender, NetConfig, SendLimits, Transports};

/// Messages of one exchange: one there, one back.
const LIMITS: SendLimits =
    SendLimits { max_message: MAX_RESPONSE_LEN, queue_messages: 8, queue_bytes: 2 * MAX_RESPONSE_LEN };

pub struct Asker {
    transports: Transports,
    connection: Connection,
    /// The stream of the handshake: dropped, its last message might not get there.
    _handshake: (MessageSender, MessageReceiver),
}

impl Asker {
    /// Connects, with a handshake for lookups.
    pub async fn connect(endpoint: &Endpoint) -> Self {
        let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
        let runtime = runtime::current().unwrap();
        let mut net = NetConfig::default();
        net.tls = Some(TlsIdentity::new(&key_pair).unwrap().configs());
        let transports = Transports::new(runtime.clone(), net);
        let connection = transports.dial(endpoint).await.unwrap();
        let channel = match connection.peer_certificates() {
            Some(certificates) => Channel::Certified(peer_id_from_certificates(certificates).unwrap()),
            None => Channel::Plain,
        };
        let params = Arc::new(HandshakeParams::new(key_pair, runtime.random_u64()));
        let mut nonce = [0; NONCE_LEN];
        runtime.fill_random(&mut nonce);
        let shake = Handshake::dial(params, channel, None, Purpose::Lookup, nonce, &[]).unwrap();
        let (recv, send) = connection.open_stream().await.unwrap().into_split();
        let budget = &transports.config().budget;
        let sender = MessageSender::new(send, LIMITS, budget);
        let receiver = MessageReceiver::new(recv, MAX_MESSAGE_LEN, budget);
        let deadline = runtime.now() + Duration::from_secs(5);
        handshake::run(shake, &sender, &receiver, &*runtime, deadline, &|| {}, |_| Ok(())).await.unwrap();
        sender.finish();
        Self { transports, connection, _handshake: (sender, receiver) }
    }

    /// One question, on a stream of its own; the answer as it came.
    pub async fn ask_raw(&self, request: &Request) -> Bytes {
        let budget = &self.transports.config().budget;
        let (recv, send) = self.connection.open_stream().await.unwrap().into_split();
        let sender = MessageSender::new(send, LIMITS, budget);
        sender.send(request.encode().unwrap()).await.unwrap();
        sender.finish();
        let receiver = MessageReceiver::new(recv, MAX_RESPONSE_LEN, budget);
        receiver.recv().await.unwrap().unwrap()
    }

    /// As [`ask_raw`](Self::ask_raw), read.
    pub async fn ask(&self, request: &Request) -> Response {
        Response::decode(&self.ask_raw(request).await).unwrap()
    }
}
