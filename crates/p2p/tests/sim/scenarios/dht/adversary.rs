//! A node that lies, written by hand: it makes itself known to everybody, and answers as it likes.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use p2p::endpoint::{Endpoint, PeerRecord, Transport};
use p2p::keypair::KeyPair;
use p2p::layers::core::ByteBudget;
use p2p::layers::identity::handshake::{self, MAX_MESSAGE_LEN, NONCE_LEN};
use p2p::layers::identity::{Channel, Handshake, HandshakeParams, Purpose, RemotePeer, encode};
use p2p::layers::kademlia::message::{Closer, DialBackOutcome, MAX_RESPONSE_LEN};
use p2p::layers::kademlia::{Request, Response};
use p2p::layers::net::{Connection, MessageReceiver, MessageSender, NetConfig, SendLimits, Stream, Transports};
use p2p::{Error, Runtime};
use p2p_sim::Host;

use super::*;
use crate::talk::protocol_id;

const LIMITS: SendLimits = SendLimits { max_message: 64 << 20, queue_messages: 64, queue_bytes: 128 << 20 };

/// How often it shows itself to everybody.
const SHOWN: Duration = Duration::from_secs(30);

/// Later than anybody waits for.
const LATE: Duration = Duration::from_secs(7);

/// Where it answers lookups, and where it takes connections of peers and never says a word.
const LOOKUPS: u16 = 4001;
const SILENCE: u16 = 4002;

/// Nodes that do not exist in one answer.
const NAMED: usize = 10;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It answers too late.
    Late,
    /// It knows nobody but its accomplices, and tells everybody a wrong address of theirs.
    Colluding,
    /// It knows nodes that do not exist or cannot be reached, and the asker.
    Inventing,
    /// It knows 10,000 nodes.
    Flooding,
    /// It is like others, with its accomplices for contacts, until it goes without a word.
    Vanishing,
    /// It knows nodes without end that do not exist, all where a third party is.
    Naming,
    /// It says that it is where a third party is, and at an address of its own.
    Claiming,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Late, Self::Colluding, Self::Inventing, Self::Flooding, Self::Vanishing];
}

#[derive(Clone)]
pub(super) struct Adversary {
    pub(super) host: Host,
    pub(super) kind: Kind,
    key: KeyPair,
    pub(super) record: PeerRecord,
    /// Where the third party is.
    third: Vec<Endpoint>,
}

impl Adversary {
    /// One that lies about where a third party is, and is of use to nobody.
    pub(super) fn against(third: &[Endpoint], sim: &Sim, kind: Kind) -> Self {
        let Self { host, key, .. } = Self::new(sim, kind);
        let claimed = if kind == Kind::Claiming { third } else { &[] };
        let own = Endpoint::new(Transport::Tcp, host.ipv4(), LOOKUPS);
        let all = claimed.iter().cloned().chain([own]);
        let record =
            all.fold(PeerRecord::builder(), |record, at| record.discovery_addr(at.with_peer_id(key.peer_id())));
        let record = record.sign(&key, 1).expect("it is a record like any other");
        Self { host, kind, key, record, third: third.to_vec() }
    }

    pub(super) fn new(sim: &Sim, kind: Kind) -> Self {
        let host = sim.host(format!("{kind:?}"));
        let key = invented(sim.seed(), 1000 + kind as u64);
        let at = |port| Endpoint::new(Transport::Tcp, host.ipv4(), port).with_peer_id(key.peer_id());
        // Of use to everybody, as far as one can tell.
        let items = [protocol_id(0).as_str().as_bytes()].into_iter().collect();
        let record = PeerRecord::builder().addr(at(SILENCE)).discovery_addr(at(LOOKUPS)).items(items);
        let record = record.sign(&key, 1).expect("it is a record like any other");
        Self { host, kind, key, record, third: Vec::new() }
    }

