//! What came of joining, and why a node stays a client.

use std::fmt;
use std::mem::discriminant;

use p2p_net::Endpoint;

use super::{Action, Engine, KademliaEvent, Mode};

/// What came of joining a network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Joined {
    /// Somebody has reached this node: others find it.
    Server,
    /// Others have answered, and this node is found by nobody. It asks them all the same.
    Client(ClientReason),
    /// There is nobody to ask: no bootstrap peer, and nobody is remembered. It is the first of its network, and becomes a
    /// server when somebody comes.
    First,
}

/// Why others do not find a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientReason {
    /// It listens nowhere that takes connections.
    NotListening,
    /// Others tried to reach it there, where they see it or where it says that it is, and did not. A NAT box or a firewall
    /// lets nobody in that the node has not spoken to: forward or open the port, or set
    /// [`external_endpoints`](crate::KademliaConfig::external_endpoints) where it has another number outside.
    Unreached {
        /// What was tried last.
        tried: Vec<Endpoint>,
    },
    /// It listens on all addresses, and nobody who answered sees it at one that is of use to others: set
    /// [`public_ip`](crate::KademliaConfig::public_ip).
    NoAddress,
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => write!(f, "others reach this node, and find it"),
            Self::Client(reason) => write!(f, "others do not find this node: {reason}"),
            Self::First => write!(f, "this node is the first of its network"),
        }
    }
}

impl fmt::Display for ClientReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListening => write!(f, "it listens at no quic://, tls:// or tcp:// endpoint"),
            Self::Unreached { tried } => {
                let tried: Vec<String> = tried.iter().map(|at| at.clone().with_peer_id(None).to_string()).collect();
                write!(
                    f,
                    "nobody reaches it at {}: open or forward the port there, or set `external_endpoints` if it has another \
                     number outside",
                    tried.join(", ")
                )
            }
            Self::NoAddress => {
                write!(
                    f,
                    "nobody sees it at an address that others could dial: set `public_ip` or `external_endpoints`"
                )
            }
        }
    }
}

/// How far joining has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has come to this.
    Joined(Joined),
    /// Nobody has answered.
    Nobody,
}

impl Engine {
    /// Looks whether anything about joining has become known. What was known stays until something else is.
    pub(super) fn look_at_standing(&mut self) {
        let Some(standing) = self.standing_now().filter(|now| self.standing.as_ref() != Some(now)) else { return };
        match &standing {
            Standing::Joined(Joined::Client(reason)) if self.told.as_ref() != Some(&discriminant(reason)) => {
                self.told = Some(discriminant(reason));
                if *reason == ClientReason::NotListening && self.local.listens_nowhere() {
                    // As it was told to.
                    tracing::info!("this node listens nowhere, so others do not find it");
                } else {
                    tracing::warn!(%reason, "others do not find this node");
                }
                self.emit(KademliaEvent::StaysClient(reason.clone()));
            }
            Standing::Joined(Joined::Server) => self.told = None,
            _ => {}
        }
        self.standing = Some(standing.clone());
        self.act(Action::Standing(standing));
    }

    fn standing_now(&self) -> Option<Standing> {
        if self.mode() == Mode::Server && (self.met || self.reach.was_reached) {
            return Some(Standing::Joined(Joined::Server));
        }
        if self.met {
            return self.client_reason().map(|reason| Standing::Joined(Joined::Client(reason)));
        }
        match self.asks_in_vain()? {
            true => Some(Standing::Nobody),
            false => Some(Standing::Joined(Joined::First)),
        }
    }
}
