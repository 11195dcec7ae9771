//! What carries a connection, once it is clear that this build and configuration have it.

use std::net::SocketAddr;

use p2p_core::runtime::ByteStream;

use super::Inner;
use crate::connection;
use crate::mux::{MuxConnection, MuxIo, Side, TcpSocket};
#[cfg(feature = "quic")]
use crate::quic::QuicRegistry;
use crate::transport::tls;
use crate::{DialError, Endpoint, Error, Result, TlsConfigs, Transport};

/// The means to dial or listen.
#[derive(Clone, Copy)]
pub(super) enum Carrier<'a> {
    Tcp,
    Tls(&'a TlsConfigs),
    #[cfg(feature = "quic")]
    Quic(&'a QuicRegistry),
}

impl Inner {
    /// # Errors
    /// [`Error::Unsupported`].
    pub(super) fn carrier(&self, endpoint: &Endpoint) -> Result<Carrier<'_>> {
        let found = match endpoint.transport() {
            Transport::Tcp => Ok(Carrier::Tcp),
            Transport::Tls => self.config.tls.as_ref().map(Carrier::Tls).ok_or(tls::UNCONFIGURED),
            #[cfg(feature = "quic")]
            Transport::Quic => self.quic.as_ref().map(Carrier::Quic).map_err(|why| *why),
            #[cfg(not(feature = "quic"))]
            Transport::Quic => Err("built without quic"),
            Transport::Udp => Err("udp carries single datagrams, not connections"),
        };
        found.map_err(|why| Error::Unsupported { endpoint: endpoint.clone(), why })
    }

    /// Dials one address.
    pub(super) async fn connect(&self, carrier: Carrier<'_>, addr: SocketAddr) -> Result<connection::Inner, DialError> {
        let stream = async || {
            let runtime = self.tasks.runtime();
            let small = self.narrow().contains(addr.ip());
            let connecting = if small { runtime.tcp_connect_small(addr) } else { runtime.tcp_connect(addr) };
            connecting.await.map_err(|error| DialError::Io(std::sync::Arc::new(error)))
        };
        Ok(match carrier {
            Carrier::Tcp => self.multiplex(Side::Dialer, stream().await?),
            Carrier::Tls(configs) => {
                self.multiplex_secured(Side::Dialer, tls::connect(configs, stream().await?).await?)
            }
            #[cfg(feature = "quic")]
            Carrier::Quic(registry) => connection::Inner::Quic(registry.dial(addr).await?),
        })
    }

    /// The same, never from a socket that listens; if `once`, with one datagram at most before the remote answers, where that
    /// is for us to decide.
    pub(super) async fn connect_back(
        &self,
        carrier: Carrier<'_>,
        addr: SocketAddr,
        once: bool,
    ) -> Result<connection::Inner, DialError> {
        #[cfg(not(feature = "quic"))]
        let _ = once;
        match carrier {
            #[cfg(feature = "quic")]
            Carrier::Quic(registry) => Ok(connection::Inner::Quic(registry.dial_back(addr, once).await?)),
            carrier => self.connect(carrier, addr).await,
        }
    }

    pub(super) fn multiplex(&self, side: Side, stream: Box<dyn ByteStream>) -> connection::Inner {
        let socket = TcpSocket::of(&*stream);
        self.mux(side, Box::new(stream), None, socket)
    }

    pub(super) fn multiplex_secured(&self, side: Side, secured: tls::Secured) -> connection::Inner {
        self.mux(side, secured.io, secured.certificates, secured.socket)
    }

    fn mux(
        &self,
        side: Side,
        io: Box<dyn MuxIo>,
        certificates: Option<tls::Certificates>,
        socket: TcpSocket,
    ) -> connection::Inner {
        connection::Inner::Mux(MuxConnection::start(io, side, certificates, Some(socket), &self.config, &self.tasks))
    }
}
