//! The handshake: two peers say who they are and what they speak, and agree or part.
//!
//! ```text
//! dialler                                  listener
//!    | Hello ------------------------------> |  decides
//!    | <--------------------- Hello, Accept  |
//!    | Accept -----------------------------> |  done
//!   done                                    done
//! ```
//!
//! One round trip for the dialler. Each side computes the same set of protocols from both hellos, and either may send
//! `Reject(reason)` in place of `Accept` (the listener also in place of its `Hello`). Over tls and quic the
//! certificate has proven who the remote is, and its hello must agree. Over tcp each `Accept` carries a signature over
//! both hellos and the signer's role: fresh nonces from both sides make it worthless anywhere and at any time else.
//! Nothing after the handshake is protected over tcp: who can change packets on the way can then take over.
//!
//! [`Handshake`] decides and does no I/O; [`run`] moves its messages over a stream.
//!
//! # On the wire
//!
//! Each message is a format byte (1), a kind byte (0 `Hello`, 1 `Accept`, 2 `Reject`) and a postcard value. A hello has
//! at most [`MAX_MESSAGE_LEN`] bytes. `Reject` keeps its form in every version, so that versions can tell each other
//! that they differ.

mod driver;
mod machine;
mod negotiate;
mod params;
mod reason;
mod wire;

pub use driver::run;
pub use machine::{Handshake, RemotePeer, Step};
pub use negotiate::Negotiated;
pub use params::{Channel, HandshakeParams, Offer, Purpose, Role, Serial};
pub use reason::{HandshakeError, MAX_REASON_TEXT, Party, RejectReason};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use wire::rewrite;
pub use wire::{MAX_MESSAGE_LEN, MAX_NETWORK_LEN, MAX_PAYLOAD_LEN, MAX_PROTOCOLS, NONCE_LEN, reject_message};

#[cfg(test)]
mod tests;
