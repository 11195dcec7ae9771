//! To whom a node has sent something, of its own accord, from where it listens.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Remotes that are remembered; the one dialed longest ago is forgotten. Boxes and firewalls forget within minutes to whom
/// something was sent.
const REMOTES: usize = 1024;

/// Whoever is in here may have been let in because of what was sent to it.
#[derive(Debug, Default)]
pub(super) struct Dialed(VecDeque<Remote>);

#[derive(Debug)]
struct Remote {
    ip: IpAddr,
    port: u16,
    /// Dialed from an address that the machine no longer has.
    former: bool,
}

impl Dialed {
    pub(super) fn insert(&mut self, remote: SocketAddr) {
        let (ip, port) = (remote.ip().to_canonical(), remote.port());
        self.0.retain(|known| (known.ip, known.port) != (ip, port));
        self.0.push_back(Remote { ip, port, former: false });
        if self.0.len() > REMOTES {
            self.0.pop_front();
        }
    }

    /// The machine has another address: what is in front of that one has seen nothing yet but what old connections sent, each to
    /// its own remote.
    pub(super) fn moved(&mut self) {
        self.0.iter_mut().for_each(|remote| remote.former = true);
    }

    /// Whether somebody may have been let in because it, or another port of it, was dialed.
    pub(super) fn explains(&self, remote: SocketAddr) -> bool {
        let ip = remote.ip().to_canonical();
        self.0.iter().any(|known| known.ip == ip && (!known.former || known.port == remote.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(n: u32, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::from(n.to_be_bytes()), port)
    }

    #[test]
    fn the_last_remotes_are_remembered() {
        let mut dialed = Dialed::default();
        (0..REMOTES as u32).for_each(|n| dialed.insert(remote(n, 1)));
        dialed.insert(remote(0, 1));
        dialed.insert(remote(5000, 1));
        assert_eq!(dialed.0.len(), REMOTES);
        let explained = [0, 1, 2, 5000].map(|n| dialed.explains(remote(n, 1)));
        assert_eq!(explained, [true, false, true, true]);
        assert!(dialed.explains("[::ffff:0.0.0.0]:1".parse().unwrap()));
    }

    #[test]
    fn after_a_move_only_the_same_port_is_explained() {
        let mut dialed = Dialed::default();
        dialed.insert(remote(7, 1));
        assert!(dialed.explains(remote(7, 1)) && dialed.explains(remote(7, 2)));
        dialed.moved();
        assert!(dialed.explains(remote(7, 1)) && !dialed.explains(remote(7, 2)));
        dialed.insert(remote(7, 1));
        assert!(dialed.explains(remote(7, 2)));
    }
}
