//! Who is let in: bans, reputation and access control.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p_core::{ChangeNotifier, PeerId};
use p2p_identity::prefix::is_local;
use p2p_identity::{BanList, PeerOrIp};

use crate::lines::Lines;
use crate::reputation::{Offender, Reputation};
use crate::{Limits, Offence};

/// Bans and what leads to them. Addresses that many share (loopback, private networks) are not held responsible,
/// unless the limits say so.
#[derive(Debug)]
pub(crate) struct Conduct {
    state: Mutex<State>,
    lines: Lines,
    exempt_private: bool,
    /// Told of each ban, and of each change of the application's policy.
    pub(super) changed: ChangeNotifier,
}

#[derive(Debug)]
struct State {
    bans: BanList,
    reputation: Reputation,
}

impl Conduct {
    pub(crate) fn new(limits: &Limits, ban: Duration, now: Instant) -> Self {
        let state = State { bans: BanList::new(limits.offenders), reputation: Reputation::new(limits.offenders, ban) };
        Self {
            state: Mutex::new(state),
            lines: Lines::new(now),
            exempt_private: limits.exempt_private,
            changed: ChangeNotifier::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Both tables are valid after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ban(&self, who: impl Into<PeerOrIp>, duration: Duration, now: Instant) {
        self.lock().bans.ban(who, duration, now);
        self.changed.notify();
    }

    /// Lifts a ban and forgets what led to it.
    pub(crate) fn unban(&self, peer: PeerId) -> bool {
        let mut state = self.lock();
        state.reputation.pardon(Offender::Peer(peer));
        state.bans.unban(peer)
    }

    pub(crate) fn is_banned(&self, who: impl Into<PeerOrIp>, now: Instant) -> bool {
        self.lock().bans.is_banned(who, now)
    }

    /// Whether connections from an address are turned away.
    pub(crate) fn is_addr_banned(&self, ip: IpAddr, now: Instant) -> bool {
        match Offender::addr(ip) {
            Offender::Addr(network) => self.is_banned(network, now),
            Offender::Peer(_) => false,
        }
    }

    /// Counts an offence of a peer, or of where it is if no peer has proven who it is; true when the peer is banned for it. Of
    /// what a peer does its address bears a part. Whoever is spared is never banned, nor its address for it.
    pub(crate) fn offence(
        &self,
        now: Instant,
        peer: Option<PeerId>,
        ip: Option<IpAddr>,
        offence: Offence,
        spared: bool,
    ) -> bool {
        let mut state = self.lock();
        let exempt = |ip: &IpAddr| spared || (self.exempt_private && is_local(*ip));
        if let Some(ip) = ip.filter(|ip| !exempt(ip)) {
            let offender = Offender::addr(ip);
            let ban = match peer {
                Some(_) => state.reputation.record_share(now, offender, offence),
                None => state.reputation.record(now, offender, offence),
            };
            if let (Some(ban), Offender::Addr(network)) = (ban, offender) {
                if self.lines.has_room(now) {
                    tracing::warn!(
                        %network, last_offence = ?offence, ?ban,
                        "an address range is banned for misbehavior of peers there, and refused until the ban ends",
                    );
                }
                state.bans.ban(network, ban, now);
                self.changed.notify();
            }
        }
        let Some(peer) = peer else { return false };
        let Some(ban) = state.reputation.record(now, Offender::Peer(peer), offence) else { return false };
        if spared {
            if self.lines.has_room(now) {
                tracing::warn!(
                    %peer, last_offence = ?offence,
                    "a peer misbehaves that this node keeps or that its access control vouches for, and so it is not banned",
                );
            }
            return false;
        }
        if self.lines.has_room(now) {
            tracing::warn!(
                %peer, last_offence = ?offence, ?ban,
                "a peer is banned for misbehavior, and refused until the ban ends; `unban` lifts it",
            );
        }
        state.bans.ban(peer, ban, now);
        self.changed.notify();
        true
    }
}
