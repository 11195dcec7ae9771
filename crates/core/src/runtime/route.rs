//! Which socket a datagram should leave from.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::Runtime;

/// The place in `locals` of the socket from which to send to `remote`, if one of those bound there reaches it: the one
/// that is bound to the address from which the system would send, else one that is bound to no address in particular.
/// The system is asked only where that makes a difference. The loopback is reached from sockets that are bound to it,
/// and they reach nothing else.
///
/// # Errors
/// What the system says when it has no route.
pub fn choose_local(runtime: &dyn Runtime, locals: &[SocketAddr], remote: SocketAddr) -> io::Result<Option<usize>> {
    choose(locals, remote.ip(), || Ok(runtime.udp_connect(remote)?.local_addr().ip()))
}

fn choose(
    locals: &[SocketAddr],
    remote: IpAddr,
    route: impl FnOnce() -> io::Result<IpAddr>,
) -> io::Result<Option<usize>> {
    let first = |fits: &dyn Fn(IpAddr) -> bool| {
        locals.iter().map(SocketAddr::ip).position(|local| local.is_ipv4() == remote.is_ipv4() && fits(local))
    };
    if remote.is_loopback() {
        return Ok(first(&|local| local.is_loopback() || local.is_unspecified()));
    }
    let anywhere = first(&|local| local.is_unspecified());
    if first(&|local| !local.is_unspecified() && !local.is_loopback()).is_none() {
        return Ok(anywhere);
    }
    match route() {
        Ok(source) => Ok(first(&|local| local == source).or(anywhere)),
        Err(error) if is_unroutable(&error) => Err(error),
        // The system cannot answer now: it is out of file descriptors, say.
        Err(_) => Ok(anywhere),
    }
}

/// Whether an error of sending or connecting says that there is no way to the destination.
pub fn is_unroutable(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    let no_way = matches!(
        error.kind(),
        K::NetworkUnreachable | K::HostUnreachable | K::NetworkDown | K::AddrNotAvailable | K::PermissionDenied
    );
    no_way || is_unknown_family(error)
}

/// Whether a socket could not be bound to all addresses of a family since this machine has none of that family, as one
/// without IPv6.
pub fn lacks_family(error: &io::Error) -> bool {
    // The second is what Linux says where IPv6 is turned off by a setting.
    is_unknown_family(error) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Whether this machine does not know the address's family at all (`EAFNOSUPPORT`).
pub fn is_unknown_family(error: &io::Error) -> bool {
    const CODE: i32 = if cfg!(windows) {
        10047
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        97
    } else {
        47
    };
    error.raw_os_error() == Some(CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(locals: &[&str], remote: &str, route: io::Result<&str>) -> Result<Option<usize>, io::ErrorKind> {
        let locals: Vec<_> = locals.iter().map(|local| SocketAddr::new(local.parse().unwrap(), 9000)).collect();
        choose(&locals, remote.parse().unwrap(), || Ok(route?.parse().unwrap())).map_err(|error| error.kind())
    }

    /// For cases in which nobody should ask.
    fn unasked(locals: &[&str], remote: &str) -> Option<usize> {
        chosen(locals, remote, Err(io::ErrorKind::NetworkUnreachable.into())).unwrap()
    }

    #[test]
    fn the_system_is_not_asked_where_it_makes_no_difference() {
        for (locals, remote, expected) in [
            (&["0.0.0.0"][..], "127.0.0.1", Some(0)),
            (&["0.0.0.0"], "192.0.2.1", Some(0)),
            (&["0.0.0.0"], "::1", None),
            (&["127.0.0.1"], "127.0.0.9", Some(0)),
            (&["127.0.0.1"], "192.0.2.1", None),
            (&["192.0.2.7"], "127.0.0.1", None),
            (&["::1", "::"], "2001:db8::1", Some(1)),
            (&["127.0.0.1", "0.0.0.0"], "192.0.2.1", Some(1)),
            (&["::"], "127.0.0.1", None),
            (&[], "192.0.2.1", None),
        ] {
            assert_eq!(unasked(locals, remote), expected, "{locals:?} to {remote}");
        }
    }

    #[test]
    fn of_sockets_at_several_addresses_the_routes_own_is_taken() {
        let locals = ["10.8.0.1", "192.0.2.7", "::"];
        assert_eq!(chosen(&locals, "198.51.100.1", Ok("192.0.2.7")), Ok(Some(1)));
        assert_eq!(chosen(&locals, "10.8.0.9", Ok("10.8.0.1")), Ok(Some(0)));
        assert_eq!(chosen(&locals, "198.51.100.1", Ok("192.0.2.8")), Ok(None), "another address of the machine");
        let locals = ["10.8.0.1", "0.0.0.0"];
        assert_eq!(chosen(&locals, "198.51.100.1", Ok("192.0.2.8")), Ok(Some(1)));
    }

    #[test]
    fn no_route_is_an_error_and_no_answer_is_none() {
        let no_route = Err(io::ErrorKind::NetworkUnreachable.into());
        assert_eq!(chosen(&["10.8.0.1"], "198.51.100.1", no_route), Err(io::ErrorKind::NetworkUnreachable));
        let shortage = || Err(io::Error::from_raw_os_error(24));
        assert_eq!(chosen(&["10.8.0.1"], "198.51.100.1", shortage()), Ok(None));
        assert_eq!(chosen(&["10.8.0.1", "0.0.0.0"], "198.51.100.1", shortage()), Ok(Some(1)));
    }
}
