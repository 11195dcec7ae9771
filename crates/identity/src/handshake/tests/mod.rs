//! Two machines against each other, and one against a liar.

mod agreement;
mod bounds;
mod certified;
mod hostile;
mod random;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use p2p_core::PeerId;
use proptest::prelude::*;

use super::wire::Accept;
use super::*;
use crate::{Error, KeyPair, PeerRecord, ProtocolId, ProtocolKind, Version};

pub(super) fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

pub(super) fn params(n: u8, protocols: &[(&str, &str, ProtocolKind)]) -> HandshakeParams {
    let mut params = HandshakeParams::new(key(n), u64::from(n) << 40);
    params.record = Some(PeerRecord::builder().sign(&key(n), 1).unwrap());
    for (id, version, kind) in protocols {
        let offer = Offer { version: version.parse().unwrap(), kind: *kind };
        params.protocols.insert(id.parse().unwrap(), offer);
    }
    params
}

pub(super) type Verdict = Result<RemotePeer, HandshakeError>;

/// Both sides of a connection, in memory.
pub(super) struct Pair {
    dialer: Handshake,
    listener: Handshake,
}

impl Pair {
    fn new(a: HandshakeParams, b: HandshakeParams, certified: bool) -> Self {
        Self::expecting(a, b, certified, None, Purpose::Peer)
    }

    fn expecting(
        a: HandshakeParams,
        b: HandshakeParams,
        certified: bool,
        expected: Option<PeerId>,
        purpose: Purpose,
    ) -> Self {
        let channel = |params: &HandshakeParams| match certified {
            true => Channel::Certified(params.key_pair.peer_id()),
            false => Channel::Plain,
        };
        let (to_b, to_a) = (channel(&b), channel(&a));
        Self {
            dialer: Handshake::dial(a.into(), to_b, expected, purpose, [1; 32], b"query").unwrap(),
            listener: Handshake::listen(b.into(), to_a, [2; 32]).unwrap(),
        }
    }

    /// Runs it to its end, passing each message through `change` (message index, bytes). Gives both verdicts and how
    /// many one-way trips it took.
    fn run_with(mut self, mut change: impl FnMut(usize, Bytes) -> Bytes) -> (Verdict, Verdict, usize) {
        let (mut a, mut b) = (None, None);
        let mut wire: Vec<Bytes> = vec![self.dialer.hello().unwrap()];
        let (mut to_listener, mut trips, mut count) = (true, 0, 0);
        while !wire.is_empty() {
            trips += 1;
            let mut answers = Vec::new();
            for message in std::mem::take(&mut wire) {
                let message = change(count, message);
                count += 1;
                let (machine, verdict) = match to_listener {
                    true => (&mut self.listener, &mut b),
                    false => (&mut self.dialer, &mut a),
                };
                if verdict.is_some() {
                    continue;
                }
                match machine.on_message(&message) {
                    Ok(Step::Decide) => answers.extend(machine.accept().unwrap()),
                    Ok(Step::Done(peer)) => *verdict = Some(Ok(*peer)),
                    Err(error) => {
                        if let HandshakeError::Refused(reason) = &error {
                            answers.push(reject_message(reason));
                        }
                        *verdict = Some(Err(error));
                    }
                }
            }
            wire = answers;
            to_listener = !to_listener;
        }
        (a.unwrap_or(Err(HandshakeError::Closed)), b.unwrap_or(Err(HandshakeError::Closed)), trips)
    }

    fn run(self) -> (Verdict, Verdict, usize) {
        self.run_with(|_, message| message)
    }

    /// Both refuse for the same reason; the listener's own view of it.
    fn refused(self) -> RejectReason {
        match self.run() {
            (Err(HandshakeError::Remote(a)), Err(HandshakeError::Refused(b)), _)
            | (Err(HandshakeError::Refused(a)), Err(HandshakeError::Remote(b)), _) => {
                assert_eq!(a.mirrored(), b);
                b
            }
            other => panic!("{other:?}"),
        }
    }
}
