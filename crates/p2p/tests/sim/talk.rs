//! A protocol that talks: it sends numbered messages of many sizes, reads all that comes, and tells the model.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use p2p::protocol::{PeerConn, Protocol, ProtocolId, ProtocolInfo, ProtocolKind, Version};
use p2p::{Error, Node, Runtime, async_trait};
use tokio::sync::watch;

use crate::model::{Label, Life, Model, SessionId};

/// Bytes of a label.
const LABEL: usize = 9;

/// How much is said.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// The wait between two messages.
    pub(crate) pause: Range<Duration>,
    /// Bytes of a message; nine in ten are at the small end.
    pub(crate) size: Range<usize>,
}

/// What all talkers of a world share.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub(crate) model: Model,
    pub(crate) manner: Manner,
    /// Whether to speak.
    pub(crate) on: watch::Receiver<bool>,
}

/// The ids of the protocols that talk.
pub(crate) fn protocol_id(protocol: u8) -> ProtocolId {
    // A fixed form with a number in it.
    format!("/talk/{protocol}").parse().expect("the form of a protocol id")
}

/// Lets a node speak protocols `0..protocols`; the first one is mandatory.
pub(crate) fn attach(node: &Node, life: Life, protocols: u8, conversation: &Conversation) -> Result<(), Error> {
    for protocol in 0..protocols {
        let kind = if protocol == 0 { ProtocolKind::Mandatory } else { ProtocolKind::Optional };
        let info = ProtocolInfo { id: protocol_id(protocol), version: "0.1.0".parse()?, kind };
        let conversation = conversation.clone();
        node.attach_dyn(info, move |conn| {
            let session = conversation.model.begin(life, conn.peer_id(), protocol);
            Arc::new(Talk { conn, session, conversation: conversation.clone() })
        })?;
    }
    Ok(())
}

struct Talk {
    conn: PeerConn,
    session: SessionId,
    conversation: Conversation,
}

impl Talk {
    async fn speak(&self) {
        let Conversation { model, manner, on } = &self.conversation;
        let runtime = self.conn.runtime();
        let mut on = on.clone();
        // The world is over when nobody can say "on" any more.
        while on.wait_for(|on| *on).await.is_ok() {
            let label = model.sending(self.session);
            if self.conn.send(message(label, draw_size(&**runtime, &manner.size))).await.is_err() {
                return;
            }
            model.accepted(self.session);
            let pause = manner.pause.end.saturating_sub(manner.pause.start).as_micros() as u64;
            let pause = manner.pause.start + Duration::from_micros(draw(&**runtime, pause));
            runtime.sleep(pause).await;
        }
    }

    async fn listen(&self) {
        loop {
            match self.conn.recv().await {
                Ok(bytes) => self.conversation.model.received(self.session, read(&bytes)),
                Err(error) => return self.conversation.model.ended(self.session, &error),
            }
        }
    }
}

#[async_trait]
impl Protocol for Talk {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let (speak, listen) = (std::pin::pin!(self.speak()), std::pin::pin!(self.listen()));
        match futures_util::future::select(listen, speak).await {
            futures_util::future::Either::Left(_) => {}
            futures_util::future::Either::Right((_, listen)) => listen.await,
        }
        Ok(())
    }

    fn id() -> ProtocolId {
        protocol_id(0)
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

/// Uniform in `0..=most`.
fn draw(runtime: &dyn Runtime, most: u64) -> u64 {
    runtime.random_u64() % (most + 1)
}

fn draw_size(runtime: &dyn Runtime, size: &Range<usize>) -> usize {
    let span = (size.end - size.start) as u64;
    let span = if draw(runtime, 9) == 0 { span } else { span / 50 };
    size.start + draw(runtime, span) as usize
}

fn message(label: Label, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len.max(LABEL));
    bytes.extend(label.session.0.to_le_bytes());
    bytes.push(label.protocol);
    bytes.extend(label.number.to_le_bytes());
    bytes.extend((LABEL..len).map(|at| filler(label, at)));
    bytes
}

fn filler(label: Label, at: usize) -> u8 {
    (label.session.0 as usize ^ label.number as usize).wrapping_add(at) as u8
}

/// What a message says of itself, if it is as it was sent.
fn read(bytes: &[u8]) -> Result<Label, String> {
    let Some((head, content)) = bytes.split_first_chunk::<LABEL>() else {
        return Err(format!("a message was cut: {} bytes", bytes.len()));
    };
    let [a, b, c, d, protocol, e, f, g, h] = *head;
    let session = SessionId(u32::from_le_bytes([a, b, c, d]));
    let label = Label { session, protocol, number: u32::from_le_bytes([e, f, g, h]) };
    let whole = content.iter().zip(LABEL..).all(|(byte, at)| *byte == filler(label, at));
    if whole { Ok(label) } else { Err(format!("the content of {label:?} was changed")) }
}
