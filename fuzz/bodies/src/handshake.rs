//! The handshake: two honest sides agree or part as one, and whatever somebody in between does with the messages, nobody
//! takes anybody for somebody else.
//!
//! The model is that of matching conversations (Bellare and Rogaway 1993): a side that is done with a peer over plain
//! tcp has seen exactly the hello that this peer sent, the peer has seen exactly ours, and the peer has agreed.

mod parties;

use bytes::Bytes;
use p2p_identity::fuzzing::{certificate, certified_hello};
use p2p_identity::handshake::{Step, reject_message};
use p2p_identity::{
    Channel, Handshake, HandshakeError, HandshakeParams, PeerId, Purpose, RejectReason, RemotePeer, Role, Serial,
};

use rustls::pki_types::CertificateDer;

use self::parties::{Choice, agree, key, recorded};
use crate::input::Input;

/// Steps of one input, which bounds the time that it takes.
const MAX_STEPS: usize = 40;

/// One side of a handshake, and what it did.
struct Node {
    machine: Handshake,
    id: PeerId,
    hello: Option<Bytes>,
    heard: Option<Bytes>,
    accepted: bool,
    /// Its hello, or that of the listener it dials, is in a certificate.
    presented: bool,
    outcome: Option<Result<RemotePeer, HandshakeError>>,
}

impl Node {
    fn new(machine: p2p_identity::Result<Handshake>, id: PeerId) -> Self {
        let machine = machine.expect("parameters within their bounds");
        let hello = machine.hello();
        let silent = machine.introduction().expect("parameters within their bounds").is_none();
        let presented = silent && hello.is_none();
        Self { machine, id, hello, heard: None, accepted: false, presented, outcome: None }
    }

    /// What it says first.
    fn begin(&mut self) -> Vec<Bytes> {
        match self.machine.on_certificate() {
            Ok(None) => self.hello.iter().cloned().collect(),
            Ok(Some(_)) => {
                let messages = self.machine.accept().expect("there is a candidate");
                assert_eq!(messages.len(), 2);
                self.accepted = true;
                self.hello = messages.first().cloned();
                messages
            }
            Err(HandshakeError::Refused(reason)) => self.refuse(reason),
            Err(error) => panic!("nothing was received: {error}"),
        }
    }

    /// Takes a message; gives the answers.
    fn receive(&mut self, message: &[u8], agrees: bool) -> Vec<Bytes> {
        if self.outcome.is_some() {
            return Vec::new();
        }
        match self.machine.on_message(message) {
            Ok(Step::Decide) => {
                assert!(self.machine.candidate().is_some());
                self.heard = Some(Bytes::copy_from_slice(message));
                if !agrees {
                    return self.refuse(RejectReason::Denied);
                }
                let messages = self.machine.accept().expect("there is a candidate");
                let repeats = self.machine.role() == Role::Listener && !self.presented;
                assert_eq!(messages.len(), if repeats { 2 } else { 1 });
                self.accepted = true;
                if repeats {
                    self.hello.get_or_insert_with(|| messages[0].clone());
                }
                messages
            }
            Ok(Step::Done(peer)) => {
                self.outcome = Some(Ok(*peer));
                Vec::new()
            }
            Ok(_) => panic!("an unknown step"),
            Err(HandshakeError::Refused(reason)) => self.refuse(reason),
            Err(error) => {
                self.outcome = Some(Err(error));
                Vec::new()
            }
        }
    }

    fn refuse(&mut self, reason: RejectReason) -> Vec<Bytes> {
        let told = reject_message(&reason);
        self.outcome = Some(Err(reason.into()));
        vec![told]
    }

    fn done_with(&self) -> Option<&RemotePeer> {
        self.outcome.as_ref()?.as_ref().ok()
    }
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    // Signing and checking take most of the time over plain tcp, so most inputs are about certified connections.
    let (plain, honest) = (input.below(8) == 0, input.flag());
    let (a, b) = (Choice::read(&mut input), Choice::read(&mut input));
    let purpose = if input.below(4) == 0 { Purpose::Lookup } else { Purpose::Peer };
    let expected = [None, None, Some(key(2).peer_id()), Some(key(3).peer_id())][input.below(4)];
    let (a, b) = (a.params(1), b.params(2));
    let presented = !plain && input.flag();
    let pair = Pair { a, b, plain, presented, purpose, expected };
    if honest { pair.alone(input.flag()) } else { pair.attacked(input) }
}

