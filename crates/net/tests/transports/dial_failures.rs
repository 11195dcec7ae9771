//! Dials that come to nothing: bounded, and with an error that says why.

use std::io::{ErrorKind, IoSliceMut};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use p2p_core::runtime::{ByteListener, RecvMeta};
use p2p_net::{DialError, Endpoint, Error, Transport};

use crate::common::{for_each, for_each_transport};

fn reason(error: Error) -> DialError {
    match error {
        Error::Dial { reason, .. } => reason,
        error => panic!("not an error of dialing: {error:?}"),
    }
}

#[test]
fn a_dead_port_is_refused() {
    for_each_transport(async |net| {
        let node = net.node();
        let listener = net.listen(&node).await;
        let endpoint = listener.local_endpoint();
        drop(listener);
        // The socket of a quic listener serves dials for as long as its node lives: another node dials.
        node.shutdown().await;
        let error = reason(net.node().dial(&endpoint).await.unwrap_err());
        assert!(matches!(&error, DialError::Io(io) if io.kind() == ErrorKind::ConnectionRefused), "{error:?}");
    });
}

#[test]
fn a_host_that_says_nothing_is_given_up_on() {
    for_each(&[Transport::Tls, Transport::Quic], async |mut net| {
        net.config.dial_timeout = Duration::from_millis(50);
        let node = net.node();
        let any = "127.0.0.1:0".parse().unwrap();
        let tcp: Box<dyn ByteListener> = net.runtime.tcp_listen(any).unwrap();
        let udp = net.runtime.udp_bind(any).unwrap();
        let addr = if net.transport == Transport::Quic { udp.local_addr() } else { tcp.local_addr() };
        let endpoint = Endpoint::from_socket_addr(net.transport, addr);
        assert!(matches!(reason(node.dial(&endpoint).await.unwrap_err()), DialError::TimedOut));
    });
}

/// Long enough for a second datagram of a dial that may send one.
#[test]
fn who_is_dialed_on_the_word_of_another_gets_one_datagram_and_one_that_gives_up() {
    for_each(&[Transport::Quic], async |mut net| {
        net.config.dial_timeout = Duration::from_millis(1500);
        let silent = net.runtime.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoint = Endpoint::from_socket_addr(Transport::Quic, silent.local_addr());
        let node = net.node();
        assert!(matches!(reason(node.dial_back(&endpoint, true).await.unwrap_err()), DialError::TimedOut));
        // What gives up has been sent when this is done.
        node.shutdown().await;
        let (mut buffer, mut bytes, mut initials) = (vec![0; 65_536], 0, 0);
        loop {
            let mut metas = [RecvMeta::default()];
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(received) = silent.poll_recv(&mut cx, &mut [IoSliceMut::new(&mut buffer)], &mut metas)
            else {
                break;
            };
            received.unwrap();
            bytes += metas[0].len + 28 * metas[0].len.div_ceil(metas[0].stride.max(1));
            initials += usize::from(metas[0].len >= 1200);
        }
        assert_eq!(initials, 2);
        assert!(bytes < 3000, "{bytes} with the headers");
        let named = net.endpoint("localhost:1");
        assert!(matches!(net.node().dial_back(&named, true).await.unwrap_err(), Error::Unsupported { .. }));
    });
}

#[test]
fn a_listener_that_accepts_nobody_ends_quic_dials() {
    for_each(&[Transport::Quic], async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = net.listen(&acceptor).await;
        let endpoint = listener.local_endpoint();
        let (dialed, ()) = tokio::join!(dialer.dial(&endpoint), async {
            listener.accept().await.unwrap().refuse();
        });
        let error = reason(dialed.unwrap_err());
        assert!(matches!(&error, DialError::Io(io) if io.kind() == ErrorKind::ConnectionRefused), "{error:?}");
    });
}

#[test]
fn a_remote_that_hangs_up_in_the_handshake_is_an_error() {
    for_each(&[Transport::Tls, Transport::Quic], async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = net.listen(&acceptor).await;
        let endpoint = listener.local_endpoint();
        let (dialed, ()) = tokio::join!(dialer.dial(&endpoint), async {
            drop(listener.accept().await.unwrap());
        });
        reason(dialed.unwrap_err());
    });
}

#[test]
fn a_name_that_nobody_has_is_not_found() {
    for_each_transport(async |net| {
        let error = net.node().resolve(&net.endpoint("nobody.invalid:1")).await.unwrap_err();
        assert!(matches!(reason(error), DialError::Resolve(_)));
    });
}
