//! Records as bytes: format ‖ body ‖ signature, where the signature covers all before it.
//!
//! The body is postcard: peer id, sequence number, addresses and discovery addresses as (kind, value) pairs, and the
//! hint of advertised items.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use p2p_core::PeerId;
use p2p_net::{PeerAddr, Transport};
use serde::{Deserialize, Serialize};

use super::{DOMAIN, Inner, InvalidRecord, MAX_ADDRS, MAX_RECORD_LEN, PeerRecord, RecordBuilder, address};
use crate::Bloom;
use crate::codec::decode_borrowed;
use crate::keypair::{KeyPair, SIGNATURE_LEN};

/// The format written here.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    peer_id: PeerId,
    seq: u64,
    #[serde(borrow)]
    addrs: Vec<(u8, Value<'a>)>,
    #[serde(borrow)]
    discovery_addrs: Vec<(u8, Value<'a>)>,
    items: Bloom,
}

/// An address in the form of its kind.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Value<'a>(#[serde(borrow)] &'a [u8]);

pub(super) fn decode(bytes: &[u8]) -> Result<PeerRecord, InvalidRecord> {
    if bytes.len() > MAX_RECORD_LEN {
        return Err(InvalidRecord::TooLarge { len: bytes.len(), max: MAX_RECORD_LEN });
    }
    let malformed = |what: &str| InvalidRecord::Malformed(what.into());
    let (format, rest) = bytes.split_first().ok_or_else(|| malformed("it is empty"))?;
    if *format != FORMAT {
        return Err(InvalidRecord::Format(*format));
    }
    let (body, _signature) =
        rest.split_last_chunk::<SIGNATURE_LEN>().ok_or_else(|| malformed("it has no signature"))?;
    let body: Body<'_> = decode_borrowed(body).map_err(|error| malformed(&error.to_string()))?;
    let read = |addrs: Vec<(u8, Value<'_>)>| {
        check_count(addrs.len())?;
        // Exactly so many: records are kept for long.
        let mut known = Vec::with_capacity(addrs.len());
        for (kind, value) in addrs {
            known.extend(address::decode(kind, value.0, body.peer_id)?);
        }
        Ok(known)
    };
    let addrs = read(body.addrs)?;
    let discovery_addrs = read(body.discovery_addrs)?;
    check_connectable(&addrs)?;
    Ok(PeerRecord(Arc::new(Inner {
        bytes: Bytes::copy_from_slice(bytes),
        peer_id: body.peer_id,
        seq: body.seq,
        addrs,
        discovery_addrs,
        items: body.items,
        valid: OnceLock::new(),
    })))
}

pub(super) fn sign(record: RecordBuilder, key_pair: &KeyPair, seq: u64) -> Result<PeerRecord, InvalidRecord> {
    let RecordBuilder { mut addrs, mut discovery_addrs, items } = record;
    let peer_id = key_pair.peer_id();
    check_count(addrs.len())?;
    check_count(discovery_addrs.len())?;
    check_connectable(&addrs)?;
    for addr in addrs.iter_mut().chain(&mut discovery_addrs) {
        if addr.endpoint.peer_id().is_some_and(|named| named != peer_id) {
            return Err(InvalidRecord::Address { endpoint: addr.endpoint.clone(), why: "it names another peer" });
        }
        addr.endpoint = addr.endpoint.clone().with_peer_id(peer_id);
    }
    let values = |addrs: &[PeerAddr]| addrs.iter().map(address::encode).collect::<Result<Vec<_>, _>>();
    let (values, discovery_values) = (values(&addrs)?, values(&discovery_addrs)?);
    fn with_kind(values: &[Vec<u8>]) -> Vec<(u8, Value<'_>)> {
        values.iter().map(|value| (address::KIND_IP, Value(value))).collect()
    }
    let body = Body { peer_id, seq, addrs: with_kind(&values), discovery_addrs: with_kind(&discovery_values), items };
    let mut bytes = vec![FORMAT];
    let body = crate::encode(&body).map_err(|error| InvalidRecord::Malformed(error.to_string()))?;
    bytes.extend_from_slice(&body);
    let signature = key_pair.sign_for(DOMAIN, &[&bytes]);
    bytes.extend_from_slice(&signature);
    let valid = OnceLock::from(true);
    let bytes = bytes.into();
    Ok(PeerRecord(Arc::new(Inner { bytes, peer_id, seq, addrs, discovery_addrs, items, valid })))
}

fn check_count(len: usize) -> Result<(), InvalidRecord> {
    if len > MAX_ADDRS { Err(InvalidRecord::TooManyAddresses { len, max: MAX_ADDRS }) } else { Ok(()) }
}

/// Where to connect must not be a place without connections.
fn check_connectable(addrs: &[PeerAddr]) -> Result<(), InvalidRecord> {
    match addrs.iter().find(|addr| addr.endpoint.transport() == Transport::Udp) {
        Some(addr) => Err(InvalidRecord::Address {
            endpoint: addr.endpoint.clone(),
            why: "there are no connections over udp; it may be a discovery address",
        }),
        None => Ok(()),
    }
}
