//! [`Listening`].

use crate::{Endpoint, Error, Result};

/// Where a node listens, of the endpoints that it was given: it goes on where one stands for all addresses of a family, IPv6
/// say, and this machine has none.
///
/// ```no_run
/// # async fn listen(transports: &p2p_net::Transports, endpoints: &[p2p_net::Endpoint]) -> p2p_net::Result<()> {
/// let mut listening = p2p_net::Listening::default();
/// for endpoint in endpoints {
///     match transports.listen(endpoint).await {
///         Ok(listener) => listening.at(listener.local_endpoint()),
///         Err(error) => listening.failed(error)?,
///     }
/// }
/// let endpoints = listening.finish()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Listening {
    endpoints: Vec<Endpoint>,
    /// Why the last that was left out was.
    lacking: Option<Error>,
}

impl Listening {
    /// Another endpoint is listened at.
    pub fn at(&mut self, local: Endpoint) {
        self.endpoints.push(local);
    }

    /// One cannot be listened at. Warns where that is because this machine has no such addresses.
    ///
    /// # Errors
    /// The given one, for any other reason.
    pub fn failed(&mut self, error: Error) -> Result<()> {
        if !lacks_family(&error) {
            return Err(error);
        }
        tracing::warn!(
            %error,
            "this machine has no such addresses: the node goes on without them; leave the endpoint out if that is meant",
        );
        self.lacking = Some(error);
        Ok(())
    }

    /// The endpoints that are listened at.
    ///
    /// # Errors
    /// When nothing but what was left out remains: why.
    pub fn finish(self) -> Result<Vec<Endpoint>> {
        match self.lacking.filter(|_| self.endpoints.is_empty()) {
            Some(error) => Err(error),
            None => Ok(self.endpoints),
        }
    }
}

fn lacks_family(error: &Error) -> bool {
    let Error::Listen { endpoint, source } = error else { return false };
    endpoint.addr().ip().is_some_and(|ip| ip.is_unspecified()) && p2p_core::runtime::lacks_family(source)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    fn refused(endpoint: &str, kind: io::ErrorKind) -> Error {
        Error::Listen { endpoint: endpoint.parse().expect("it is one"), source: Arc::new(kind.into()) }
    }

    #[test]
    fn it_goes_on_without_a_family_unless_nothing_remains() {
        let (all, one) = ("tcp://[::]:1", "tcp://[2001:db8::1]:1");
        let lacking = || refused(all, io::ErrorKind::AddrNotAvailable);
        let mut listening = Listening::default();
        listening.failed(lacking()).expect("there may be others");
        assert!(matches!(listening.finish(), Err(Error::Listen { .. })), "there is none");
        let mut listening = Listening::default();
        listening.failed(lacking()).expect("there may be others");
        let local: Endpoint = "tcp://127.0.0.1:1".parse().expect("it is one");
        listening.at(local.clone());
        assert_eq!(listening.finish().expect("one is left"), [local]);
        let mut listening = Listening::default();
        assert!(listening.failed(refused(all, io::ErrorKind::AddrInUse)).is_err());
        assert!(listening.failed(refused(one, io::ErrorKind::AddrNotAvailable)).is_err());
    }
}
