//! What is compared.

use serde::{Deserialize, Serialize};

/// A program that measures the scenarios with one library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    /// Sockets with a length before each message: what all are measured against.
    Raw,
    P2p,
    Karyon,
    Libp2p,
    Iroh,
}

impl Stack {
    pub const ALL: [Self; 5] = [Self::Raw, Self::P2p, Self::Karyon, Self::Libp2p, Self::Iroh];

    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::P2p => "p2p",
            Self::Karyon => "karyon",
            Self::Libp2p => "libp2p",
            Self::Iroh => "iroh",
        }
    }

    /// Its package in this workspace, and its program.
    pub fn package(self) -> String {
        format!("bench-{}", self.name())
    }
}
