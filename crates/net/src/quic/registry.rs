//! The QUIC endpoints of one `Transports`, and which of them a dial uses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_core::runtime::choose_local;

use super::connection::QuicConnection;
use super::dialed::Dialed;
use super::endpoint::{QuicEndpoint, WeakEndpoint};
use super::ends::CLOSE_WAIT;
use super::setup::Setup;
use crate::DialError;

/// Dials leave from a listening socket that the route to the remote uses, so that a node is seen at one port; otherwise
/// from one socket for each address family, made when it is first needed. While listening sockets are to be silent, all
/// dials leave from the latter: then whatever comes to a listening socket was not let in as an answer to something.
#[derive(Debug)]
pub(crate) struct QuicRegistry {
    setup: Arc<Setup>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    listening: Vec<QuicEndpoint>,
    dialing: Vec<QuicEndpoint>,
    /// These and those that only their connections keep any more.
    all: Vec<WeakEndpoint>,
    /// No dial leaves from a listening socket.
    silent: bool,
    /// Where dials went that left from one.
    dialed: Dialed,
    closed: bool,
}

impl State {
    fn add(&mut self, endpoint: &QuicEndpoint) {
        self.all.retain(|endpoint| endpoint.upgrade().is_some());
        self.all.push(endpoint.downgrade());
    }
}

impl QuicRegistry {
    pub(crate) fn new(setup: Setup) -> Self {
        Self { setup: Arc::new(setup), state: Mutex::default() }
    }

    /// Binds an endpoint that accepts connections and serves for dialing too.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn listen(&self, addr: SocketAddr) -> io::Result<QuicEndpoint> {
        let mut state = self.open()?;
        let endpoint = QuicEndpoint::bind(&self.setup, addr, true)?;
        state.add(&endpoint);
        state.listening.push(endpoint.clone());
        Ok(endpoint)
    }

    /// Ends accepting on an endpoint and dialing from it. Its socket stays for as long as it has connections.
    pub(crate) fn stop_listening(&self, endpoint: &QuicEndpoint) {
        endpoint.stop_accepting();
        self.lock().listening.retain(|other| !other.is(endpoint));
    }

    /// Dials. Without a time-out of its own; dropping the future gives up.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) async fn dial(&self, remote: SocketAddr) -> Result<QuicConnection, DialError> {
        let endpoint = self.dialer(remote, false).map_err(|error| DialError::Io(Arc::new(error)))?;
        endpoint.dial_with(self.setup.dialing(), remote).await
    }

    /// The same, never from a listening socket; if `once`, sends one datagram at most before the remote answers.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) async fn dial_back(&self, remote: SocketAddr, once: bool) -> Result<QuicConnection, DialError> {
        let endpoint = self.dialer(remote, true).map_err(|error| DialError::Io(Arc::new(error)))?;
        let config = if once { self.setup.dialing_once() } else { self.setup.dialing() };
        endpoint.dial_with(config, remote).await
    }

    /// From now on, no dial leaves from a listening socket; or it may again.
    pub(crate) fn keep_listeners_silent(&self, silent: bool) {
        self.lock().silent = silent;
    }

    /// Whether a dial that has left from a listening socket may be why this remote comes to one, as far as that is remembered.
    pub(crate) fn is_answer(&self, remote: SocketAddr) -> bool {
        self.lock().dialed.explains(remote)
    }

    /// The machine has another address.
    pub(crate) fn moved(&self) {
        self.lock().dialed.moved();
    }

    /// The endpoint to dial from, one that does not listen if `apart`.
    fn dialer(&self, remote: SocketAddr, apart: bool) -> io::Result<QuicEndpoint> {
        let mut state = self.open()?;
        state.listening.retain(|endpoint| !endpoint.is_dead());
        state.dialing.retain(|endpoint| !endpoint.is_dead());
        // One whose socket has failed is of use again once it is bound anew.
        let apart = apart || state.silent;
        let listening = state.listening.iter().filter(|endpoint| !apart && endpoint.is_bound());
        let listeners = listening.clone().count();
        let usable: Vec<_> = listening.chain(state.dialing.iter().filter(|endpoint| endpoint.is_bound())).collect();
        let bound: Vec<_> = usable.iter().map(|endpoint| endpoint.local_addr()).collect();
        if let Some(chosen) = choose_local(&**self.setup.runtime(), &bound, remote)? {
            let endpoint = usable[chosen].clone();
            if chosen < listeners {
                state.dialed.insert(remote);
            }
            return Ok(endpoint);
        }
        let any = match remote {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let endpoint = QuicEndpoint::bind(&self.setup, SocketAddr::new(any, 0), false)?;
        state.add(&endpoint);
        state.dialing.push(endpoint.clone());
        Ok(endpoint)
    }

    /// Closes all endpoints with their connections and sockets, and allows no new ones.
    pub(crate) async fn shutdown(&self) {
        let endpoints: Vec<_> = {
            let mut state = self.lock();
            let endpoints = state.all.iter().filter_map(WeakEndpoint::upgrade).collect();
            // The list stays: who calls again after giving up half-way goes on with it.
            let all = std::mem::take(&mut state.all);
            *state = State { closed: true, all, ..State::default() };
            endpoints
        };
        endpoints.iter().for_each(QuicEndpoint::close);
        let runtime = self.setup.runtime();
        let deadline = runtime.now() + CLOSE_WAIT;
        self.setup.ends.all_told(deadline).await;
        if self.setup.ends.has_unfinished(runtime.now()) {
            // Their remotes are told too, but whether they have heard it does not show.
            for endpoint in &endpoints {
                endpoint.wait_idle(deadline.saturating_duration_since(runtime.now())).await;
            }
            let _ = runtime.timeout_at(deadline, self.setup.closing.wait()).await;
        }
        self.setup.closing.shutdown().await;
        endpoints.iter().for_each(QuicEndpoint::close_socket);
    }

    fn open(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.closed {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the transports were shut down"));
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after each statement, whatever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
