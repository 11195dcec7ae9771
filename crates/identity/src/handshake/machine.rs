//! The handshake as a state machine without I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use p2p_core::PeerId;
use ring::digest::{Context, SHA256};

use super::negotiate::negotiate;
use super::wire::{self, Hello, MAX_PAYLOAD_LEN, Message, NONCE_LEN};
use super::{Channel, HandshakeError, HandshakeParams, Negotiated, Purpose, RejectReason, Role, Serial};
use crate::keypair::{Domain, PublicKey, SIGNATURE_LEN};
use crate::{Error, PeerRecord, ProtocolId, Result, Version, WIRE_VERSION};

const DOMAIN: Domain = Domain::new("p2p/1 handshake");

/// One handshake of one side. Messages and decisions go in, messages and the [`RemotePeer`] come out.
///
/// The dialler sends [`hello`](Self::hello) first. Each received message goes to
/// [`on_message`](Self::on_message); on [`Step::Decide`] the caller looks at the [`candidate`](Self::candidate) and
/// either [`accept`](Self::accept)s or tells the remote its own [reason](super::reject_message). After an error of
/// [`HandshakeError::Refused`] the remote should be told the reason too. [`run`](super::run) does all of this.
///
/// Time plays no part here: whoever drives it gives it a deadline.
#[derive(Debug)]
pub struct Handshake {
    params: Arc<HandshakeParams>,
    role: Role,
    channel: Channel,
    expected: Option<PeerId>,
    purpose: Purpose,
    nonce: [u8; NONCE_LEN],
    serial: Serial,
    payload: Bytes,
    /// Ours: the dialler's from the beginning, the listener's once it accepts.
    hello: Bytes,
    /// The remote's, as it came.
    remote_hello: Bytes,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitHello,
    Deciding(Box<RemotePeer>),
    AwaitAccept(Box<RemotePeer>),
    Over,
}

/// What a message led to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step {
    /// The remote can be agreed with. Look at the candidate, then accept it or refuse it.
    Decide,
    /// Both sides have agreed, and the remote is who it says.
    Done(Box<RemotePeer>),
}

/// Who the remote is and what both sides speak.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemotePeer {
    /// Who it is. While it is a candidate over plain tcp this is only what it says: refuse it for that if you must,
    /// but do nothing to the connections or the standing of that peer.
    pub peer_id: PeerId,
    /// Whether that is proven.
    pub proven: bool,
    /// Drawn by the remote when it started.
    pub boot_nonce: u64,
    /// What the connection is for.
    pub purpose: Purpose,
    /// The version of the remote's application.
    pub version: Version,
    /// The protocols both sides speak; none for a lookup.
    pub protocols: BTreeMap<ProtocolId, Negotiated>,
    /// The remote's own record. Its signature has not been checked.
    pub record: Option<PeerRecord>,
    /// What came with the hello.
    pub payload: Bytes,
    /// Where the connection stands among those of the remote with us.
    pub serial: Serial,
}

impl Handshake {
    /// The handshake of the side that opened the connection. `expected` is who was dialled, if that is known; the nonce
    /// must be random and never be used again.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::MessageTooLarge`] when the parameters or the payload exceed their bounds.
    pub fn dial(
        params: Arc<HandshakeParams>,
        channel: Channel,
        expected: Option<PeerId>,
        purpose: Purpose,
        nonce: [u8; NONCE_LEN],
        payload: &[u8],
    ) -> Result<Self> {
        if payload.len() > MAX_PAYLOAD_LEN {
            return Err(Error::MessageTooLarge { len: payload.len(), max: MAX_PAYLOAD_LEN });
        }
        params.validate()?;
        let hello = wire::hello(&params, purpose, nonce, payload, Serial::default())?;
        let payload = Bytes::copy_from_slice(payload);
        Ok(Self { hello, payload, expected, purpose, ..Self::new(params, Role::Dialer, channel, nonce) })
    }