    /// Starts it. It knows its accomplices and all the others.
    pub(super) fn move_in(&self, gang: &[Self], others: &[Resident]) {
        let accomplices = gang.iter().map(|it| it.record.clone()).collect();
        let victims = others.iter().map(|it| it.endpoint(Transport::Tcp)).collect();
        let liar = Arc::new(Liar::new(self, accomplices, victims));
        self.host.spawn(liar.clone().listen());
        self.host.spawn(liar.show());
    }
}

/// A key that nobody else has.
fn invented(seed: u64, n: u64) -> KeyPair {
    let mut bytes = [0xee; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&n.to_le_bytes());
    KeyPair::from_seed(bytes)
}

/// Records of nodes that do not exist: no such address, an address that no record should have, and somebody else's.
fn nobody(seed: u64, others: &[Endpoint]) -> Vec<PeerRecord> {
    let nowhere = (1..=6).map(|n| IpAddr::from([9, 8, 7, n]));
    let wrong = [[240, 0, 0, 1], [192, 0, 2, 1], [198, 18, 0, 1], [10, 0, 0, 2], [127, 0, 0, 1]].map(IpAddr::from);
    let closed = others.iter().filter_map(|endpoint| endpoint.addr().ip()).take(6);
    let all = nowhere.chain(wrong).chain(closed).zip(0..);
    let record = |(ip, n)| {
        let record = PeerRecord::builder().discovery_addr(Endpoint::new(Transport::Tcp, ip, 9));
        record.sign(&invented(seed, n), 9).expect("it is a record like any other")
    };
    all.map(record).collect()
}

struct Liar {
    host: Host,
    runtime: Arc<dyn Runtime>,
    kind: Kind,
    transports: Transports,
    params: Arc<HandshakeParams>,
    budget: ByteBudget,
    record: PeerRecord,
    accomplices: Vec<PeerRecord>,
    nobody: Vec<PeerRecord>,
    flood: Bytes,
    victims: Vec<Endpoint>,
    third: Vec<Endpoint>,
    named: AtomicU64,
}

impl Liar {
    fn new(of: &Adversary, accomplices: Vec<PeerRecord>, victims: Vec<Endpoint>) -> Self {
        let runtime = of.host.runtime();
        let mut params = HandshakeParams::new(of.key.clone(), 7);
        (params.serves, params.record) = (vec![Purpose::Lookup], Some(of.record.clone()));
        let many: Vec<&PeerRecord> = accomplices.iter().cycle().take(10_000).collect();
        // As a response with contacts would be, if it could have so many: version, kind, contacts, number, no address.
        let many = encode(&(0u32, many, 1u64, None::<u8>)).expect("it can be written");
        let mut seed = [0; 8];
        seed.copy_from_slice(&of.key.peer_id().as_bytes()[..8]);
        Self {
            host: of.host.clone(),
            transports: Transports::new(runtime.clone(), NetConfig::default()),
            runtime,
            kind: of.kind,
            params: Arc::new(params),
            budget: ByteBudget::new(1 << 30),
            record: of.record.clone(),
            accomplices,
            nobody: nobody(u64::from_le_bytes(seed), &victims),
            flood: [&[1], &many[..]].concat().into(),
            victims,
            third: of.third.clone(),
            named: AtomicU64::new(0),
        }
    }

    async fn listen(self: Arc<Self>) {
        let at = |port| Endpoint::new(Transport::Tcp, self.host.ipv4(), port);
        let _silent = self.transports.listen(&at(SILENCE)).await.expect("the port is free");
        let listener = self.transports.listen(&at(LOOKUPS)).await.expect("the port is free");
        while let Ok(incoming) = listener.accept().await {
            let this = self.clone();
            self.host.spawn(async move {
                if let Ok(connection) = incoming.accept().await {
                    // Whatever others think of what it does, it goes on.
                    let _ = this.serve(connection).await;
                }
            });
        }
    }

