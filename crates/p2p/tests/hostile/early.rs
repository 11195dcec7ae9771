//! Streams and data before the remote has been accepted: as many as a handshake and the protocols take, and no more.

use std::sync::Arc;

use futures_util::FutureExt;
use p2p::endpoint::Transport;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, PeerConn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::common::attacker::{Attacker, Carrier, End};
use crate::common::wire::{self, VIOLATION, frame};
use crate::common::{Companion, ECHO, Honest, NETWORK, TRANSPORTS, Target, in_time, key, peer_id, together};

/// The longest message of a handshake, and what frames it.
const EARLY_BYTES: usize = (16 << 10) + 256;

/// The control stream, and the only protocol's.
const EARLY_STREAMS: usize = 2;

/// Tries to have far more streams than that; gives how many there are, which are opened on.
async fn streams(hostile: &mut Attacker, wanted: usize) -> usize {
    match &mut hostile.carrier {
        Carrier::Mux(_) => {
            let mut opened = Vec::new();
            for _ in 0..wanted {
                opened.push(hostile.open().await);
            }
            assert!(hostile.mux().ping().await);
            opened.retain(|id| hostile.mux().end(*id) != Some(End::Refused));
            assert!(opened.is_sorted());
            opened.len()
        }
        // The limit of the start is known with the handshake, and is raised only when the remote is accepted.
        Carrier::Quic(quic) => {
            let connection = quic.connection.clone();
            let mut opened = 0;
            while opened < wanted && connection.open_bi().now_or_never().is_some() {
                opened += 1;
            }
            opened
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_been_accepted_gets_few_streams() {
    let _turn = together().await;
    let mut target = Target::new(|_| ()).await;
    for (n, transport) in TRANSPORTS.into_iter().enumerate() {
        let companion = Companion::beside(&target, transport).await;
        let mut greedy = Attacker::dial(transport, target.addr(transport), &key(n as u32)).await;
        assert_eq!(streams(&mut greedy, 200).await, EARLY_STREAMS, "{transport}");
        // Once it is accepted, it gets more.
        let id = key(10 + n as u32);
        let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
        hostile.join(&id).await.unwrap();
        target.added(peer_id(id.id())).await;
        let more = in_time("streams", async {
            let mut more = 0;
            for _ in 0..10 {
                let stream = hostile.open().await;
                hostile.send(stream, &wire::header(ECHO, true)).await;
                more += 1;
                if transport != Transport::Quic {
                    assert!(hostile.mux().ping().await);
                    assert_eq!(hostile.mux().end(stream), None, "{transport}: refused");
                }
            }
            more
        });
        assert_eq!(more.await, 10);
        let honest = Honest::connect(&target, transport).await;
        honest.exchange(3).await;
        honest.shutdown().await;
        hostile.close(0, "").await;
        target.removed(peer_id(id.id())).await;
        companion.shutdown().await;
    }
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_been_accepted_gets_little_data_in() {
    let _turn = together().await;
    let mut target = Target::new(|_| ()).await;
    for (n, transport) in TRANSPORTS.into_iter().enumerate() {
        let companion = Companion::beside(&target, transport).await;
        let mut hostile = Attacker::dial(transport, target.addr(transport), &key(n as u32)).await;
        hostile.open().await;
        let stream = hostile.open().await;
        match &mut hostile.carrier {
            Carrier::Mux(mux) => {
                for chunk in [[0; EARLY_BYTES / 2]; 2] {
                    mux.write(&frame(wire::DATA, stream, &chunk)).await;
                }
                assert!(mux.ping().await, "{transport}: that much is taken");
                mux.write(&frame(wire::DATA, stream, &[0])).await;
                let (code, why) = hostile.closed().await.unwrap();
                assert_eq!(code, u64::from(VIOLATION), "{transport}: {why}");
                target.failure().await;
            }
            // The window of the start is known with the handshake, and is raised only when the remote is accepted.
            Carrier::Quic(_) => assert_eq!(hostile.cram(stream, 1 << 20), EARLY_BYTES),
        }
        let honest = Honest::connect(&target, transport).await;
        honest.exchange(3).await;
        honest.shutdown().await;
        companion.shutdown().await;
    }
    target.shutdown().await;
}

/// Says much at once, in messages and on streams, or answers.
struct Busy {
    conn: PeerConn,
    done: Option<UnboundedSender<()>>,
}

impl Busy {
    async fn speak(&self) -> Result<(), Error> {
        let sending = async {
            for n in 0..MESSAGES {
                self.conn.send(vec![n; 4096]).await?;
            }
            Ok(())
        };
        let receiving = async {
            for n in 0..MESSAGES {
                assert_eq!(self.conn.recv().await?, vec![n; 4096]);
            }
            Ok(())
        };
        let opening = async {
            for n in 0..8 {
                let mut stream = self.conn.open_stream().await?;
                stream.write_all(&[n]).await?;
                stream.flush().await?;
                let mut answer = Vec::new();
                // To its end: a stream that is dropped before fails the other side's shutdown of it.
                stream.read_to_end(&mut answer).await?;
                assert_eq!(answer, [n]);
            }
            Ok(())
        };
        tokio::try_join!(sending, receiving, opening).map(|_: ((), (), ())| ())
    }

    async fn answer(&self) -> Result<(), Error> {
        tokio::try_join!(self.echo(), self.echo_streams()).map(|_| ())
    }

    async fn echo(&self) -> Result<(), Error> {
        loop {
            self.conn.send(self.conn.recv().await?).await?;
        }
    }

    async fn echo_streams(&self) -> Result<(), Error> {
        loop {
            let mut stream = self.conn.accept_stream().await?;
            let byte = stream.read_u8().await?;
            stream.write_all(&[byte]).await?;
            stream.shutdown().await?;
        }
    }
}

#[p2p::async_trait]
impl Protocol for Busy {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let Some(done) = &self.done else { return self.answer().await };
        self.speak().await?;
        let _ = done.send(());
        self.conn.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        ECHO.parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

/// Far more than may be said before the listener has accepted.
const MESSAGES: u8 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_dialer_that_says_much_at_once_is_heard() {
    let _turn = together().await;
    let node = |listens: bool, done: Option<UnboundedSender<()>>| async move {
        let mut config = Config { network: NETWORK.into(), max_connect_retries: 0, ..Config::loopback() };
        if !listens {
            config.listen_endpoints.clear();
        }
        let node = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), config).unwrap();
        node.attach_protocol(move |conn| Busy { conn, done: done.clone() }).unwrap();
        node.run().await.unwrap();
        node
    };
    let listener = node(true, None).await;
    for endpoint in listener.listen_endpoints() {
        let (done, mut heard) = unbounded_channel();
        let dialer = node(false, Some(done)).await;
        in_time("connect", dialer.connect(&endpoint)).await.unwrap();
        in_time("all that was said", heard.recv()).await.unwrap();
        in_time("shutdown", dialer.shutdown()).await;
    }
    in_time("shutdown", listener.shutdown()).await;
}
