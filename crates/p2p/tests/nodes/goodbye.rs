//! Streams that are finished just before an end, and bursts of them: what was finished is delivered, or its sender is told.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use p2p::layers::net as p2p_net;
use p2p::protocol::{PeerConn, ProtocolKind};
use p2p::{Config, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::common::{Host, World, everywhere, in_time, shutdown};

/// Connections that end, for each length and each side that leaves.
const ROUNDS: usize = 5;

/// The code of a stream for which there was no place.
const BUSY: u32 = 0x8000_0003;

/// What was read of each stream, in the order in which they were accepted.
type Uploads = mpsc::UnboundedReceiver<io::Result<Vec<u8>>>;

/// Attaches a protocol that reads each stream to its end, one after the other.
fn receive(host: &Host) -> (mpsc::UnboundedReceiver<PeerConn>, Uploads) {
    let (conn_tell, conns) = mpsc::unbounded_channel();
    let (tell, uploads) = mpsc::unbounded_channel();
    host.speak("/x", ProtocolKind::Optional, move |conn| {
        let _ = conn_tell.send(conn.clone());
        let tell = tell.clone();
        async move {
            loop {
                let mut data = Vec::new();
                let read = conn.accept_stream().await?.read_to_end(&mut data).await;
                let _ = tell.send(read.map(|_| data));
            }
        }
    });
    (conns, uploads)
}

fn config(world: &World) -> Config {
    // A busy machine is no reason to give up.
    Config { drain_timeout: Duration::from_secs(60), ..world.config() }
}

/// Two nodes that receive; the first has dialed.
async fn pair(world: &World) -> ([Host; 2], [PeerConn; 2], [Uploads; 2]) {
    let (mut a, mut b) = (world.host_with(config(world)).await, world.host_with(config(world)).await);
    let ((mut a_conns, a_uploads), (mut b_conns, b_uploads)) = (receive(&a), receive(&b));
    a.connect(&b.endpoint()).await.unwrap();
    a.added().await;
    b.added().await;
    let conns = [a_conns.recv().await.unwrap(), b_conns.recv().await.unwrap()];
    ([a, b], conns, [a_uploads, b_uploads])
}

/// Sends eleven bytes, and waits until they are read.
async fn upload(conn: &PeerConn) -> Result<(), Error> {
    let mut stream = conn.open_stream().await?;
    stream.write_all(b"one of many").await?;
    Ok(stream.finish().await?)
}

#[test]
fn what_was_finished_before_a_good_bye_arrives_whole() {
    everywhere(|world| async move {
        for len in [0, 10, 100_000] {
            // Who sends, and who leaves.
            for (sender, leaver) in [(0, 0), (1, 1), (0, 1), (1, 0)] {
                for _ in 0..ROUNDS {
                    let (hosts, conns, mut uploads) = pair(&world).await;
                    let mut stream = conns[sender].open_stream().await.unwrap();
                    stream.write_all(&vec![7; len]).await.unwrap();
                    stream.shutdown().await.unwrap();
                    drop(stream);
                    in_time("shutdown", hosts[leaver].shutdown()).await;
                    shutdown(hosts).await;
                    let arrived = uploads[1 - sender].recv().await.expect("it was accepted").unwrap();
                    assert_eq!(arrived.len(), len, "from {sender}, {leaver} leaves");
                }
            }
        }
    });
}

#[test]
fn what_was_finished_before_a_disconnect_of_both_arrives_whole() {
    everywhere(|world| async move {
        for _ in 0..ROUNDS {
            let (hosts, conns, mut uploads) = pair(&world).await;
            for conn in &conns {
                let mut stream = conn.open_stream().await.unwrap();
                stream.write_all(&[7; 50_000]).await.unwrap();
                stream.shutdown().await.unwrap();
            }
            let both = conns.iter().map(|conn| conn.disconnect(1, "done"));
            in_time("both leave", join_all(both)).await;
            for uploads in &mut uploads {
                assert_eq!(uploads.recv().await.expect("it was accepted").unwrap().len(), 50_000);
            }
            shutdown(hosts).await;
        }
    });
}

#[test]
fn what_was_finished_before_a_protocol_ends_arrives_whole() {
    everywhere(|world| async move {
        for _ in 0..ROUNDS {
            let (mut a, mut b) = (world.host_with(config(&world)).await, world.host_with(config(&world)).await);
            let (_b_conns, mut uploads) = receive(&b);
            a.speak("/x", ProtocolKind::Optional, |conn| async move {
                let mut stream = conn.open_stream().await?;
                stream.write_all(b"all that there is to say").await.unwrap();
                stream.shutdown().await.unwrap();
                Ok(())
            });
            a.connect(&b.endpoint()).await.unwrap();
            a.added().await;
            b.added().await;
            assert_eq!(in_time("the upload", uploads.recv()).await.expect("it was accepted").unwrap().len(), 24);
            shutdown([a, b]).await;
        }
    });
}

#[test]
fn a_burst_of_streams_arrives_and_its_sender_is_told() {
    everywhere(|world| async move {
        let (hosts, conns, [_at_a, mut at_b]) = pair(&world).await;
        for burst in [32, 100] {
            let uploads = join_all((0..burst).map(|_| upload(&conns[0])));
            in_time("the burst", uploads).await.into_iter().for_each(|told| told.unwrap());
            for _ in 0..burst {
                assert_eq!(at_b.recv().await.unwrap().unwrap(), b"one of many");
            }
        }
        drop(conns);
        shutdown(hosts).await;
    });
}

#[test]
fn a_stream_for_which_there_is_no_place_is_an_error_for_its_sender() {
    everywhere(|world| async move {
        let mut narrow = config(&world);
        narrow.limits.waiting_streams = 4;
        let pair = world.pair_with(config(&world), narrow).await;
        // Nobody accepts until all others are told.
        let mut told: FuturesUnordered<_> = (0..20).map(|_| upload(&pair.a_conn)).collect();
        for _ in 0..16 {
            let told = in_time("a refusal", told.next()).await;
            assert!(matches!(told, Some(Err(Error::Net(p2p_net::Error::Stopped(BUSY))))), "{told:?}");
        }
        for _ in 0..4 {
            let mut stream = in_time("a stream", pair.b_conn.accept_stream()).await.unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 11);
        }
        while let Some(told) = told.next().await {
            told.unwrap();
        }
        drop(told);
        pair.shutdown().await;
    });
}
