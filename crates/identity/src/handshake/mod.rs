//! The handshake: two peers say who they are and what they speak, and agree or part.
//!
//! ```text
//! dialer                                   listener
//!                                               |  over tls and quic: its hello is in its certificate
//!    | Hello, Accept ----------------------> |  decides, done
//!    | <----------------------------- Accept  |
//!   done
//!
//!    | Hello ------------------------------> |  decides                  over tcp, or when
//!    | <--------------------- Hello, Accept  |                           the hello is too long
//!    | Accept -----------------------------> |  done                     for a certificate
//!   done                                    done
//! ```
//!
//! Each side computes the same set of protocols from both hellos, and either may send `Reject(reason)` in place of
//! `Accept` (or of its `Hello`). Over tls and quic the certificate has proven who the remote is, and its hello must
//! agree; a dialer that knows the listener's hello from there has nothing to wait for, and what it says behind its
//! `Accept` travels with it. Over tcp each `Accept` carries a signature over
//! both hellos and the signer's role: fresh nonces from both sides make it worthless anywhere and at any time else.
//! Nothing after the handshake is protected over tcp: who can change packets on the way can then take over.
//!
//! [`Handshake`] decides and does no I/O; [`Exchange`] moves its messages over a stream.
//!
//! # On the wire
//!
//! Each message is the wire version (one byte), a kind byte (0 `Hello`, 1 `Accept`, 2 `Reject`) and a postcard value. A
//! message has at most [`MAX_MESSAGE_LEN`] bytes. `Reject` keeps its form in every version, so that versions can tell each
//! other that they differ.

mod driver;
mod machine;
mod negotiate;
mod params;
mod reason;
mod wire;

pub use driver::{Exchange, run};
pub use machine::{Handshake, RemotePeer, Step};
pub use negotiate::Negotiated;
pub use params::{Channel, HandshakeParams, Offer, Purpose, Role, Serial};
pub use reason::{HandshakeError, MAX_REASON_TEXT, Party, RejectReason};
pub(crate) use wire::certified_hello;
pub use wire::{MAX_MESSAGE_LEN, MAX_NETWORK_LEN, MAX_PAYLOAD_LEN, MAX_PROTOCOLS, NONCE_LEN, reject_message};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use wire::{certify, rewrite, rewrite_certified};

#[cfg(test)]
mod tests;
