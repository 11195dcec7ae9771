//! The handshake as a state machine without I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use p2p_core::PeerId;
use ring::digest::{Context, SHA256};
use rustls::pki_types::CertificateDer;

use super::negotiate::negotiate;
use super::wire::{self, Accept, MAX_PAYLOAD_LEN, Message, NONCE_LEN, Node};
use super::{Channel, HandshakeError, HandshakeParams, Negotiated, Purpose, RejectReason, Role, Serial};
use crate::keypair::{Domain, PublicKey};
use crate::{Error, PeerRecord, ProtocolId, Result, Version};

const DOMAIN: Domain = Domain::new("p2p/1 handshake");

/// One handshake of one side. Messages and decisions go in, messages and the [`RemotePeer`] come out.
///
/// The dialer sends [`hello`](Self::hello) first, unless it knows the listener's: see [`on_certificate`](Self::on_certificate). Each received message goes to
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
    /// Ours: the dialer's from the beginning, the listener's once it accepts.
    hello: Bytes,
    /// The remote's, as it came.
    remote_hello: Bytes,
    /// The listener's hello is in the certificate that it presented on this connection: here it is, on the dialer's side.
    certified: Option<Bytes>,
    /// This side has agreed.
    accepted: bool,
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
    /// Where the connection stands among those of the remote with us. A listener whose hello is in its certificate says so
    /// with its accept only: `None` until then.
    pub serial: Option<Serial>,
}

