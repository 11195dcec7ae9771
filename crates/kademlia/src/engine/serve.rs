//! Answering others.

use std::time::{Duration, Instant};

use p2p_identity::PeerRecord;

use super::{Action, Asker, Engine, Peer, ReplyId};
use crate::address::is_of_use;
use crate::message::{Closer, MAX_CONTACTS, MAX_PROVIDERS};
use crate::{Key, Refused, Request, Response, Source};

/// Of how many of the closest contacts those are chosen that the asker can use.
const CHOICE: usize = 2 * MAX_CONTACTS;

impl Engine {
    /// Another node asks something. The reply comes as an [`Action::Reply`], nearly always at once.
    pub fn on_request(&mut self, now: Instant, id: ReplyId, asker: &Asker, request: Request) {
        self.visited(now, asker);
        self.serve(now, id, asker, request);
        self.look_at_standing();
    }

    fn serve(&mut self, now: Instant, id: ReplyId, asker: &Asker, request: Request) {
        let from = Source { peer: asker.peer_id, ip: asker.address.ip() };
        let seconds = |ttl: u32| Duration::from_secs(ttl.into());
        let stored = |result: Result<_, Refused>| result.map_or_else(Response::from, |_| Response::Stored);
        let response = match request {
            Request::FindNode { target } => Response::Contacts(self.closer(asker, &target)),
            Request::GetValue { key } => {
                let value = self.store.get(now, &key).cloned();
                Response::Value { value, closer: self.closer(asker, &key) }
            }
            Request::GetProviders { key } => {
                let mut providers = self.store.providers(now, &key, MAX_PROVIDERS);
                providers.retain(|record| is_of_use(record, asker.address.ip()));
                Response::Providers { providers, closer: self.closer(asker, &key) }
            }
            Request::PutValue { value, expected_seq, ttl } => {
                stored(self.store.put(now, value, seconds(ttl), expected_seq, from).map(|_| ()))
            }
            Request::PutProvider { key, record, ttl } => {
                stored(self.store.put_provider(now, key, record, seconds(ttl), from))
            }
            Request::GetRecord => {
                self.came_to_us(asker);
                self.record_for(asker).map_or(Refused::NoRecord.into(), |record| Response::Record(record.clone()))
            }
            Request::DialBack { record } => {
                self.asked_to_dial_back(now, asker, &record, id);
                return;
            }
            Request::TryElsewhere { record, .. } => {
                self.asked_to_try_elsewhere(now, asker, &record, id);
                return;
            }
            Request::Near { record } => match self.asked_who_is_near(now, asker, record) {
                Ok(near) => Response::Near(near),
                Err(refused) => refused.into(),
            },
        };
        self.act(Action::Reply { id, response });
        self.consider(now, asker);
    }

    /// The contacts closest to `target` that the asker can use, itself aside.
    fn closer(&self, asker: &Asker, target: &Key) -> Closer {
        let usable = |peer: &&Peer| peer.peer_id() != asker.peer_id && is_of_use(peer.record(), asker.address.ip());
        let contacts = self.table.closest(target, CHOICE).filter(usable).take(MAX_CONTACTS);
        Closer {
            contacts: contacts.map(|peer| peer.record().clone()).collect(),
            seq: self.record_for(asker).map_or(0, PeerRecord::seq),
            observed: Some(asker.address),
        }
    }

    /// Our own record, if the asker can use it: whoever is not in our network is not told what addresses that has.
    fn record_for(&self, asker: &Asker) -> Option<&PeerRecord> {
        self.local.record().filter(|record| is_of_use(record, asker.address.ip()))
    }
}
