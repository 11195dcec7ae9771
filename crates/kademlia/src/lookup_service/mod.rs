//! Questions and answers over authenticated connections.
//!
//! A connection is opened with a handshake for [`Purpose::Lookup`](p2p_identity::Purpose::Lookup). The first question
//! rides in the dialer's hello and is answered on the handshake's stream; each further one has a stream of its own:
//! one message there, one message back. Connections are kept for a while and used again. So whoever answers has proven
//! its key, and so has whoever asks.

mod authenticate;
mod client;
mod connections;
mod dial_back;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod listen;
mod rate;
mod serve;
mod target;
mod warm;

use std::sync::Arc;

use p2p_core::runtime::BoxFuture;
use p2p_net::SendLimits;

use crate::engine::Asker;
use crate::message::{MAX_RESPONSE_LEN, Request, Response};

pub(crate) use authenticate::Authenticator;
pub(crate) use client::{Answer, Asking, LookupClient};
pub(crate) use serve::{LookupServer, ServerParts};
pub use target::Target;

/// Messages of one exchange: one there, one back, beside those of the handshake.
const MESSAGE_LIMITS: SendLimits =
    SendLimits { max_message: MAX_RESPONSE_LEN, queue_messages: 8, queue_bytes: 2 * MAX_RESPONSE_LEN };

/// Answers questions.
pub(crate) type Answerer = Arc<dyn Fn(Asker, Request) -> BoxFuture<Response> + Send + Sync>;
