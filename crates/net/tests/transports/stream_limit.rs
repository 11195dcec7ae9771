//! The remote's limit of streams.

use p2p_net::{Connection, Error};
use tokio::io::AsyncWriteExt;

use crate::common::{echo, for_each_transport, stream};

/// Opens a stream that the remote has no room for.
async fn open_one_too_many(connection: &Connection) -> Error {
    let opened = match connection.open_stream().await {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    let (mut recv, mut send) = opened.into_split();
    if let Err(error) = send.write_all_bytes("!".into()).await {
        return error;
    }
    recv.read_chunk().await.expect_err("nobody accepts this stream")
}

#[test]
fn opens_beyond_the_limit_are_refused_and_room_comes_back() {
    for_each_transport(async |mut net| {
        net.config.max_inbound_streams = 4;
        let pair = net.pair().await;
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(stream(&pair.a, &pair.b).await);
        }
        let error = open_one_too_many(&pair.a).await;
        assert!(matches!(error, Error::Refused), "{error:?}");

        for (near, far) in &mut streams {
            echo(near, far, b"unharmed").await;
        }
        let (mut near, mut far) = streams.pop().unwrap();
        near.shutdown().await.unwrap();
        far.shutdown().await.unwrap();
        drop((near, far));
        let (near, mut far) = loop {
            // The remote's word that there is room again takes its time.
            let Ok(mut near) = pair.a.open_stream().await else { continue };
            if near.write_all(b"!").await.is_err() {
                continue;
            }
            break (near, pair.b.accept_stream().await.unwrap());
        };
        let mut near = near;
        tokio::io::AsyncReadExt::read_u8(&mut far).await.unwrap();
        echo(&mut near, &mut far, b"again").await;
    });
}

/// Over quic a remote has fewer at first than it may have.
#[test]
fn as_many_streams_as_are_allowed_can_be_opened_at_once() {
    for_each_transport(async |net| {
        let pair = net.pair().await;
        let most = net.config.max_inbound_streams as usize;
        let opening = async {
            let mut open = Vec::new();
            for _ in 0..most {
                let mut stream = pair.a.open_stream().await.unwrap();
                stream.write_all(b"!").await.unwrap();
                open.push(stream);
            }
            open
        };
        let accepting = async {
            let mut accepted = Vec::new();
            for _ in 0..most {
                accepted.push(pair.b.accept_stream().await.unwrap());
            }
            accepted
        };
        let (mut near, mut far) = tokio::join!(opening, accepting);
        for (near, far) in near.iter_mut().zip(&mut far) {
            tokio::io::AsyncReadExt::read_u8(far).await.unwrap();
            echo(near, far, b"alive").await;
        }
        let error = open_one_too_many(&pair.a).await;
        assert!(matches!(error, Error::Refused), "{error:?}");
    });
}
