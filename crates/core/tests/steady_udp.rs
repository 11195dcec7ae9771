//! `SteadyUdp` on a system whose sockets fail as real ones do. What needs virtual time is tested in the simulator.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use p2p_core::runtime::{BoxFuture, Datagrams, RecvMeta, SocketEvent, SteadyUdp, UdpSocket};
use p2p_core::{Runtime, TaskGroup, TokioRuntime};

/// tokio, but for UDP sockets whose first receives fail with these codes, that never have room and that are counted.
#[derive(Debug)]
struct Failing {
    tokio: TokioRuntime,
    codes: Arc<Mutex<Vec<i32>>>,
    full: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
}

impl Failing {
    fn new(codes: Vec<i32>) -> Arc<Self> {
        let tokio = TokioRuntime::current().unwrap();
        Arc::new(Self { tokio, codes: Arc::new(Mutex::new(codes)), full: Arc::default(), open: Arc::default() })
    }
}

impl Runtime for Failing {
    p2p_core::forward_runtime!(tokio: spawn, now, system_time, timer, fill_random, tcp_connect);
    p2p_core::forward_runtime!(tokio: tcp_listen, udp_connect, resolve, files);

    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn UdpSocket>> {
        let socket = self.tokio.udp_bind(addr)?;
        self.open.fetch_add(1, Ordering::SeqCst);
        let (codes, full, open) = (self.codes.clone(), self.full.clone(), self.open.clone());
        Ok(Arc::new(FailingUdp { socket, codes, full, open }))
    }
}

#[derive(Debug)]
struct FailingUdp {
    socket: Arc<dyn UdpSocket>,
    codes: Arc<Mutex<Vec<i32>>>,
    full: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
}

impl Drop for FailingUdp {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl UdpSocket for FailingUdp {
    fn try_send(&self, datagrams: &Datagrams<'_>) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.socket.try_send(datagrams)
    }

    fn writable(self: Arc<Self>) -> BoxFuture<io::Result<()>> {
        let full = self.full.load(Ordering::SeqCst);
        Box::pin(async move {
            if full {
                std::future::pending::<()>().await;
            }
            self.socket.clone().writable().await
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        match self.codes.lock().unwrap().pop() {
            Some(code) => Poll::Ready(Err(io::Error::from_raw_os_error(code))),
            None => self.socket.poll_recv(cx, bufs, metas),
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }
}

async fn receive(socket: &dyn UdpSocket) -> Vec<u8> {
    let (mut buf, mut metas) = (vec![0; 2000], [RecvMeta::default()]);
    let received = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut metas)).await;
    assert_eq!(received.unwrap(), 1);
    buf.truncate(metas[0].len);
    buf
}

const ENOBUFS: i32 = 105;

async fn send_to(steady: &SteadyUdp) {
    let other = TokioRuntime::current().unwrap().udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let sent =
        Datagrams { destination: steady.local_addr(), ecn: None, contents: b"hello", segment_size: None, src_ip: None };
    while other.try_send(&sent).is_err() {
        other.clone().writable().await.unwrap();
    }
}

#[tokio::test]
async fn passing_errors_of_all_kinds_hide_no_datagram() {
    const CODES: [i32; 6] = [ENOBUFS, 111, 113, 101, 100, 4];
    for code in CODES {
        let runtime = Failing::new(vec![code]);
        let steady = SteadyUdp::bind(runtime.clone(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let mut events = steady.events();
        send_to(&steady).await;
        assert_eq!(receive(&*steady).await, b"hello", "after {code}");
        assert!(events.try_recv().is_none(), "after {code}");
        assert!(runtime.codes.lock().unwrap().is_empty(), "{code} has happened");
    }
}

#[tokio::test]
async fn a_socket_that_is_given_up_is_let_go_by_those_who_wait_for_room() {
    let runtime = Failing::new(vec![ENOBUFS; 5]);
    let tasks = TaskGroup::new(runtime.clone());
    let steady = SteadyUdp::bind(runtime.clone(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let mut events = steady.events();
    runtime.full.store(true, Ordering::SeqCst);
    let waits = steady.clone();
    let waiting = Arc::new(AtomicBool::new(false));
    let is_waiting = waiting.clone();
    tasks.spawn("waits for room", async move {
        is_waiting.store(true, Ordering::SeqCst);
        waits.writable().await.unwrap();
    });
    while !waiting.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    let receives = steady.clone();
    tasks.spawn("receives", async move {
        receive(&*receives).await;
    });
    // The port can be bound again only when nobody holds the socket any more.
    let limit = Duration::from_secs(120);
    let (runtime, tokio): (_, Arc<dyn Runtime>) = (runtime.clone(), runtime.clone());
    let rebound = tokio.timeout(limit, async {
        assert!(matches!(events.recv().await, Ok(SocketEvent::Failed(_))));
        assert!(matches!(events.recv().await, Ok(SocketEvent::Bound)));
    });
    rebound.await.unwrap();
    assert_eq!(runtime.open.load(Ordering::SeqCst), 1);
    runtime.full.store(false, Ordering::SeqCst);
    send_to(&steady).await;
    tokio.timeout(limit, tasks.wait()).await.unwrap();
}