    /// The handshake of the side that accepted the connection. The nonce must be random and never be used again.
    ///
    /// # Errors
    /// [`Error::Config`] when the parameters exceed their bounds.
    pub fn listen(params: Arc<HandshakeParams>, channel: Channel, nonce: [u8; NONCE_LEN]) -> Result<Self> {
        params.validate()?;
        Ok(Self::new(params, Role::Listener, channel, nonce))
    }

    fn new(params: Arc<HandshakeParams>, role: Role, channel: Channel, nonce: [u8; NONCE_LEN]) -> Self {
        Self {
            params,
            role,
            channel,
            expected: None,
            purpose: Purpose::Peer,
            nonce,
            serial: Serial::default(),
            payload: Bytes::new(),
            hello: Bytes::new(),
            remote_hello: Bytes::new(),
            state: State::AwaitHello,
        }
    }

    /// Numbers the connection. A dialer does so before it sends its [`hello`](Self::hello), a listener before it
    /// [`accept`](Self::accept)s.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub fn set_serial(&mut self, serial: Serial) -> Result<()> {
        self.serial = serial;
        if self.role == Role::Dialer {
            self.hello = wire::hello(&self.params, self.purpose, self.nonce, &self.payload, serial)?;
        }
        Ok(())
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the dialler sends first; `None` on the listener's side, which answers.
    pub fn hello(&self) -> Option<Bytes> {
        (self.role == Role::Dialer).then(|| self.hello.clone())
    }

