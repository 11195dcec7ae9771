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

/// The advertised items and addresses, and the signed record made of them.
pub(super) struct Items {
    key_pair: KeyPair,
    runtime: Arc<dyn Runtime>,
    public_ip: Option<IpAddr>,
    endpoints: Vec<Endpoint>,
    items: BTreeSet<Vec<u8>>,
    record: Option<PeerRecord>,
}

impl Items {
    pub(super) fn new(key_pair: KeyPair, runtime: Arc<dyn Runtime>, public_ip: Option<IpAddr>) -> Self {
        Self { key_pair, runtime, public_ip, endpoints: Vec::new(), items: BTreeSet::new(), record: None }
    }

    /// Tells where the node listens.
    pub(super) fn set_endpoints(&mut self, endpoints: &[Endpoint]) {
        self.endpoints = endpoints.to_vec();
        self.renew();
    }

    pub(super) fn insert(&mut self, item: &[u8]) {
        if self.items.insert(item.to_vec()) {
            self.renew();
        }
    }

    pub(super) fn remove(&mut self, item: &[u8]) {
        if self.items.remove(item) {
            self.renew();
        }
    }

    /// The record as it is now; `None` while the node has no address that others could reach.
    pub(super) fn record(&self) -> Option<PeerRecord> {
        self.record.clone()
    }

    fn renew(&mut self) {
        let mut builder = PeerRecord::builder();
        let addresses: Vec<_> = self.endpoints.iter().filter_map(|endpoint| self.reachable(endpoint)).collect();
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
            .inspect_err(|error| tracing::warn!(%error, "the node's record cannot be made"))
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
