//! Single datagrams over sockets that work in batches.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;

use p2p_core::runtime::{Datagrams, RecvMeta, SteadyUdp, UdpSocket};

/// Buffers of one call, each as long as what the system may put together into one.
const BUFFERS: usize = 2;
const BUFFER_LEN: usize = 64 << 10;

/// Receives datagrams one by one.
pub(super) struct Receiver {
    socket: Arc<SteadyUdp>,
    buffers: Vec<u8>,
}

impl Receiver {
    pub(super) fn new(socket: Arc<SteadyUdp>) -> Self {
        Self { socket, buffers: vec![0; BUFFERS * BUFFER_LEN] }
    }

    /// Waits for datagrams and gives each to `take`, with where it came from.
    pub(super) async fn receive(&mut self, mut take: impl FnMut(SocketAddr, &[u8])) {
        let mut metas = [RecvMeta::default(); BUFFERS];
        let received = poll_fn(|cx| {
            let (one, other) = self.buffers.split_at_mut(BUFFER_LEN);
            self.socket.poll_recv(cx, &mut [IoSliceMut::new(one), IoSliceMut::new(other)], &mut metas)
        });
        // Such a socket gives no errors.
        let Ok(count) = received.await else { return };
        for (meta, buffer) in metas.iter().take(count).zip(self.buffers.chunks(BUFFER_LEN)) {
            let bytes = &buffer[..meta.len.min(BUFFER_LEN)];
            bytes.chunks(meta.stride.max(1)).for_each(|datagram| take(meta.addr, datagram));
        }
    }
}

/// Sends when the system has room for it.
pub(super) async fn send(socket: &Arc<SteadyUdp>, destination: SocketAddr, contents: &[u8]) {
    while !send_now(socket, destination, contents) {
        if socket.clone().writable().await.is_err() {
            return;
        }
    }
}

/// Sends if the system has room for it now.
pub(super) fn send_now(socket: &Arc<SteadyUdp>, destination: SocketAddr, contents: &[u8]) -> bool {
    let datagrams = Datagrams { destination, ecn: None, contents, segment_size: None, src_ip: None };
    // What cannot be sent at all is lost in silence, as any datagram may be.
    !matches!(socket.try_send(&datagrams), Err(error) if error.kind() == ErrorKind::WouldBlock)
}
