//! Connections that are opened, used once and closed.

use std::sync::Arc;

use bench_common::framed::framed;
use bench_common::{Measured, rate};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use crate::stack::Stack;

/// Dials, proves who it is, sends a message, awaits its echo and closes.
pub async fn connect<T: Stack>(stack: T, count: usize, in_flight: usize) -> Measured {
    let stack = Arc::new(stack);
    tokio::spawn(serve(stack.clone()));
    rate(count, in_flight, move || {
        let stack = stack.clone();
        async move {
            let (stream, guard) = stack.dial().await;
            stack.prove();
            let mut stream = framed(stream);
            stream.send(Bytes::from(vec![7; 64])).await.unwrap();
            stream.next().await.unwrap().unwrap();
            drop((stream, guard));
        }
    })
    .await
}

/// Echoes a message on each connection.
pub async fn serve<T: Stack>(stack: Arc<T>) {
    loop {
        let incoming = stack.incoming().await;
        let stack = stack.clone();
        tokio::spawn(async move {
            let (stream, guard) = stack.accept(incoming).await;
            let mut stream = framed(stream);
            stack.prove();
            let message = stream.next().await.unwrap().unwrap();
            stream.send(message.freeze()).await.unwrap();
            // The client closes first.
            let _ = stream.next().await;
            drop(guard);
        });
    }
}