    /// Takes a message of the remote.
    ///
    /// # Errors
    /// [`HandshakeError::Refused`] when the message gives reason to refuse the remote, which should be told;
    /// [`HandshakeError::Remote`] when it refused us. Either way the handshake is over.
    pub fn on_message(&mut self, message: &[u8]) -> Result<Step, HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, wire::decode(message)?) {
            (State::Over, _) => Err(unexpected("a message after the end").into()),
            (_, Message::Reject(reason)) => Err(HandshakeError::Remote(reason)),
            (State::AwaitHello, Message::Hello(hello)) => {
                self.remote_hello = Bytes::copy_from_slice(message);
                self.state = State::Deciding(Box::new(self.on_hello(*hello)?));
                Ok(Step::Decide)
            }
            (State::AwaitAccept(mut peer), Message::Accept(signature)) => {
                self.check_proof(peer.peer_id, signature)?;
                peer.proven = true;
                Ok(Step::Done(peer))
            }
            (_, Message::Hello(_)) => Err(unexpected("a hello out of turn").into()),
            (_, Message::Accept(_)) => Err(unexpected("an accept out of turn").into()),
        }
    }

    /// Who wants to be agreed with, after [`Step::Decide`].
    pub fn candidate(&self) -> Option<&RemotePeer> {
        match &self.state {
            State::Deciding(peer) => Some(peer),
            _ => None,
        }
    }

    /// Agrees: gives the messages to send now, in order. What is sent here commits nobody until the remote has sent
    /// its own.
    ///
    /// # Errors
    /// When there is no candidate.
    pub fn accept(&mut self) -> Result<Vec<Bytes>> {
        let peer = match std::mem::replace(&mut self.state, State::Over) {
            State::Deciding(peer) => peer,
            _ => return Err(HandshakeError::Refused(unexpected("there is no candidate")).into()),
        };
        let mut messages = Vec::with_capacity(2);
        if self.role == Role::Listener {
            self.hello = wire::hello(&self.params, self.purpose, self.nonce, &[], self.serial)?;
            messages.push(self.hello.clone());
        }
        let signature = match self.channel {
            Channel::Certified(_) => None,
            Channel::Plain => {
                let (role, transcript) = self.signed_by(self.role);
                Some(self.params.key_pair.sign_for(DOMAIN, &[&role, &transcript]))
            }
        };
        messages.push(wire::accept(signature));
        self.state = State::AwaitAccept(peer);
        Ok(messages)
    }

    fn on_hello(&mut self, hello: Hello) -> Result<RemotePeer, RejectReason> {
        let ours = &self.params;
        if hello.wire_version != WIRE_VERSION {
            return Err(RejectReason::WireVersion { ours: WIRE_VERSION, theirs: hello.wire_version });
        }
        self.check_identity(&hello)?;
        if hello.network != ours.network {
            return Err(RejectReason::NetworkMismatch { ours: ours.network.clone(), theirs: hello.network });
        }
        match self.role {
            Role::Listener if !ours.serves.contains(&hello.purpose) => {
                return Err(RejectReason::PurposeUnsupported(hello.purpose));
            }
            Role::Dialer if hello.purpose != self.purpose => {
                return Err(unexpected("an answer for another purpose"));
            }
            _ => self.purpose = hello.purpose,
        }
        let protocols = match hello.purpose {
            Purpose::Lookup => BTreeMap::new(),
            Purpose::Peer if !ours.version.is_compatible_with(&hello.version) => {
                let (ours, theirs) = (ours.version.to_string(), hello.version.to_string());
                return Err(RejectReason::VersionIncompatible { ours, theirs });
            }
            Purpose::Peer => negotiate(&ours.protocols, &hello.protocols)?,
        };
        Ok(RemotePeer {
            peer_id: hello.peer_id,
            proven: self.channel == Channel::Certified(hello.peer_id),
            boot_nonce: hello.boot_nonce,
            purpose: hello.purpose,
            version: hello.version,
            protocols,
            record: hello.record,
            payload: hello.payload,
            serial: hello.serial,
        })
    }

    fn check_identity(&self, hello: &Hello) -> Result<(), RejectReason> {
        if hello.peer_id == self.params.key_pair.peer_id() {
            return Err(RejectReason::SelfDial);
        }
        // Only a mirror gives our own nonce back.
        if hello.nonce == self.nonce {
            return Err(unexpected("our own nonce"));
        }
        match self.channel {
            Channel::Certified(proven) if proven != hello.peer_id => {
                return Err(RejectReason::FalseIdentity { claimed: hello.peer_id, proven });
            }
            _ => {}
        }
        match self.expected {
            Some(expected) if expected != hello.peer_id => {
                Err(RejectReason::IdentityMismatch { expected, actual: hello.peer_id })
            }
            _ => Ok(()),
        }
    }

    fn check_proof(&self, peer_id: PeerId, signature: Option<[u8; SIGNATURE_LEN]>) -> Result<(), RejectReason> {
        let other = match self.role {
            Role::Dialer => Role::Listener,
            Role::Listener => Role::Dialer,
        };
        match (self.channel, signature) {
            (Channel::Certified(_), None) => Ok(()),
            (Channel::Plain, Some(signature)) => {
                let (role, transcript) = self.signed_by(other);
                PublicKey::from(peer_id)
                    .verify_for(DOMAIN, &[&role, &transcript], &signature)
                    .map_err(|_| RejectReason::BadSignature)
            }
            _ => Err(RejectReason::BadSignature),
        }
    }

    /// What the side in that role signs: its role, and a hash over both hellos in the order in which they were sent.
    fn signed_by(&self, role: Role) -> ([u8; 1], [u8; 32]) {
        let (first, second) = match self.role {
            Role::Dialer => (&self.hello, &self.remote_hello),
            Role::Listener => (&self.remote_hello, &self.hello),
        };
        let mut hash = Context::new(&SHA256);
        // With its length, no byte of one hello can pass for a byte of the other.
        hash.update(&(first.len() as u64).to_be_bytes());
        hash.update(first);
        hash.update(second);
        let mut transcript = [0; 32];
        transcript.copy_from_slice(hash.finish().as_ref());
        ([role as u8], transcript)
    }
}

fn unexpected(what: &str) -> RejectReason {
    RejectReason::Malformed(what.into())
}
