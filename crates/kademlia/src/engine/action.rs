//! What goes into an engine and comes out of it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use p2p_core::PeerId;
use p2p_identity::PeerRecord;
use p2p_net::Endpoint;

use super::{ClientReason, Peer, Standing};
use crate::lookup_service::Target;
use crate::{Key, Refused, Request, Response, StoredValue};

/// Names an operation: a lookup, a put, ... Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub(super) u64);

/// Names a question to another node. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub(super) u64);

/// Names a request of another node that waits for its reply. The caller chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyId(pub u64);

/// What an engine wants done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Ask a node. Before each dial for it ask whether it [may be made](super::Engine::may_dial), and tell when whoever was
    /// dialed [has proven](super::Engine::on_met) to be the one that is asked. Then
    /// [`on_connected`](super::Engine::on_connected), and
    /// [`on_answer`](super::Engine::on_answer) or [`on_failure`](super::Engine::on_failure), once and in any case.
    Ask {
        /// To be given back.
        id: QuestionId,
        /// Whom.
        target: Target,
        /// What.
        request: Request,
    },
    /// Ask a node for its record over a new connection, whatever others there are, to see whether it can be reached; then as
    /// for [`Ask`](Self::Ask).
    DialBack {
        /// To be given back.
        id: QuestionId,
        /// Whom.
        target: Target,
        /// It may be somebody else who is there: nothing is sent twice unless it is answered.
        once: bool,
    },
    /// Ping a contact over udp; then [`on_pong`](super::Engine::on_pong) or
    /// [`on_failure`](super::Engine::on_failure), once and in any case.
    Ping {
        /// To be given back.
        id: QuestionId,
        /// Whom.
        peer_id: PeerId,
        /// Where.
        address: SocketAddr,
    },
    /// Answer a request.
    Reply {
        /// As it was given with the request.
        id: ReplyId,
        /// The answer.
        response: Response,
    },
    /// A provider was found by an operation that goes on.
    Provider {
        /// Which.
        id: OperationId,
        /// Its record, verified.
        record: PeerRecord,
        /// From where it was told, which decides what addresses of it are believed.
        reached: IpAddr,
    },
    /// The peer that an operation looks for was found, or found anew, and the operation goes on.
    Peer {
        /// Which.
        id: OperationId,
        /// Its newest record until now, verified.
        record: PeerRecord,
        /// From where it was told, which decides what addresses of it are believed.
        reached: IpAddr,
    },
    /// An operation is over.
    Done {
        /// Which.
        id: OperationId,
        /// What came of it.
        outcome: Outcome,
    },
    /// The node's own record has changed. Keep its sequence number before anybody sees it.
    Record {
        /// The highest sequence number so far.
        seq: u64,
        /// What to say in handshakes; `None` in client mode.
        record: Option<PeerRecord>,
    },
    /// A number has been used for a record that only one node is told of. Keep it before that.
    Seq(u64),
    /// Whether to send nothing of one's own accord from where the node listens, so that whoever comes there shows that
    /// others can. The node begins so.
    Silence(bool),
    /// What came of joining has become known, or has changed.
    Standing(Standing),
    /// For those who watch.
    Event(KademliaEvent),
}

/// What a user can ask for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// The live nodes closest to a position.
    Closest(Key),
    /// A peer's record.
    FindPeer(PeerId),
    /// The value under a key: the newest, if it can be replaced.
    Get(Key),
    /// Store a value where it belongs.
    Put {
        /// The value.
        value: StoredValue,
        /// Only where it replaces one with this sequence number, or none.
        expected_seq: Option<u64>,
    },
    /// Tell that this node provides a key. Once: see [`Engine::provide`](super::Engine::provide).
    Provide(Key),
    /// Who provides a key.
    Providers(Key),
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Those that answered, closest first. Verified.
    Closest(Vec<Peer>),
    /// The newest record there is, verified.
    FindPeer(Option<PeerRecord>),
    /// The value, verified.
    Get(Option<StoredValue>),
    /// How many others keep it; and why not, if none does, or if more nodes have another value.
    Put {
        /// Nodes beside this one.
        stored: usize,
        /// Of several reasons the weightiest.
        refused: Option<Refused>,
    },
    /// As for [`Put`](Self::Put).
    Provide {
        /// Nodes beside this one.
        stored: usize,
        /// Of several reasons the weightiest.
        refused: Option<Refused>,
    },
    /// How many there were.
    Providers(usize),
    /// This node has no record that others could use.
    NoRecord,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Proven by the connection's handshake.
    pub peer_id: PeerId,
    /// Where its connection came from.
    pub address: SocketAddr,
    /// At which of our addresses that arrived; `None` where it is not known.
    pub arrived: Option<IpAddr>,
    /// Whether nothing was sent there before from where this node listens, so that no box or firewall took it for an
    /// answer.
    pub unsolicited: bool,
    /// What it said of itself in the handshake. Not verified.
    pub record: Option<PeerRecord>,
}

/// An answer to a question.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Who answered, proven by the connection's handshake.
    pub peer_id: PeerId,
    /// Where it answered.
    pub endpoint: Endpoint,
    /// What it said of itself in the handshake. Not verified.
    pub record: Option<PeerRecord>,
    /// The answer.
    pub response: Response,
}

impl Answered {
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.endpoint.addr().ip()
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No connection, or no answer in time.
    Unreachable,
    /// An answer that is none.
    Malformed,
    /// Access control does not let us ask there.
    Denied,
}

/// Whether others may find this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It asks and is not asked: nobody has been able to reach it yet.
    Client,
    /// It has a record that others pass on.
    Server,
}

/// Something that happened in a DHT.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KademliaEvent {
    /// The search for the node's own neighbors begins: at the start, and from time to time.
    SeedingStarted,
    /// It ended, and the table has so many contacts; none means that it failed.
    SeedingEnded {
        /// Contacts in the table.
        contacts: usize,
    },
    /// A contact got a place in the table.
    ContactAdded(PeerRecord),
    /// A contact lost its place: it does not answer any more, or made room.
    ContactRemoved(PeerId),
    /// A round of liveness checks begins.
    RefreshStarted,
    /// It ended; so many contacts are alive.
    RefreshEnded {
        /// Of those that were checked.
        alive: usize,
        /// How many were checked.
        checked: usize,
    },
    /// Whether others may find this node has changed.
    ModeChanged(Mode),
    /// Others have answered, and the node stays a client all the same. Told once for each kind of reason, until it is a
    /// server.
    StaysClient(ClientReason),
    /// A peer was found behind the same public address: this is where it is there. It is told to nobody else.
    Nearby(PeerRecord),
    /// The node's own record is another one now.
    RecordChanged(Option<PeerRecord>),
    /// A socket of the DHT has failed and was closed. It is bound anew; [`Listening`](Self::Listening) follows.
    ListenFailed {
        /// Where it was bound.
        endpoint: Endpoint,
        /// What kind of error it was.
        kind: io::ErrorKind,
        /// What the system said.
        error: String,
    },
    /// A socket that had failed is bound again.
    Listening {
        /// Where.
        endpoint: Endpoint,
    },
}
