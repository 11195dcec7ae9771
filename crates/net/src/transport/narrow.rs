//! Hosts on whose path large packets are swallowed.

use std::collections::VecDeque;
use std::net::IpAddr;

/// Hosts that are remembered; the one longest ago is forgotten.
const HOSTS: usize = 256;

/// To whom TCP connections are made with small segments.
#[derive(Debug, Default)]
pub(super) struct Narrow(VecDeque<IpAddr>);

impl Narrow {
    pub(super) fn insert(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        self.0.retain(|known| *known != ip);
        self.0.push_back(ip);
        if self.0.len() > HOSTS {
            self.0.pop_front();
        }
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hosts_are_remembered() {
        let mut narrow = Narrow::default();
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        (0..1000).for_each(|n| narrow.insert(ip(n % 300)));
        assert_eq!(narrow.0.len(), HOSTS);
        assert!(narrow.contains(ip(99)) && !narrow.contains(ip(120)));
        assert!(narrow.contains("::ffff:0.0.0.99".parse().unwrap()));
    }
}