    /// Asks everybody something, with a record that says that it can be asked too.
    async fn show(self: Arc<Self>) {
        loop {
            for victim in &self.victims {
                let request = Request::FindNode { target: Key::of_value(b"anything") }.encode();
                let ask = async {
                    let connection = self.transports.dial(victim).await?;
                    let stream = connection.open_stream().await?;
                    let (params, channel) = (self.params.clone(), Channel::Plain);
                    let hello = Handshake::dial(params, channel, None, Purpose::Lookup, self.nonce(), &request?)?;
                    let (_, _, receiver) = self.shake(hello, stream).await?;
                    Ok::<_, Error>(receiver.recv().await?)
                };
                let _ = self.runtime.timeout(Duration::from_secs(5), ask).await;
            }
            self.runtime.sleep(SHOWN).await;
        }
    }

    async fn serve(&self, connection: Connection) -> Result<(), Error> {
        let stream = connection.accept_stream().await?;
        let handshake = Handshake::listen(self.params.clone(), Channel::Plain, self.nonce())?;
        let (remote, sender, _receiver) = self.shake(handshake, stream).await?;
        if let Some(answer) = self.answer(&remote.payload, &remote).await {
            sender.send(answer).await?;
        }
        loop {
            let (sender, receiver) = self.messages(connection.accept_stream().await?);
            let Some(request) = receiver.recv().await? else { continue };
            if let Some(answer) = self.answer(&request, &remote).await {
                sender.send(answer).await?;
                sender.finish();
            }
        }
    }

    /// What it says; `None` to what is no question.
    async fn answer(&self, request: &[u8], asker: &RemotePeer) -> Option<Bytes> {
        let request = Request::decode(request).ok()?;
        match request {
            // So it gets into tables, and who asks believes to be reachable.
            Request::GetRecord => return Response::Record(self.record.clone()).encode().ok(),
            Request::DialBack { .. } => return Response::DialBack(DialBackOutcome::Reached).encode().ok(),
            Request::PutValue { .. } | Request::PutProvider { .. } => return Response::Stored.encode().ok(),
            _ => {}
        }
        let contacts = match self.kind {
            Kind::Flooding => return Some(self.flood.clone()),
            Kind::Inventing => self.nobody.iter().chain(&asker.record).cloned().collect(),
            Kind::Late | Kind::Colluding | Kind::Vanishing | Kind::Claiming => self.accomplices.clone(),
            Kind::Naming => (0..NAMED).map(|_| self.name_another()).collect(),
        };
        if self.kind == Kind::Late {
            self.runtime.sleep(LATE).await;
        }
        let elsewhere = (self.kind == Kind::Colluding).then(|| ([9, 9, 9, 9], 9).into());
        let closer = Closer { contacts, seq: 1, observed: elsewhere };
        let response = match request {
            Request::GetValue { .. } => Response::Value { value: None, closer },
            Request::GetProviders { .. } => Response::Providers { providers: Vec::new(), closer },
            _ => Response::Contacts(closer),
        };
        response.encode().ok()
    }

    /// A node that nobody has heard of, where the third party is.
    fn name_another(&self) -> PeerRecord {
        let n = self.named.fetch_add(1, Ordering::Relaxed);
        let record = PeerRecord::builder().discovery_addr(self.third[n as usize % self.third.len()].clone());
        record.sign(&invented(u64::MAX, n), 1).expect("it is a record like any other")
    }

    async fn shake(
        &self,
        handshake: Handshake,
        stream: Stream,
    ) -> Result<(RemotePeer, MessageSender, MessageReceiver), Error> {
        let (sender, mut receiver) = self.messages(stream);
        let (runtime, deadline) = (&*self.runtime, self.runtime.now() + Duration::from_secs(5));
        let remote = handshake::run(handshake, &sender, &receiver, runtime, deadline, &|| {}, |_| Ok(())).await?;
        receiver.set_max_message(MAX_RESPONSE_LEN);
        Ok((remote, sender, receiver))
    }

    fn messages(&self, stream: Stream) -> (MessageSender, MessageReceiver) {
        let (recv, send) = stream.into_split();
        (MessageSender::new(send, LIMITS, &self.budget), MessageReceiver::new(recv, MAX_MESSAGE_LEN, &self.budget))
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        self.runtime.fill_random(&mut nonce);
        nonce
    }
}
