//! What several examples need. Each example is a program of its own beside this file.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
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

/// Prints whether others find this node, or why not, as soon as that is known. Call it inside tokio.
#[expect(clippy::disallowed_methods, reason = "it ends with the program")]
pub fn say_what_came_of_joining(node: &Node) {
    let Some(dht) = node.dht() else { return };
    tokio::spawn(async move {
        let joined = dht.joined().await;
        println!("* {}", joined.map_or_else(|error| error.to_string(), |joined| joined.to_string()));
    });
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

/// Where a node serves the DHT that listens there: lookups come in where peers do, liveness pings at a free udp port of each
/// address. A node that listens nowhere is not asked.
pub fn dht_beside(listen: &[Endpoint]) -> Vec<Endpoint> {
    let mut beside: Vec<_> = listen.iter().map(|at| Endpoint::new(Transport::Udp, at.addr().clone(), 0)).collect();
    beside.sort_by_key(Endpoint::to_string);
    beside.dedup();
    beside
}
