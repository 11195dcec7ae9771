//! Messages over every transport: in order, whole, and never waiting for somebody who is gone.

use bytes::Bytes;
use p2p_net::{Connection, Error, MessageReceiver, MessageSender, NetConfig, SendLimits};

use crate::common::{Pair, for_each_transport, stream};

const MAX: usize = 1 << 20;

struct End {
    sender: MessageSender,
    receiver: MessageReceiver,
}

async fn ends(pair: &Pair, config: &NetConfig) -> (End, End) {
    let (near, far) = stream(&pair.a, &pair.b).await;
    let end = |stream: p2p_net::Stream| {
        let (recv, send) = stream.into_split();
        End {
            sender: MessageSender::new(send, SendLimits::default(), &config.budget),
            receiver: MessageReceiver::new(recv, MAX, &config.budget),
        }
    };
    (end(near), end(far))
}

#[test]
fn messages_arrive_in_order_and_then_the_end() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, far) = ends(&pair, &net.config).await;
        let sending = async {
            for number in 0..10_000_u32 {
                near.sender.send(Bytes::copy_from_slice(&number.to_be_bytes())).await.unwrap();
            }
            near.sender.send(vec![7; MAX]).await.unwrap();
            near.sender.send(Bytes::new()).await.unwrap();
            near.sender.finish();
        };
        let receiving = async {
            for number in 0..10_000_u32 {
                assert_eq!(far.receiver.recv().await.unwrap().unwrap(), number.to_be_bytes()[..]);
            }
            assert_eq!(far.receiver.recv().await.unwrap().unwrap().len(), MAX);
            assert_eq!(far.receiver.recv().await.unwrap().unwrap().len(), 0);
            assert_eq!(far.receiver.recv().await.unwrap(), None);
        };
        tokio::join!(sending, receiving);
    });
}

#[test]
fn questions_are_answered() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let (near, far) = ends(&pair, &net.config).await;
        let asking = async {
            for _ in 0..500 {
                near.sender.send("question").await.unwrap();
                assert_eq!(near.receiver.recv().await.unwrap().unwrap(), "answer");
            }
        };
        let answering = async {
            for _ in 0..500 {
                assert_eq!(far.receiver.recv().await.unwrap().unwrap(), "question");
                far.sender.send("answer").await.unwrap();
            }
        };
        tokio::join!(asking, answering);
    });
}

async fn send_until_error(sender: &MessageSender) -> Error {
    loop {
        if let Err(error) = sender.send(vec![0; MAX]).await {
            return error;
        }
    }
}

#[test]
fn a_sender_that_waits_learns_of_the_end() {
    for_each_transport(async |net| {
        let end_by: [fn(&Connection, &Connection); 2] = [|_, b| b.close(3, "enough"), |a, _| a.close(3, "enough")];
        for end in end_by {
            let pair = net.pair().await;
            let (near, _far) = ends(&pair, &net.config).await;
            let ending = async {
                // Nobody reads: sooner or later the queue stays full.
                while near.sender.queued() < 2 {
                    tokio::task::yield_now().await;
                }
                end(&pair.a, &pair.b);
            };
            let (error, ()) = tokio::join!(send_until_error(&near.sender), ending);
            assert!(matches!(error, Error::Closed(_)), "{error:?}");
        }
    });
}
