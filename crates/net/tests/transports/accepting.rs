//! How connections are accepted over tls and quic: what changes while a listener runs, and who is turned away.

use std::any::Any;
use std::sync::Arc;

use p2p_net::{AcceptTls, Connection, Transport};

use crate::common::{connect, for_each, for_each_transport, tls_configs};

fn context(connection: &Connection) -> Option<u32> {
    connection.accept_context().and_then(|context| context.downcast_ref()).copied()
}

fn accept_tls(number: u32) -> AcceptTls {
    let context: Arc<dyn Any + Send + Sync> = Arc::new(number);
    AcceptTls { config: tls_configs().server, context: Some(context) }
}

#[test]
fn a_connection_keeps_the_context_it_was_accepted_with() {
    for_each_transport(async |net| {
        let (dialer, acceptor) = (net.node(), net.node());
        let listener = net.listen(&acceptor).await;
        let secure = net.transport != Transport::Tcp;
        let mut accepted = vec![connect(&dialer, &listener).await];
        for number in [1, 2] {
            acceptor.accept_with(accept_tls(number)).unwrap();
            accepted.push(connect(&dialer, &listener).await);
        }
        let contexts: Vec<_> = accepted.iter().map(|(_, accepted)| context(accepted)).collect();
        assert_eq!(contexts, if secure { [None, Some(1), Some(2)] } else { [None; 3] }, "{}", net.transport);
        assert!(accepted.iter().all(|(dialed, _)| dialed.accept_context().is_none()));
        // Each generation presents its own certificate.
        let certificate = |n: usize| accepted[n].0.peer_certificates().map(<[_]>::to_vec);
        assert!(!secure || (certificate(0) != certificate(1) && certificate(1) != certificate(2)));
        dialer.shutdown().await;
        acceptor.shutdown().await;
    });
}

#[test]
fn who_names_no_application_protocol_is_refused_by_either_side() {
    for_each(&[Transport::Tls, Transport::Quic], async |net| {
        for nameless_dials in [true, false] {
            let mut nameless = net.clone();
            let mut tls = tls_configs();
            (Arc::make_mut(&mut tls.client).alpn_protocols, Arc::make_mut(&mut tls.server).alpn_protocols) =
                (Vec::new(), Vec::new());
            nameless.config.tls = Some(tls);
            let (dialer, acceptor) = match nameless_dials {
                true => (nameless.node(), net.node()),
                false => (net.node(), nameless.node()),
            };
            let listener = net.listen(&acceptor).await;
            let endpoint = listener.local_endpoint();
            let accepting = async { listener.accept().await?.accept().await };
            let (dialed, accepted) = tokio::join!(dialer.dial(&endpoint), accepting);
            // Over tls a dialer is done before the listener has looked.
            let refused = if nameless_dials { accepted.is_err() } else { dialed.is_err() };
            assert!(refused, "{}: {dialed:?}, {accepted:?}", net.transport);
            dialer.shutdown().await;
            acceptor.shutdown().await;
        }
    });
}
