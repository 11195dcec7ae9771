//! From streams to protocols: headers, and the message streams of a new connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use p2p_core::{ByteBudget, Runtime};
use p2p_identity::{ProtocolId, RejectReason, Result};
use p2p_net::{Connection, MessageReceiver, MessageSender, SendLimits, Stream};

use crate::PoolConfig;
use crate::beside::Beside;
use crate::header::{Header, MAX_HEADER, StreamKind, stream_code};

/// Streams whose header is awaited at the same time, on one connection.
pub(crate) const MAX_PENDING_HEADERS: usize = 32;

/// Both directions of a protocol's messages.
#[derive(Debug)]
pub(crate) struct MessageStream {
    pub(crate) sender: MessageSender,
    pub(crate) receiver: MessageReceiver,
}

impl MessageStream {
    fn new(stream: Stream, config: &PoolConfig, budget: &ByteBudget) -> Self {
        let limits = &config.limits;
        let send_limits = SendLimits {
            max_message: limits.message,
            queue_messages: limits.queue_messages,
            queue_bytes: limits.queue_bytes,
        };
        let (recv, send) = stream.into_split();
        Self {
            sender: MessageSender::new(send, send_limits, budget),
            receiver: MessageReceiver::new(recv, limits.message, budget).silent(),
        }
    }
}

/// Opens the message stream of each protocol, as the dialer does.
pub(crate) async fn open(
    connection: &Connection,
    protocols: impl Iterator<Item = &ProtocolId>,
    config: &PoolConfig,
    budget: &ByteBudget,
) -> Result<BTreeMap<ProtocolId, MessageStream>> {
    let mut streams = BTreeMap::new();
    for protocol in protocols {
        let stream = MessageStream::new(connection.open_stream().await?, config, budget);
        let header = Header { protocol: protocol.clone(), kind: StreamKind::Messages };
        stream.sender.send(header.to_bytes()?).await?;
        streams.insert(protocol.clone(), stream);
    }
    Ok(streams)
}

/// A stream whose header has been read.
pub(crate) struct Headed {
    pub(crate) header: Header,
    pub(crate) stream: Stream,
}

/// Streams whose header is awaited.
pub(crate) type PendingHeaders = Beside<Option<Headed>>;

/// Reads a stream's header; a stream that has none in time is reset.
pub(crate) async fn read_header(
    stream: Stream,
    runtime: Arc<dyn Runtime>,
    timeout: Duration,
    budget: ByteBudget,
) -> Option<Headed> {
    let (recv, send) = stream.into_split();
    // What is behind the header is for whoever takes the stream, and until then the remote gets no credit for it.
    let receiver = MessageReceiver::new(recv, MAX_HEADER, &budget).sparing();
    let message = runtime.timeout(timeout, receiver.recv()).await;
    let stream = Stream::from_split(receiver.into_inner(), send);
    match message {
        Ok(Ok(Some(bytes))) => match Header::from_bytes(&bytes) {
            Ok(header) => return Some(Headed { header, stream }),
            Err(_) => stream.reset(stream_code::BAD_HEADER),
        },
        _ => stream.reset(stream_code::BAD_HEADER),
    }
    None
}

/// What the dialer opened.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) messages: BTreeMap<ProtocolId, MessageStream>,
    /// Raw streams that came before the last message stream.
    pub(crate) early: Vec<Headed>,
    /// Streams that came before the last message stream was complete, and have no header yet.
    pub(crate) pending: PendingHeaders,
}

/// Waits for the message stream of each protocol, as the listener does.
///
/// # Errors
/// When the dialer does not open them all in time, or breaks the rules.
pub(crate) async fn collect(
    connection: &Connection,
    protocols: Vec<&ProtocolId>,
    runtime: &Arc<dyn Runtime>,
    config: &PoolConfig,
    budget: &ByteBudget,
) -> Result<Collected> {
    let mut collected = Collected::default();
    let all = async {
        let headers = &mut collected.pending;
        while collected.messages.len() < protocols.len() {
            let headed = tokio::select! {
                biased;
                Some(headed) = headers.next(), if !headers.is_empty() => headed,
                stream = connection.accept_stream(), if headers.len() < MAX_PENDING_HEADERS => {
                    let header = read_header(stream?, runtime.clone(), config.handshake_timeout, budget.clone());
                    headers.push(Box::pin(header));
                    continue;
                }
            };
            let Some(Headed { header, stream }) = headed else { continue };
            let known = protocols.contains(&&header.protocol);
            match header.kind {
                StreamKind::Messages if known && !collected.messages.contains_key(&header.protocol) => {
                    collected.messages.insert(header.protocol, MessageStream::new(stream, config, budget));
                }
                StreamKind::Raw if known && collected.early.len() < config.limits.inbound_streams as usize => {
                    collected.early.push(Headed { header, stream });
                }
                StreamKind::Messages if known => stream.reset(stream_code::DUPLICATE),
                _ => stream.reset(stream_code::UNKNOWN_PROTOCOL),
            }
        }
        Ok(())
    };
    match runtime.timeout(config.handshake_timeout, all).await {
        Ok(Ok(())) => Ok(collected),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(p2p_identity::HandshakeError::Refused(RejectReason::Timeout).into()),
    }
}
