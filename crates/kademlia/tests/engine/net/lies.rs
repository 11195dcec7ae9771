//! Nodes that do not tell the truth.

use std::net::IpAddr;

use p2p_identity::PeerRecord;
use p2p_kademlia::engine::{Asker, QuestionId, ReplyId};
use p2p_kademlia::message::{Closer, DialBackOutcome, MAX_CONTACTS};
use p2p_kademlia::{Request, Response};
use p2p_net::{Endpoint, Transport};

use super::{Event, Net, address, key_pair};

/// Nodes in an answer that do not exist.
const INVENTED: usize = 10;

impl Net {
    /// A liar that was asked to dial `n` back says that it did.
    pub(super) fn come_and_lie(&mut self, n: usize, question: QuestionId, liar: usize) {
        // It comes, but to where the asker really is.
        let peer_id = key_pair(liar).peer_id();
        let asker = Asker { peer_id, address: address(liar), arrived: None, unsolicited: true, record: None };
        let asker = Asker { arrived: Some(self.arrival(n)), ..asker };
        self.with(n, |engine, now| engine.on_request(now, ReplyId(u64::MAX), &asker, Request::GetRecord));
        let reached = Box::new(Response::DialBack(DialBackOutcome::Reached));
        let delay = self.delay();
        self.after(delay, n, Event::Reply(question, liar, reached));
    }

    /// What a node says that names others which do not exist; each is new.
    pub(super) fn invent(&mut self, n: usize, request: &Request) -> Option<Response> {
        let places = self.inventors.get(&n)?.clone();
        request.target()?;
        let contacts = (0..INVENTED).map(|_| {
            let at = Endpoint::from_socket_addr(Transport::Tcp, places[self.invented as usize % places.len()]);
            self.invented += 1;
            let nobody = key_pair(usize::MAX - self.invented as usize);
            PeerRecord::builder().discovery_addr(at).sign(&nobody, 1).expect("it is a record like any other")
        });
        let closer = Closer { contacts: contacts.collect(), seq: 0, observed: None };
        match request {
            Request::FindNode { .. } => Some(Response::Contacts(closer)),
            Request::GetValue { .. } => Some(Response::Value { value: None, closer }),
            Request::GetProviders { .. } => Some(Response::Providers { providers: Vec::new(), closer }),
            _ => None,
        }
    }

    /// Where a connection to a node arrives.
    pub(super) fn arrival(&self, n: usize) -> IpAddr {
        if self.translated.contains(&n) { IpAddr::from([10, 0, 0, 1]) } else { address(n).ip() }
    }

    pub(super) fn lie(&self, request: &Request) -> Option<Response> {
        let mut sybils: Vec<usize> = self.sybils.iter().copied().collect();
        let target = request.target()?;
        sybils.sort_by_key(|n| target.distance(&self.engine(*n).key()));
        let contacts = sybils.iter().take(MAX_CONTACTS).filter_map(|n| self.engine(*n).record().cloned()).collect();
        let closer = Closer { contacts, seq: 0, observed: None };
        match request {
            Request::FindNode { .. } => Some(Response::Contacts(closer)),
            Request::GetValue { .. } => Some(Response::Value { value: None, closer }),
            Request::GetProviders { .. } => Some(Response::Providers { providers: Vec::new(), closer }),
            Request::PutValue { .. } | Request::PutProvider { .. } => Some(Response::Stored),
            _ => None,
        }
    }
}
