//! What several examples need. Each example is a program of its own beside this file.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use p2p::endpoint::{Addr, Endpoint, Transport};
use p2p::{Error, Node, Runtime};

/// How a program ends: with its error as a line for people, and a code for other programs.
pub fn exit(program: &str, result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for Ctrl-C, from the call on and not only from the first poll: whoever reads what a program prints may interrupt it
/// at once. Call it inside tokio.
pub fn interrupted() -> Pin<Box<dyn Future<Output = ()>>> {
    let mut interrupted = Box::pin(async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler, Ctrl-C ends the program as it does any other.
            std::future::pending().await
        }
    });
    let _ = interrupted.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    interrupted
}

/// An error unless it holds.
pub fn check(holds: bool, otherwise: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::app(otherwise)) }
}

/// Looks every ten milliseconds until there is something.
pub async fn until<T>(runtime: &Arc<dyn Runtime>, mut look: impl FnMut() -> Option<T>) -> T {
    let mut looks = runtime.interval(Duration::from_millis(10));
    loop {
        if let Some(found) = look() {
            return found;
        }
        looks.tick().await;
    }
}

/// A stranger's text without what moves the cursor.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The endpoints to give to others: those the node listens on, with its peer id, and with an address of this machine where
/// it listens on all of them (`0.0.0.0` is nothing that anybody could dial).
pub fn dialable(node: &Node) -> Vec<Endpoint> {
    let one = |endpoint: Endpoint| {
        let addr = match endpoint.addr().ip() {
            Some(ip) if ip.is_unspecified() => Addr::from(outgoing_ip(ip)),
            _ => endpoint.addr().clone(),
        };
        Endpoint::new(endpoint.transport(), addr, endpoint.port()).with_peer_id(node.peer_id())
    };
    node.listen_endpoints().into_iter().map(one).collect()
}

/// Where a node serves the DHT that listens there: lookups come in where peers do, liveness pings at a free udp port of each
/// address. A node that listens nowhere is not asked.
pub fn dht_beside(listen: &[Endpoint]) -> Vec<Endpoint> {
    let mut beside: Vec<_> = listen.iter().map(|at| Endpoint::new(Transport::Udp, at.addr().clone(), 0)).collect();
    beside.sort_by_key(Endpoint::to_string);
    beside.dedup();
    beside
}

/// The address that packets to the outside leave from, or loopback. Connecting a UDP socket sends nothing; the addresses are
/// those of documentation (RFC 5737, RFC 3849).
#[expect(clippy::disallowed_methods, reason = "a program may ask the system; no packet is sent")]
fn outgoing_ip(any: IpAddr) -> IpAddr {
    let (outside, loopback): (IpAddr, IpAddr) = match any {
        IpAddr::V4(_) => (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(_) => (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), Ipv6Addr::LOCALHOST.into()),
    };
    let ask = || {
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect((outside, 9))?;
        socket.local_addr()
    };
    ask().map_or(loopback, |addr| addr.ip())
}
