//! The handshake: two peers say who they are and what they speak, and agree or part.

mod reason;

pub use reason::{HandshakeError, Party, Purpose, RejectReason};