impl Handshake {
    /// The handshake of the side that opened the connection. `expected` is who was dialed, if that is known; the nonce
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
            certified: None,
            accepted: false,
            state: State::AwaitHello,
        }
    }

    /// Numbers the connection. A dialer does so before it sends its [`hello`](Self::hello) or takes that of a
    /// [certificate](Self::on_certificate), a listener before it [`accept`](Self::accept)s.
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

    /// The dialer looks for the listener's hello in the certificates that it presented on this connection. Begin with
    /// [`on_certificate`](Self::on_certificate).
    ///
    /// # Errors
    /// As [`peer_id_from_certificates`](crate::peer_id_from_certificates).
    pub fn with_certificates(self, certificates: Option<&[CertificateDer<'_>]>) -> Result<Self> {
        let certified = certificates.map(crate::tls::hello_from_certificates).transpose()?.flatten();
        Ok(Self { certified, ..self })
    }

    /// The listener's parameters were in the certificate that it presented on this connection: it does not repeat them.
    #[must_use]
    pub fn presented(self) -> Self {
        Self { certified: Some(Bytes::new()), ..self }
    }

    /// Takes the hello that the dialer knows from the listener's certificate. `None` when it knows none: the listener
    /// sends its own then.
    ///
    /// # Errors
    /// As [`on_message`](Self::on_message).
    pub fn on_certificate(&mut self) -> Result<Option<Step>, HandshakeError> {
        let (Role::Dialer, Some(hello), Channel::Certified(peer_id)) = (self.role, &self.certified, self.channel)
        else {
            return Ok(None);
        };
        let hello = hello.clone();
        if !matches!(std::mem::replace(&mut self.state, State::Over), State::AwaitHello) {
            return Err(unexpected("a certificate out of turn").into());
        }
        let node = wire::decode_certified(&hello, peer_id)?;
        let peer = self.on_hello(peer_id, self.purpose, node, Bytes::new(), None)?;
        self.state = State::Deciding(Box::new(peer));
        Ok(Some(Step::Decide))
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Who the remote must be, as far as that is known before its hello: whom TLS has proven, or who was dialed.
    pub fn expected(&self) -> Option<PeerId> {
        match self.channel {
            Channel::Certified(proven) => Some(proven),
            Channel::Plain => self.expected,
        }
    }

    /// What the dialer sends first; `None` on the listener's side, which answers, and on that of a dialer that knows the
    /// listener's hello, which sends its own when it accepts.
    pub fn hello(&self) -> Option<Bytes> {
        (self.role == Role::Dialer && self.certified.is_none()).then(|| self.hello.clone())
    }

    /// What a listener that refuses may say before, so that the dialer learns who it is; `None` where that is known.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub fn introduction(&self) -> Result<Option<Bytes>> {
        if self.role == Role::Dialer || self.certified.is_some() {
            return Ok(None);
        }
        wire::hello(&self.params, self.purpose, self.nonce, &[], Serial::default()).map(Some)
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
                // Only a mirror gives our own nonce back.
                if hello.peer_id != self.params.key_pair.peer_id() && hello.nonce == self.nonce {
                    return Err(unexpected("our own nonce").into());
                }
                let serial = Some(hello.serial);
                let peer = self.on_hello(hello.peer_id, hello.purpose, hello.node, hello.payload, serial)?;
                self.state = State::Deciding(Box::new(peer));
                Ok(Step::Decide)
            }
            (State::AwaitAccept(mut peer), Message::Accept(accept)) => {
                if let Some(serial) = self.check_accept(peer.peer_id, accept)? {
                    peer.serial = Some(serial);
                }
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
        match (self.role, self.certified.is_some()) {
            (Role::Listener, false) => {
                self.hello = wire::hello(&self.params, self.purpose, self.nonce, &[], self.serial)?;
                messages.push(self.hello.clone());
            }
            (Role::Dialer, true) => messages.push(self.hello.clone()),
            _ => {}
        }
        let accept = match self.channel {
            Channel::Certified(_) if self.role == Role::Listener && self.certified.is_some() => {
                Accept::Numbered(self.serial)
            }
            Channel::Certified(_) => Accept::Bare,
            Channel::Plain => {
                let (role, transcript) = self.signed_by(self.role);
                Accept::Signed(self.params.key_pair.sign_for(DOMAIN, &[&role, &transcript]))
            }
        };
        messages.push(wire::accept(accept));
        self.state = State::AwaitAccept(peer);
        self.accepted = true;
        Ok(messages)
    }

    /// Whether this side has agreed, in which case the remote may be done and is told nothing more.
    pub fn has_accepted(&self) -> bool {
        self.accepted
    }

    fn on_hello(
        &mut self,
        peer_id: PeerId,
        purpose: Purpose,
        node: Node,
        payload: Bytes,
        serial: Option<Serial>,
    ) -> Result<RemotePeer, RejectReason> {
        let ours = &self.params;
        self.check_identity(peer_id)?;
        if node.network != ours.network {
            return Err(RejectReason::NetworkMismatch { ours: ours.network.clone(), theirs: node.network });
        }
        match self.role {
            Role::Listener if !ours.serves.contains(&purpose) => {
                return Err(RejectReason::PurposeUnsupported(purpose));
            }
            Role::Dialer if purpose != self.purpose => {
                return Err(unexpected("an answer for another purpose"));
            }
            _ => self.purpose = purpose,
        }
        let protocols = match purpose {
            Purpose::Lookup => BTreeMap::new(),
            Purpose::Peer if !ours.version.is_compatible_with(&node.version) => {
                let (ours, theirs) = (ours.version.to_string(), node.version.to_string());
                return Err(RejectReason::VersionIncompatible { ours, theirs });
            }
            Purpose::Peer => negotiate(&ours.protocols, &node.protocols)?,
        };
        Ok(RemotePeer {
            peer_id,
            proven: self.channel == Channel::Certified(peer_id),
            boot_nonce: node.boot_nonce,
            purpose,
            version: node.version,
            protocols,
            record: node.record,
            payload,
            serial,
        })
    }

    fn check_identity(&self, peer_id: PeerId) -> Result<(), RejectReason> {
        if peer_id == self.params.key_pair.peer_id() {
            return Err(RejectReason::SelfDial);
        }
        match self.channel {
            Channel::Certified(proven) if proven != peer_id => {
                return Err(RejectReason::FalseIdentity { claimed: peer_id, proven });
            }
            _ => {}
        }
        match self.expected {
            Some(expected) if expected != peer_id => Err(RejectReason::IdentityMismatch { expected, actual: peer_id }),
            _ => Ok(()),
        }
    }

    /// Whether an accept has the form that belongs here, and proves what it must; gives the numbers in it.
    fn check_accept(&self, peer_id: PeerId, accept: Accept) -> Result<Option<Serial>, RejectReason> {
        let other = match self.role {
            Role::Dialer => Role::Listener,
            Role::Listener => Role::Dialer,
        };
        let numbered = self.role == Role::Dialer && self.certified.is_some();
        match (self.channel, accept) {
            (Channel::Certified(_), Accept::Numbered(serial)) if numbered => Ok(Some(serial)),
            (Channel::Certified(_), Accept::Bare) if !numbered => Ok(None),
            (Channel::Plain, Accept::Signed(signature)) => {
                let (role, transcript) = self.signed_by(other);
                PublicKey::from(peer_id)
                    .verify_for(DOMAIN, &[&role, &transcript], &signature)
                    .map_err(|_| RejectReason::BadSignature)?;
                Ok(None)
            }
            (Channel::Plain, _) | (_, Accept::Signed(_)) => Err(RejectReason::BadSignature),
            _ => Err(unexpected("an accept of the other form")),
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
