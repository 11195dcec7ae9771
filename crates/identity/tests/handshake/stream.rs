//! Handshakes over a multiplexed in-memory connection: both sides learn how it went, in bounded time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_core::{Runtime, TaskGroup};
use p2p_identity::handshake::{MAX_MESSAGE_LEN, RemotePeer, run};
use p2p_identity::{Channel, Error, Handshake, HandshakeError, Purpose, RejectReason, Result, close_code};
use p2p_net::mux::Side;
use p2p_net::{CloseReason, Connection, Endpoint, MessageReceiver, MessageSender, NetConfig, SendLimits};

use crate::{PATIENCE, nonce, params, runtime, within};

/// One side of a connection with its control stream.
struct End {
    runtime: Arc<dyn Runtime>,
    connection: Connection,
    sender: MessageSender,
    receiver: MessageReceiver,
}

impl End {
    async fn pair() -> (Self, Self) {
        let runtime = runtime();
        let config = NetConfig::default();
        let (a, b) = tokio::io::duplex(1 << 16);
        let nowhere: Endpoint = "tcp://127.0.0.1:1".parse().unwrap();
        let tasks = || Arc::new(TaskGroup::new(runtime.clone()));
        let dialer = Connection::over(Box::new(a), Side::Dialer, nowhere.clone(), &config, &tasks());
        let listener = Connection::over(Box::new(b), Side::Listener, nowhere, &config, &tasks());
        let (near, far) = tokio::join!(dialer.open_stream(), listener.accept_stream());
        let end = |connection, stream: p2p_net::Stream| {
            let (recv, send) = stream.into_split();
            Self {
                runtime: runtime.clone(),
                connection,
                sender: MessageSender::new(send, SendLimits::default(), &config.budget),
                receiver: MessageReceiver::new(recv, MAX_MESSAGE_LEN, &config.budget),
            }
        };
        (end(dialer, near.unwrap()), end(listener, far.unwrap()))
    }

    /// A handshake, after which a failed one closes its connection, as its caller should.
    async fn run(
        &self,
        handshake: Handshake,
        timeout: Duration,
        decide: impl FnOnce(&RemotePeer) -> Result<(), RejectReason>,
    ) -> Result<RemotePeer> {
        let (runtime, progress) = (&*self.runtime, || {});
        let deadline = runtime.now() + timeout;
        let result = run(handshake, &self.sender, &self.receiver, runtime, deadline, &progress, decide).await;
        if result.is_err() {
            self.connection.close(close_code::HANDSHAKE, "handshake failed");
        }
        result
    }
}

fn dial(end: &End) -> Handshake {
    Handshake::dial(params(1), Channel::Plain, None, Purpose::Peer, nonce(&*end.runtime), &[]).unwrap()
}

fn listen(end: &End) -> Handshake {
    Handshake::listen(params(2), Channel::Plain, nonce(&*end.runtime)).unwrap()
}