/// A dialer, a listener, and what is to become of their handshake.
struct Pair {
    a: HandshakeParams,
    b: HandshakeParams,
    plain: bool,
    /// The listener's hello is in its certificate.
    presented: bool,
    purpose: Purpose,
    expected: Option<PeerId>,
}

impl Pair {
    fn channel(&self, with: u8) -> Channel {
        if self.plain { Channel::Plain } else { Channel::Certified(key(with).peer_id()) }
    }

    /// The dialer, on a connection with `with`.
    fn dialer(&self, with: u8) -> Node {
        let params = self.a.clone().into();
        let machine = Handshake::dial(params, self.channel(with), self.expected, self.purpose, [1; 32], b"query");
        let theirs = HandshakeParams { key_pair: key(with), record: None, ..self.b.clone() };
        let theirs = if with == 2 { self.b.clone() } else { theirs };
        Node::new(self.knowing(machine, &theirs), key(1).peer_id())
    }

    /// A dialer that has what a listener with these presents.
    fn knowing(
        &self,
        machine: p2p_identity::Result<Handshake>,
        theirs: &HandshakeParams,
    ) -> p2p_identity::Result<Handshake> {
        if !self.presented {
            return machine;
        }
        let certificate = CertificateDer::from(certificate(&theirs.key_pair, Some(&certified_hello(theirs))));
        machine?.with_certificates(Some(&[certificate]))
    }

    fn listener(&self, with: u8) -> Node {
        let machine = Handshake::listen(self.b.clone().into(), self.channel(with), [2; 32]);
        let presented = machine.map(|machine| if self.presented { machine.presented() } else { machine });
        Node::new(presented, key(2).peer_id())
    }

    /// Nobody interferes.
    fn alone(&self, agrees: bool) {
        let (mut dialer, mut listener) = (self.dialer(2), self.listener(1));
        let serial = |number| Serial { number, ended_below: number - 1 };
        for (node, number) in [(&mut dialer, 7), (&mut listener, u64::MAX)] {
            node.machine.set_serial(serial(number)).expect("parameters within their bounds");
        }
        dialer.hello = dialer.machine.hello();
        let mut wire: Vec<Bytes> = dialer.begin();
        for to_listener in [true, false, true, false] {
            let node = if to_listener { &mut listener } else { &mut dialer };
            let agrees = agrees || !to_listener;
            wire = wire.iter().flat_map(|message| node.receive(message, agrees)).collect();
        }
        assert!(wire.is_empty(), "it comes to no end");
        let alike = agree(&self.a, &self.b, self.purpose);
        let good = alike && self.expected.is_none_or(|id| id == listener.id);
        match (dialer.outcome, listener.outcome) {
            (Some(Ok(at_a)), Some(Ok(at_b))) => {
                assert!(good && agrees, "they should not have agreed");
                assert_eq!((at_a.peer_id, at_b.peer_id), (listener.id, dialer.id));
                assert_eq!((at_a.boot_nonce, at_b.boot_nonce), (self.b.boot_nonce, self.a.boot_nonce));
                assert_eq!((&at_a.payload[..], &at_b.payload[..]), (&b""[..], &b"query"[..]));
                assert_eq!((at_a.serial, at_b.serial), (Some(serial(u64::MAX)), Some(serial(7))));
                same_agreement(&at_a, &at_b);
            }
            (Some(Err(HandshakeError::Remote(told))), Some(Err(HandshakeError::Refused(reason))))
            | (Some(Err(HandshakeError::Refused(reason))), Some(Err(HandshakeError::Remote(told)))) => {
                assert!(!good || !agrees, "{reason}");
                assert_eq!(std::mem::discriminant(&told), std::mem::discriminant(&reason));
                // Who decides first is the dialer, if it knows the listener's hello, else the listener.
                let asked = alike && (good || !self.presented);
                assert_eq!(reason == RejectReason::Denied, asked && !agrees, "{reason}");
            }
            outcomes => panic!("{outcomes:?}"),
        }
    }

