//! The tools of somebody who speaks the protocol and does not keep to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use p2p_core::{ByteBudget, Runtime, TaskGroup, runtime};
use p2p_identity::handshake::{self, MAX_MESSAGE_LEN, NONCE_LEN};
use p2p_identity::{
    Channel, Handshake, HandshakeParams, KeyPair, PeerRecord, Purpose, RemotePeer, Result, TlsIdentity,
    peer_id_from_certificates,
};
use p2p_kademlia::message::{Closer, MAX_RESPONSE_LEN};
use p2p_kademlia::{Request, Response};
use p2p_net::{Connection, Endpoint, MessageReceiver, MessageSender, NetConfig, SendLimits, Stream, Transports};

const LIMITS: SendLimits = SendLimits { max_message: 64 << 20, queue_messages: 64, queue_bytes: 128 << 20 };

pub(super) struct Attacker {
    pub(super) key_pair: KeyPair,
    pub(super) transports: Transports,
    params: HandshakeParams,
    budget: ByteBudget,
}

/// A connection after its handshake.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) remote: RemotePeer,
    pub(super) sender: MessageSender,
    pub(super) receiver: MessageReceiver,
}

impl Attacker {
    pub(super) fn new(key_pair: KeyPair) -> Self {
        let mut config = NetConfig::default();
        config.tls = Some(TlsIdentity::new(&key_pair).unwrap().configs());
        let mut params = HandshakeParams::new(key_pair.clone(), 7);
        params.serves = vec![Purpose::Lookup];
        let transports = Transports::new(runtime::current().unwrap(), config);
        Self { key_pair, transports, params, budget: ByteBudget::new(1 << 30) }
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        self.transports.runtime()
    }

    pub(super) async fn dial(&self, to: &Endpoint, purpose: Purpose, payload: &[u8]) -> Result<Opened> {
        let connection = self.transports.dial(to).await?;
        let stream = connection.open_stream().await?;
        let channel = channel(&connection);
        let handshake = Handshake::dial(Arc::new(self.params.clone()), channel, None, purpose, self.nonce(), payload)?;
        let handshake = handshake.with_certificates(connection.peer_certificates())?;
        self.shake(handshake, connection, stream).await
    }

    async fn accept(&self, connection: Connection) -> Result<Opened> {
        let stream = connection.accept_stream().await?;
        let channel = channel(&connection);
        let handshake = Handshake::listen(Arc::new(self.params.clone()), channel, self.nonce())?;
        self.shake(handshake, connection, stream).await
    }

    async fn shake(&self, handshake: Handshake, connection: Connection, stream: Stream) -> Result<Opened> {
        let (sender, mut receiver) = self.messages(stream);
        let timeout = Duration::from_secs(20);
        let runtime = &**self.runtime();
        let deadline = runtime.now() + timeout;
        let shaken = handshake::run(handshake, &sender, &receiver, runtime, deadline, &|| {}, |_| Ok(()));
        let remote = shaken.await?;
        receiver.set_max_message(MAX_RESPONSE_LEN);
        Ok(Opened { connection, remote, sender, receiver })
    }

    pub(super) fn messages(&self, stream: Stream) -> (MessageSender, MessageReceiver) {
        let (recv, send) = stream.into_split();
        (MessageSender::new(send, LIMITS, &self.budget), MessageReceiver::new(recv, MAX_MESSAGE_LEN, &self.budget))
    }

    /// One question on a stream of its own, as these bytes.
    pub(super) async fn ask(&self, connection: &Connection, request: impl Into<Bytes>) -> Result<Option<Bytes>> {
        let (sender, mut receiver) = self.messages(connection.open_stream().await?);
        receiver.set_max_message(MAX_RESPONSE_LEN);
        sender.send(request).await?;
        sender.finish();
        Ok(receiver.recv().await?)
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        self.runtime().fill_random(&mut nonce);
        nonce
    }
}

fn channel(connection: &Connection) -> Channel {
    match connection.peer_certificates() {
        Some(certificates) => Channel::Certified(peer_id_from_certificates(certificates).unwrap()),
        None => Channel::Plain,
    }
}

/// What a responder says instead of an answer; `None` for nothing at all.
pub(super) type Lie = Arc<dyn Fn(&Request, &PeerRecord) -> Option<Bytes> + Send + Sync>;

/// A node that answers its first questions like an honest one without contacts, and then lies.
pub(super) struct Responder {
    pub(super) endpoint: Endpoint,
    pub(super) record: PeerRecord,
    /// Questions that it was asked.
    pub(super) asked: Arc<AtomicUsize>,
    _tasks: TaskGroup,
}

/// Questions that it answers well, so that it gets into tables.
const HONEST: usize = 4;

pub(super) async fn responder(key_pair: KeyPair, delay: Duration, lie: Lie) -> Responder {
    responder_of("default", key_pair, delay, lie).await
}

/// One in a network of that name.
pub(super) async fn responder_of(network: &str, key_pair: KeyPair, delay: Duration, lie: Lie) -> Responder {
    let mut attacker = Attacker::new(key_pair);
    attacker.params.network = network.into();
    let listener = attacker.transports.listen(&"tcp://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let endpoint = listener.local_endpoint();
    let record = PeerRecord::builder().discovery_addr(endpoint.clone()).sign(&attacker.key_pair, 1).unwrap();
    attacker.params.record = Some(record.clone());
    let tasks = TaskGroup::new(attacker.runtime().clone());
    let (own, asked) = (record.clone(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    let attacker = Arc::new(attacker);
    let connections = Arc::new(TaskGroup::new(attacker.runtime().clone()));
    tasks.spawn("attacker", async move {
        while let Ok(incoming) = listener.accept().await {
            let (attacker, lie, own, count) = (attacker.clone(), lie.clone(), own.clone(), count.clone());
            connections.spawn("attacker's connection", async move {
                let Ok(connection) = incoming.accept().await else { return };
                let Ok(opened) = attacker.accept(connection).await else { return };
                let answer = |request: Bytes| {
                    let (lie, own, count, runtime) = (&lie, &own, &count, attacker.runtime());
                    async move {
                        let request = Request::decode(&request).ok()?;
                        if count.fetch_add(1, Ordering::Relaxed) < HONEST || request == Request::GetRecord {
                            return honest(&request, own);
                        }
                        // Real time: none of it, where it is used: time is virtual there.
                        runtime.sleep(delay).await;
                        lie(&request, own)
                    }
                };
                if !opened.remote.payload.is_empty()
                    && let Some(answer) = answer(opened.remote.payload.clone()).await
                {
                    let _ = opened.sender.send(answer).await;
                }
                while let Ok(stream) = opened.connection.accept_stream().await {
                    let (sender, receiver) = attacker.messages(stream);
                    if let Ok(Some(request)) = receiver.recv().await
                        && let Some(answer) = answer(request).await
                    {
                        let _ = sender.send(answer).await;
                        sender.finish();
                    }
                }
            });
        }
    });
    Responder { endpoint, record, asked, _tasks: tasks }
}

fn honest(request: &Request, own: &PeerRecord) -> Option<Bytes> {
    let closer = Closer { contacts: Vec::new(), seq: own.seq(), observed: None };
    let response = match request {
        Request::GetValue { .. } => Response::Value { value: None, closer },
        Request::GetProviders { .. } => Response::Providers { providers: Vec::new(), closer },
        Request::GetRecord => Response::Record(own.clone()),
        Request::FindNode { .. } => Response::Contacts(closer),
        _ => Response::Stored,
    };
    response.encode().ok()
}