fn refused(result: Result<RemotePeer>) -> RejectReason {
    match result {
        Err(Error::Handshake(HandshakeError::Refused(reason))) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_peers_agree_and_the_stream_lives_on() {
    let (a, b) = End::pair().await;
    let (at_a, at_b) =
        within(async { tokio::join!(a.run(dial(&a), PATIENCE, |_| Ok(())), b.run(listen(&b), PATIENCE, |_| Ok(()))) })
            .await;
    let (at_a, at_b) = (at_a.unwrap(), at_b.unwrap());
    assert_eq!((at_a.peer_id, at_b.peer_id), (params(2).key_pair.peer_id(), params(1).key_pair.peer_id()));
    assert!(at_a.proven && at_b.proven && at_a.protocols.contains_key("/chat") && at_b.protocols.contains_key("/chat"));
    a.sender.send("next").await.unwrap();
    assert_eq!(within(b.receiver.recv()).await.unwrap().unwrap(), "next");
}

/// A pool runs handshakes in tasks.
#[tokio::test]
async fn a_handshake_can_move_between_threads() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let (a, b) = End::pair().await;
    let at_b = is_send(b.run(listen(&b), PATIENCE, |_| Ok(())));
    let (at_a, at_b) = within(async { tokio::join!(is_send(a.run(dial(&a), PATIENCE, |_| Ok(()))), at_b) }).await;
    assert!(at_a.is_ok() && at_b.is_ok());
}

#[tokio::test]
async fn a_veto_on_either_side_is_told_to_the_other() {
    for by_dialer in [true, false] {
        let (a, b) = End::pair().await;
        let veto = |veto: bool| move |_: &RemotePeer| if veto { Err(RejectReason::SlotsFull) } else { Ok(()) };
        let (at_a, at_b) = within(async {
            tokio::join!(a.run(dial(&a), PATIENCE, veto(by_dialer)), b.run(listen(&b), PATIENCE, veto(!by_dialer)),)
        })
        .await;
        let (refusing, told) = if by_dialer { (at_a, at_b) } else { (at_b, at_a) };
        assert_eq!(refused(refusing), RejectReason::SlotsFull);
        match told {
            Err(Error::Handshake(HandshakeError::Remote(reason))) => assert_eq!(reason, RejectReason::SlotsFull),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline_and_is_told() {
    let (a, b) = End::pair().await;
    let timeout = Duration::from_millis(50);
    // The listener waits for a hello that does not come.
    assert_eq!(refused(within(b.run(listen(&b), timeout, |_| Ok(()))).await), RejectReason::Timeout);
    // The dialer learns of it by the close at the latest.
    let at_a = within(a.run(dial(&a), PATIENCE, |_| Ok(()))).await;
    match at_a {
        Err(Error::Handshake(HandshakeError::Remote(RejectReason::Timeout)) | Error::Net(_)) => {}
        other => panic!("{other:?}"),
    }
    let (a, _b) = End::pair().await;
    assert_eq!(refused(within(a.run(dial(&a), timeout, |_| Ok(()))).await), RejectReason::Timeout);
}

/// Found by forty nodes on a busy machine: the listener's "too late" was taken for a control message.
#[tokio::test(start_paused = true)]
async fn nothing_follows_an_accept_but_the_end_of_the_connection() {
    let (a, b) = End::pair().await;
    a.sender.send(dial(&a).hello().unwrap()).await.unwrap();
    let (at_b, read) = within(async {
        tokio::join!(b.run(listen(&b), Duration::from_millis(50), |_| Ok(())), async {
            let (hello, accept) = (a.receiver.recv().await, a.receiver.recv().await);
            assert!(hello.unwrap().is_some() && accept.unwrap().is_some());
            // The dialer is done, as far as the listener can know, and its own accept is late.
            a.receiver.recv().await
        })
    })
    .await;
    assert_eq!(refused(at_b), RejectReason::Timeout);
    assert!(matches!(read, Ok(None) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_hello_beyond_the_limit_is_refused_by_its_length_alone() {
    let (a, b) = End::pair().await;
    a.sender.send(Bytes::from(vec![1; MAX_MESSAGE_LEN + 1])).await.unwrap();
    let (at_b, answer) = within(async {
        tokio::join!(b.run(listen(&b), PATIENCE, |_| Ok(())), async {
            let answer = a.receiver.recv().await;
            a.connection.close(0, "");
            answer
        })
    })
    .await;
    let expected = RejectReason::TooLarge { len: MAX_MESSAGE_LEN as u64 + 1, max: MAX_MESSAGE_LEN as u64 };
    assert_eq!(refused(at_b), expected);
    assert!(answer.unwrap().is_some(), "it is told");
}

#[tokio::test]
async fn garbage_is_refused_and_told() {
    let (a, b) = End::pair().await;
    a.sender.send("GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (at_b, closed) =
        within(async { tokio::join!(b.run(listen(&b), PATIENCE, |_| Ok(())), a.connection.closed()) }).await;
    assert!(matches!(refused(at_b), RejectReason::WireVersion { .. }));
    assert!(matches!(closed, CloseReason::Remote { code: close_code::HANDSHAKE, .. }), "{closed:?}");
    assert!(within(a.receiver.recv()).await.unwrap().is_some(), "the reason had been sent before the close");
}

#[tokio::test]
async fn a_remote_that_goes_is_no_time_out() {
    let (a, b) = End::pair().await;
    a.sender.finish();
    let result = within(b.run(listen(&b), PATIENCE, |_| Ok(()))).await;
    assert!(matches!(result, Err(Error::Handshake(HandshakeError::Closed))), "{result:?}");
    let (a, b) = End::pair().await;
    a.connection.close(7, "bye");
    let result = within(b.run(listen(&b), PATIENCE, |_| Ok(()))).await;
    assert!(matches!(result, Err(Error::Net(_))), "{result:?}");
}

#[tokio::test]
async fn a_dropped_handshake_leaves_nobody_waiting() {
    let (a, b) = End::pair().await;
    let abandoned = a.runtime.timeout(Duration::from_millis(20), a.run(dial(&a), PATIENCE, |_| Ok(()))).await;
    assert!(abandoned.is_err());
    drop(a);
    let result = within(b.run(listen(&b), PATIENCE, |_| Ok(()))).await;
    assert!(result.is_err());
}
