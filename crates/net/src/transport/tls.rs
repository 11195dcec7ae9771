//! TLS over a byte stream, with the configurations we were given.

use std::io;
use std::sync::Arc;

use p2p_core::runtime::ByteStream;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CommonState, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::mux::{MuxIo, TcpSocket};
use crate::{DialError, Error, Result, TlsConfigs};

/// Why there is neither tls nor quic.
pub(super) const UNCONFIGURED: &str = "no TLS identity is configured (NetConfig::tls)";

/// A certificate chain that the remote has proved to hold the key of.
pub(super) type Certificates = Arc<[CertificateDer<'static>]>;

/// A byte stream after the TLS handshake.
pub(super) struct Secured {
    pub(super) io: Box<dyn MuxIo>,
    pub(super) certificates: Option<Certificates>,
    pub(super) socket: TcpSocket,
}

/// The dialer's side of the handshake. Without a time-out of its own.
pub(super) async fn connect(tls: &TlsConfigs, stream: Box<dyn ByteStream>) -> Result<Secured, DialError> {
    let socket = TcpSocket::of(&*stream);
    // TLS wants a name. Who the other side is shows in its key; whether the name is sent is the configuration's choice.
    let name = ServerName::try_from("peer.invalid").expect("it has the form of a DNS name");
    let io = TlsConnector::from(tls.client.clone()).connect(name, stream).await.map_err(dial_error)?;
    let session = io.get_ref().1;
    check_alpn(session, &tls.client.alpn_protocols).map_err(|why| DialError::Handshake(why.into()))?;
    Ok(Secured { certificates: certificates(session), io: Box::new(io), socket })
}

/// The listener's side of the handshake. Without a time-out of its own.
///
/// # Errors
/// [`Error::Accept`].
pub(super) async fn accept(config: &Arc<ServerConfig>, stream: Box<dyn ByteStream>) -> Result<Secured> {
    let socket = TcpSocket::of(&*stream);
    let accepting = TlsAcceptor::from(config.clone()).accept(stream);
    let io = accepting.await.map_err(|error| Error::Accept(error.to_string().into()))?;
    check_alpn(io.get_ref().1, &config.alpn_protocols).map_err(|why| Error::Accept(why.into()))?;
    Ok(Secured { certificates: certificates(io.get_ref().1), io: Box::new(io), socket })
}

/// TLS lets a remote that names no application protocol at all through; QUIC does not (RFC 9001 §8.1), and neither do we.
fn check_alpn(session: &CommonState, ours: &[Vec<u8>]) -> Result<(), &'static str> {
    if ours.is_empty() || session.alpn_protocol().is_some() {
        Ok(())
    } else {
        Err("the remote names no application protocol (ALPN)")
    }
}

fn certificates(tls: &CommonState) -> Option<Certificates> {
    tls.peer_certificates().map(Arc::from)
}

fn dial_error(error: io::Error) -> DialError {
    // tokio-rustls wraps what TLS says this way; anything else is the stream's.
    match error.kind() {
        io::ErrorKind::InvalidData => DialError::Handshake(error.to_string().into()),
        _ => DialError::Io(Arc::new(error)),
    }
}
