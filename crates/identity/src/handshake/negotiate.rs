//! Which protocols two peers have in common.

use std::collections::BTreeMap;

use super::{Offer, Party, RejectReason};
use crate::{ProtocolId, ProtocolKind, Version};

/// A protocol that both sides speak, in versions that accept each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The remote's version.
    pub remote_version: Version,
    /// What the protocol means to this node.
    pub local_kind: ProtocolKind,
    /// What it means to the remote.
    pub remote_kind: ProtocolKind,
}

/// The protocols of both, in order. Each side computes the same: the same set, or the same refusal seen from its side.
pub(super) fn negotiate(
    ours: &BTreeMap<ProtocolId, Offer>,
    theirs: &BTreeMap<ProtocolId, Offer>,
) -> Result<BTreeMap<ProtocolId, Negotiated>, RejectReason> {
    let mut negotiated = BTreeMap::new();
    // Both sides must find the same fault first, so both walk all ids in the same order.
    let mut ids: Vec<_> = ours.keys().chain(theirs.keys()).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let mandatory = |offer: &Offer| offer.kind == ProtocolKind::Mandatory;
        let missing = |missing_at| RejectReason::MissingProtocol { protocol: id.clone(), missing_at };
        match (ours.get(id), theirs.get(id)) {
            (Some(our), None) if mandatory(our) => return Err(missing(Party::Remote)),
            (None, Some(their)) if mandatory(their) => return Err(missing(Party::Local)),
            (Some(our), Some(their)) if our.version.is_compatible_with(&their.version) => {
                let remote_version = their.version.clone();
                let entry = Negotiated { remote_version, local_kind: our.kind, remote_kind: their.kind };
                negotiated.insert(id.clone(), entry);
            }
            (Some(our), Some(their)) if mandatory(our) || mandatory(their) => {
                return Err(RejectReason::ProtocolVersion {
                    protocol: id.clone(),
                    ours: our.version.to_string(),
                    theirs: their.version.to_string(),
                });
            }
            _ => {}
        }
    }
    Ok(negotiated)
}