    /// Somebody with a key of their own, and with records of earlier handshakes, decides what arrives.
    fn attacked(&self, mut input: Input<'_>) {
        // Over tls and quic the connection is with whoever it is with; over tcp that is what is to be found out.
        let (a_with, b_with) = (*input.of(&[2, 3]), *input.of(&[1, 3]));
        let mallory = HandshakeParams { key_pair: key(3), record: None, ..self.b.clone() };
        let m_dials = Handshake::dial(mallory.clone().into(), self.channel(2), None, self.purpose, [3; 32], &[]);
        let m_listens = Handshake::listen(mallory.into(), self.channel(1), [4; 32]);
        let m_dials = self.knowing(m_dials, &self.b);
        let m_listens = m_listens.map(|machine| if self.presented { machine.presented() } else { machine });
        let mut nodes = [
            self.dialer(a_with),
            self.listener(b_with),
            Node::new(m_dials, key(3).peer_id()),
            Node::new(m_listens, key(3).peer_id()),
        ];
        let mut seen: Vec<Bytes> = nodes.iter_mut().flat_map(Node::begin).collect();
        seen.extend_from_slice(recorded());
        for _ in 0..MAX_STEPS {
            if input.is_empty() {
                break;
            }
            let (to, which) = (input.byte(), input.byte());
            let newest = |seen: &[Bytes]| seen[seen.len() - 1 - usize::from(which & 63) % seen.len()].clone();
            let message = match which >> 6 {
                0..=1 => newest(&seen),
                2 => {
                    let mut changed = newest(&seen).to_vec();
                    let at = usize::from(input.any::<u16>()) % changed.len();
                    changed[at] ^= input.byte().max(1);
                    changed.into()
                }
                _ => Bytes::copy_from_slice(input.bytes()),
            };
            let agrees = to & 0x78 != 0;
            seen.extend(nodes[usize::from(to & 3)].receive(&message, agrees));
        }
        for node in &nodes[..2] {
            let with = if node.machine.role() == Role::Dialer { a_with } else { b_with };
            self.check(node, with, &nodes);
        }
        if let [Some(at_a), Some(at_b)] = [nodes[0].done_with(), nodes[1].done_with()]
            && self.plain
            && (at_a.peer_id, at_b.peer_id) == (nodes[1].id, nodes[0].id)
        {
            same_agreement(at_a, at_b);
        }
    }

    /// Nobody was taken for somebody else.
    fn check(&self, node: &Node, with: u8, nodes: &[Node]) {
        let Some(peer) = node.done_with() else { return };
        assert!(peer.proven && node.accepted);
        assert_ne!(peer.peer_id, node.id);
        if node.machine.role() == Role::Dialer {
            assert!(self.expected.is_none_or(|expected| expected == peer.peer_id), "somebody else answered");
        }
        if !self.plain {
            assert_eq!(peer.peer_id, key(with).peer_id(), "not who the certificate names");
            return;
        }
        let matching = nodes.iter().any(|other| {
            other.id == peer.peer_id
                && other.machine.role() != node.machine.role()
                && other.accepted
                && (&other.hello, &other.heard) == (&node.heard, &node.hello)
        });
        assert!(matching, "{:?} has not agreed to this handshake", peer.peer_id);
    }
}

/// Both sides speak the same.
fn same_agreement(a: &RemotePeer, b: &RemotePeer) {
    assert_eq!(a.purpose, b.purpose);
    assert!(a.protocols.keys().eq(b.protocols.keys()));
    for (at_a, at_b) in a.protocols.values().zip(b.protocols.values()) {
        assert_eq!((at_a.local_kind, at_a.remote_kind), (at_b.remote_kind, at_b.local_kind));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let head = |plain: u8, honest: u8| [&[plain, honest][..], &[0, 0x95, 0, 0, 0x91, 0, 1, 0]].concat();
    let relay = [[0, 0, 0], [1, 0, 3], [0, 0, 1], [1, 0, 0]];
    let mut seeds = vec![[head(0, 1), vec![1]].concat()];
    seeds.extend([0, 1].map(|presented| [head(1, 1), vec![presented, 1]].concat()));
    for (plain, presented) in [(0, &[][..]), (1, &[0]), (1, &[1])] {
        for (a_with, b_with) in [(0, 0), (1, 1)] {
            let steps: Vec<u8> = relay.iter().flat_map(|[to, which, _]| [0x78 | to, *which]).collect();
            seeds.push(
                [head(plain, 0), presented.to_vec(), vec![a_with, b_with], steps.clone(), vec![0x79, 0x80, 0, 40, 1]]
                    .concat(),
            );
        }
    }
    seeds
}
