//! Pings that wait for their answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Alive;
use crate::message::{NONCE_LEN, Ping};

/// Contacts that are being pinged, each with the pings sent to it so far: an answer to an early one counts.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    waiting: BTreeMap<u64, Waiting>,
    by_nonce: BTreeMap<[u8; NONCE_LEN], u64>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    address: SocketAddr,
    answered: oneshot::Sender<Alive>,
    sent: Vec<(Ping, Instant)>,
}

impl Outstanding {
    /// Somebody begins to ping a contact; the ticket is to be given back with [`end`](Self::end).
    pub(super) fn begin(&mut self, address: SocketAddr, answered: oneshot::Sender<Alive>) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, Waiting { address, answered, sent: Vec::new() });
        ticket
    }

    /// A ping goes out. Ignored when the answer to an earlier one has come.
    pub(super) fn sent(&mut self, ticket: u64, ping: Ping, now: Instant) {
        if let Some(waiting) = self.waiting.get_mut(&ticket) {
            waiting.sent.push((ping, now));
            self.by_nonce.insert(ping.nonce, ticket);
        }
    }

    /// The ping with this nonce, if it went to `source`.
    pub(super) fn find(&self, source: SocketAddr, nonce: &[u8; NONCE_LEN]) -> Option<(u64, Ping, Instant)> {
        let ticket = *self.by_nonce.get(nonce)?;
        let waiting = self.waiting.get(&ticket).filter(|waiting| waiting.address == source)?;
        let (ping, sent) = waiting.sent.iter().find(|(ping, _)| ping.nonce == *nonce)?;
        Some((ticket, *ping, *sent))
    }

    /// The contact was pinged enough. Gives who is to be told, the first time.
    pub(super) fn end(&mut self, ticket: u64) -> Option<oneshot::Sender<Alive>> {
        let waiting = self.waiting.remove(&ticket)?;
        waiting.sent.iter().for_each(|(ping, _)| {
            self.by_nonce.remove(&ping.nonce);
        });
        Some(waiting.answered)
    }
}

#[cfg(test)]
mod tests {
    use p2p_identity::KeyPair;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn only_what_was_asked_there_is_found_and_nothing_stays() {
        let now = Instant::now();
        let peer = |n: u8| KeyPair::from_seed([n; 32]).peer_id();
        let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let ping = |nonce| Ping { from: peer(1), to: peer(2), nonce: [nonce; NONCE_LEN], seq: 0 };
        let mut outstanding = Outstanding::default();
        let (sender, _receiver) = oneshot::channel();
        let ticket = outstanding.begin(address(1), sender);
        outstanding.sent(ticket, ping(1), now);
        outstanding.sent(ticket, ping(2), now);
        assert_eq!(outstanding.find(address(1), &[1; NONCE_LEN]), Some((ticket, ping(1), now)));
        assert_eq!(outstanding.find(address(2), &[1; NONCE_LEN]), None, "from elsewhere");
        assert_eq!(outstanding.find(address(1), &[3; NONCE_LEN]), None, "never asked");
        assert!(outstanding.end(ticket).is_some() && outstanding.end(ticket).is_none());
        outstanding.sent(ticket, ping(4), now);
        assert!(outstanding.by_nonce.is_empty() && outstanding.waiting.is_empty());
    }
}
