//! A swarm that a task drives, and the streams on its connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bench_common::Transport;
use bench_common::framed::{self, Ends};
use bench_common::line::listen_ip;
use futures_util::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, NetworkBehaviour, Stream, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, tls, yamux};
use libp2p_stream::{Behaviour, Control, IncomingStreams};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

pub const BENCH: StreamProtocol = StreamProtocol::new("/bench/1");

/// What a stream of libp2p is to tokio.
pub type Raw = Compat<Stream>;

/// A node with raw streams.
pub struct Node {
    pub peer_id: PeerId,
    pub address: Multiaddr,
    control: Control,
    commands: mpsc::UnboundedSender<Command>,
}

/// What the task that drives a swarm is to do; it answers when it is done.
enum Command {
    Dial(DialOpts, oneshot::Sender<Result<(), DialError>>),
    Disconnect(PeerId, oneshot::Sender<()>),
}

impl Node {
    /// A node that others can reach.
    pub async fn listening(transport: Transport) -> Self {
        let mut swarm = swarm(transport, Behaviour::new());
        let address = listen(&mut swarm, transport).await;
        Self::driven(swarm, address)
    }

    /// A node that only dials.
    pub fn dialing(transport: Transport) -> Self {
        Self::driven(swarm(transport, Behaviour::new()), Multiaddr::empty())
    }

    fn driven(swarm: Swarm<Behaviour>, address: Multiaddr) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        let node =
            Self { peer_id: *swarm.local_peer_id(), address, control: swarm.behaviour().new_control(), commands };
        tokio::spawn(drive(swarm, queue));
        node
    }

    /// Where this node listens.
    pub fn socket_address(&self) -> SocketAddr {
        let ip = self.address.iter().find_map(|part| if let Protocol::Ip4(ip) = part { Some(ip) } else { None });
        let port = self.address.iter().find_map(|part| match part {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        });
        SocketAddr::from((ip.unwrap(), port.unwrap()))
    }

    /// # Panics
    /// When it fails.
    pub async fn dial(&self, to: &Node) {
        self.try_dial(to).await.unwrap();
    }

    pub async fn try_dial(&self, to: &Node) -> Result<(), DialError> {
        let options =
            DialOpts::peer_id(to.peer_id).condition(PeerCondition::Always).addresses(vec![to.address.clone()]).build();
        let (done, wait) = oneshot::channel();
        self.commands.send(Command::Dial(options, done)).ok().unwrap();
        wait.await.unwrap()
    }

    pub async fn disconnect(&self, peer: PeerId) {
        let (done, wait) = oneshot::channel();
        self.commands.send(Command::Disconnect(peer, done)).ok().unwrap();
        wait.await.unwrap();
    }

    /// Opens a stream on the connection with a peer.
    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> Raw {
        self.try_open(peer, protocol).await.unwrap()
    }

    /// As [`open`](Self::open), where the connection may have ended.
    pub async fn try_open(&self, peer: PeerId, protocol: StreamProtocol) -> Option<Raw> {
        Some(self.control.clone().open_stream(peer, protocol).await.ok()?.compat())
    }

    /// The streams of a protocol that others open. Somebody must always await the next one: libp2p-stream drops those
    /// that come while nobody does.
    pub fn accept(&self, protocol: StreamProtocol) -> IncomingStreams {
        self.control.clone().accept(protocol).unwrap()
    }
}

/// The two ends of a new stream, over which one byte has gone. `to` accepts through `incoming`.
pub async fn stream(from: &Node, to: PeerId, incoming: &mut IncomingStreams, protocol: StreamProtocol) -> Ends<Raw> {
    let accepting = async { incoming.next().await.unwrap().1.compat() };
    framed::pair(from.open(to, protocol), accepting).await
}

/// A protocol that nobody reads.
const UNREAD: StreamProtocol = StreamProtocol::new("/unread/1");

/// What must live as long as streams do.
pub type Held = (Vec<Node>, Vec<IncomingStreams>);

/// A stream between two nodes, and one of another protocol on the same connection.
pub async fn pair(transport: Transport) -> (Ends<Raw>, Ends<Raw>, Held) {
    let (server, client) = (Node::listening(transport).await, Node::dialing(transport));
    let (mut incoming, mut other) = (server.accept(BENCH), server.accept(UNREAD));
    client.dial(&server).await;
    let ends = stream(&client, server.peer_id, &mut incoming, BENCH).await;
    let unread = stream(&client, server.peer_id, &mut other, UNREAD).await;
    (ends, unread, (vec![server, client], vec![incoming, other]))
}

/// A hub's ends of the streams to its peers, a node each, and theirs.
pub async fn hub(width: usize, transport: Transport) -> (Vec<Ends<Raw>>, Held) {
    let hub = Node::listening(transport).await;
    let mut incoming = hub.accept(BENCH);
    let (mut streams, mut nodes) = (Vec::new(), Vec::new());
    for _ in 0..width {
        let peer = Node::dialing(transport);
        peer.dial(&hub).await;
        let (near, far) = stream(&peer, hub.peer_id, &mut incoming, BENCH).await;
        streams.push((far, near));
        nodes.push(peer);
    }
    nodes.push(hub);
    (streams, (nodes, vec![incoming]))
}

/// A swarm as libp2p's builder makes it, but it keeps connections without a stream.
pub fn swarm<B: NetworkBehaviour>(transport: Transport, behaviour: B) -> Swarm<B> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let config = |config: libp2p::swarm::Config| config.with_idle_connection_timeout(Duration::from_secs(3_600));
    match transport {
        Transport::Tcp => builder
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| behaviour)
            .unwrap()
            .with_swarm_config(config)
            .build(),
        Transport::Tls => builder
            .with_tcp(tcp::Config::default(), tls::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| behaviour)
            .unwrap()
            .with_swarm_config(config)
            .build(),
        Transport::Quic => builder
            // Ten seconds otherwise, which hundreds of connections on a busy machine do not always keep.
            .with_quic_config(|mut config| {
                config.max_idle_timeout = 60_000;
                config
            })
            .with_behaviour(|_| behaviour)
            .unwrap()
            .with_swarm_config(config)
            .build(),
    }
}

/// Lets a swarm listen on a port of its choice.
pub async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>, transport: Transport) -> Multiaddr {
    let port = match transport {
        Transport::Tcp | Transport::Tls => "tcp/0",
        Transport::Quic => "udp/0/quic-v1",
    };
    swarm.listen_on(format!("/ip4/{}/{port}", listen_ip()).parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

async fn drive(mut swarm: Swarm<Behaviour>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut dialing: HashMap<ConnectionId, oneshot::Sender<Result<(), DialError>>> = HashMap::new();
    let mut closing: HashMap<PeerId, oneshot::Sender<()>> = HashMap::new();
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                    if let Some(done) = dialing.remove(&connection_id) {
                        let _ = done.send(Ok(()));
                    }
                }
                SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                    if let Some(done) = dialing.remove(&connection_id) {
                        let _ = done.send(Err(error));
                    }
                }
                SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                    if let Some(done) = closing.remove(&peer_id) {
                        let _ = done.send(());
                    }
                }
                _ => {}
            },
            command = commands.recv() => match command {
                Some(Command::Dial(options, done)) => {
                    dialing.insert(options.connection_id(), done);
                    swarm.dial(options).unwrap();
                }
                Some(Command::Disconnect(peer, done)) => {
                    closing.insert(peer, done);
                    swarm.disconnect_peer_id(peer).unwrap();
                }
                None => return,
            },
        }
    }
}
