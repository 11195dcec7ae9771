//! What a node says of itself: its record.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use p2p_core::Runtime;
use p2p_identity::{Bloom, KeyPair, PeerRecord, RecordBuilder};
use p2p_net::Endpoint;

/// The longest list of addresses in a record.
const ADDRESSES: usize = 8;

/// The advertised items and addresses, and the record made of them, which is signed when somebody wants it: a node with a
/// DHT tells that one's record, and never wants this.
pub(super) struct Items {
    key_pair: KeyPair,
    runtime: Arc<dyn Runtime>,
    public_ip: Option<IpAddr>,
    external: Vec<Endpoint>,
    endpoints: Vec<Endpoint>,
    items: BTreeSet<Vec<u8>>,
    record: Option<PeerRecord>,
    /// Something has changed since that was signed.
    stale: bool,
}

impl Items {
    /// `external` is told word for word, before where the node listens.
    pub(super) fn new(
        key_pair: KeyPair,
        runtime: Arc<dyn Runtime>,
        public_ip: Option<IpAddr>,
        external: Vec<Endpoint>,
    ) -> Self {
        let (endpoints, items) = (Vec::new(), BTreeSet::new());
        Self { key_pair, runtime, public_ip, external, endpoints, items, record: None, stale: false }
    }

    /// Tells where the node listens.
    pub(super) fn set_endpoints(&mut self, endpoints: &[Endpoint]) {
        self.endpoints = endpoints.to_vec();
        self.stale = true;
    }

    pub(super) fn insert(&mut self, item: &[u8]) {
        self.stale |= self.items.insert(item.to_vec());
    }

    pub(super) fn remove(&mut self, item: &[u8]) {
        self.stale |= self.items.remove(item);
    }

    /// The record as it is now; `None` while the node has no address that others could reach.
    pub(super) fn record(&mut self) -> Option<PeerRecord> {
        if std::mem::take(&mut self.stale) {
            self.renew();
        }
        self.record.clone()
    }

    fn renew(&mut self) {
        let mut builder = PeerRecord::builder();
        let listening = self.endpoints.iter().filter_map(|endpoint| self.reachable(endpoint));
        let external = self.external.iter().map(|endpoint| endpoint.clone().with_peer_id(None));
        let mut addresses: Vec<Endpoint> = Vec::new();
        for endpoint in external.chain(listening) {
            if !addresses.contains(&endpoint) {
                addresses.push(endpoint);
            }
        }
        if addresses.is_empty() {
            self.record = None;
            return;
        }
        for endpoint in addresses.into_iter().take(ADDRESSES) {
            builder = builder.addr(endpoint);
        }
        let items = self.items.iter().collect::<Bloom>();
        // A later run must count on: the clock does, and where it was set back a run still counts by itself.
        let clock = self.runtime.system_time().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let seq = self.record.as_ref().map_or(clock, |record| clock.max(record.seq() + 1));
        self.record = builder
            .items(items)
            .sign(&self.key_pair, seq)
            .inspect_err(|error| {
                tracing::warn!(%error, "the node's own record cannot be made, and peers are not told its addresses");
            })
            .ok();
    }

    /// The endpoint as others reach it, if they can.
    fn reachable(&self, endpoint: &Endpoint) -> Option<Endpoint> {
        let here = endpoint.addr().ip()?;
        let there = match self.public_ip {
            Some(public) if public.is_ipv4() == here.is_ipv4() && !here.is_loopback() => public,
            _ => here,
        };
        let endpoint = Endpoint::new(endpoint.transport(), there, endpoint.port());
        RecordBuilder::accepts(&endpoint).then_some(endpoint)
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_is_signed_when_it_is_wanted_and_something_has_changed() {
        let key_pair = KeyPair::from_seed([1; 32]);
        let mut items = Items::new(key_pair, p2p_core::runtime::current().unwrap(), None, Vec::new());
        items.insert(b"before");
        assert_eq!(items.record(), None, "there is no address");
        items.set_endpoints(&["tcp://127.0.0.1:1".parse().unwrap()]);
        items.insert(b"x");
        assert!(items.stale && items.record.is_none());
        let first = items.record().unwrap();
        assert!(first.items().may_contain(b"before") && first.items().may_contain(b"x"));
        // What changes nothing signs nothing.
        items.insert(b"x");
        items.remove(b"y");
        assert!(!items.stale);
        assert_eq!(items.record().as_ref(), Some(&first));
        items.remove(b"x");
        items.insert(b"z");
        let second = items.record().unwrap();
        assert!(second.is_newer_than(&first) && second.items().may_contain(b"z"));
        items.set_endpoints(&[]);
        assert_eq!(items.record(), None);
    }

    #[tokio::test]
    async fn what_it_is_told_to_tell_comes_first_and_as_it_is() {
        let external: Vec<Endpoint> = vec!["quic://8.8.8.8:9003".parse().unwrap()];
        let runtime = p2p_core::runtime::current().unwrap();
        let mut items = Items::new(KeyPair::from_seed([1; 32]), runtime, None, external.clone());
        items.set_endpoints(&["quic://0.0.0.0:4003".parse().unwrap(), "tcp://10.0.0.1:4001".parse().unwrap()]);
        let record = items.record().unwrap();
        let told = record.addrs().iter().map(|addr| addr.endpoint.clone().with_peer_id(None).to_string());
        let told: Vec<String> = told.collect();
        assert_eq!(told, ["quic://8.8.8.8:9003", "tcp://10.0.0.1:4001"]);
    }
}
