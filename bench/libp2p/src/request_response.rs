//! A round trip through libp2p's request-response, which opens a stream for each request.

use std::io;
use std::time::Instant;

use bench_common::{Times, Transport};
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::StreamProtocol;
use libp2p::request_response::{Behaviour, Codec, Config, Event, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;

use crate::node::{listen, swarm};

/// A message is all that is on the stream until its end.
#[derive(Clone, Default)]
struct Whole;

impl Codec for Whole {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&response).await
    }
}

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(64);
    io.read_to_end(&mut message).await?;
    Ok(message)
}

fn behaviour() -> Behaviour<Whole> {
    Behaviour::new([(StreamProtocol::new("/ask/1"), ProtocolSupport::Full)], Config::default())
}

/// Both swarms are driven by the tasks that ask and answer, so that no other task is in the way.
pub async fn rtt(count: usize, transport: Transport) -> f64 {
    let mut server = swarm(transport, behaviour());
    let address = listen(&mut server, transport).await;
    let server_id = *server.local_peer_id();
    tokio::spawn(async move {
        loop {
            let event = server.select_next_some().await;
            if let SwarmEvent::Behaviour(Event::Message {
                message: Message::Request { request, channel, .. }, ..
            }) = event
            {
                server.behaviour_mut().send_response(channel, request).unwrap();
            }
        }
    });
    let task = tokio::spawn(async move {
        let mut client = swarm(transport, behaviour());
        client.dial(address).unwrap();
        while !matches!(client.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
        let mut times = Times::default();
        for _ in 0..count {
            let start = Instant::now();
            client.behaviour_mut().send_request(&server_id, vec![7; 64]);
            loop {
                match client.select_next_some().await {
                    SwarmEvent::Behaviour(Event::Message { message: Message::Response { .. }, .. }) => break,
                    SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => panic!("a request failed: {error}"),
                    _ => {}
                }
            }
            times.add(start);
        }
        times.median_us()
    });
    task.await.unwrap()
}
