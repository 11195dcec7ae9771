//! Endpoints that are valid one by one and do not work together: without a word here, such a node starts and does something
//! else than it was told.

use p2p_identity::Error;
use p2p_net::{Endpoint, Transport};

use super::Config;
use super::validate::wrong;

const LISTEN: &str = "listen_endpoints";
const DISCOVERY: &str = "discovery_endpoints";

pub(super) fn validate(config: &Config) -> Result<(), Error> {
    lookups_come_in_somewhere(config)?;
    each_port_once(config)?;
    public_ip_is_of_a_family_listened_on(config)
}

/// A node whose DHT answers pings but takes no lookups is found by nobody.
fn lookups_come_in_somewhere(config: &Config) -> Result<(), Error> {
    let streams = config.listen_endpoints.iter().chain(&config.discovery_endpoints).any(is_stream);
    match config.discovery_endpoints.first() {
        Some(pings) if !streams => {
            let suggested = if cfg!(feature = "quic") { Transport::Quic } else { Transport::Tls };
            let suggested = Endpoint::new(suggested, pings.addr().clone(), 0);
            Err(wrong(
                DISCOVERY,
                format_args!(
                    "{pings} answers liveness pings only, and no lookup can come in: others would never find this node. \
                     Add a stream endpoint such as {suggested} to `{LISTEN}` (or here); for a node that only asks others, \
                     leave `{DISCOVERY}` empty"
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Two sockets cannot be bound to the same port: tcp and tls share those of TCP, quic and udp those of UDP.
fn each_port_once(config: &Config) -> Result<(), Error> {
    let space = |endpoint: &Endpoint| matches!(endpoint.transport(), Transport::Quic | Transport::Udp);
    let socket = |endpoint: &Endpoint| (space(endpoint), endpoint.addr().clone(), endpoint.port());
    let fixed = |endpoint: &&Endpoint| endpoint.port() != 0;
    let discovery = &config.discovery_endpoints;
    for (at, endpoint) in discovery.iter().enumerate().filter(|(_, endpoint)| endpoint.port() != 0) {
        if let Some(other) =
            config.listen_endpoints.iter().filter(fixed).find(|other| socket(other) == socket(endpoint))
        {
            let why = if is_stream(endpoint) {
                format!("lookups come in on `{LISTEN}` anyway: leave it out here")
            } else {
                "pings need a UDP port of their own: use the next one".into()
            };
            return Err(wrong(DISCOVERY, format_args!("{endpoint} wants the port of {other} in `{LISTEN}`; {why}")));
        }
        if let Some(other) = discovery[..at].iter().find(|other| socket(other) == socket(endpoint)) {
            return Err(wrong(DISCOVERY, format_args!("{endpoint} and {other} want the same port")));
        }
    }
    Ok(())
}

/// The ports of one address family are not reached at an address of the other.
fn public_ip_is_of_a_family_listened_on(config: &Config) -> Result<(), Error> {
    let Some(public) = config.public_ip.map(|ip| ip.to_canonical()) else { return Ok(()) };
    let mut listening = config.listen_endpoints.iter().chain(&config.discovery_endpoints).peekable();
    // A host name may have addresses of either family.
    let same_family = |endpoint: &Endpoint| endpoint.addr().ip().is_none_or(|ip| ip.is_ipv4() == public.is_ipv4());
    if listening.peek().is_none() || listening.any(same_family) {
        return Ok(());
    }
    let (family, everywhere) = if public.is_ipv4() { ("IPv4", "0.0.0.0") } else { ("IPv6", "[::]") };
    Err(wrong(
        "public_ip",
        format_args!(
            "no endpoint in `{LISTEN}` or `{DISCOVERY}` is for {family}, so nobody reaches this node at {public}: listen on \
             {everywhere} too"
        ),
    ))
}

fn is_stream(endpoint: &Endpoint) -> bool {
    endpoint.transport().is_connection()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &[&str], discovery: &[&str]) -> Config {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Config { listen_endpoints: parse(listen), discovery_endpoints: parse(discovery), ..Config::default() }
    }

    /// The field that the error names, and what it says.
    fn refused(config: &Config) -> (&'static str, String) {
        match config.validate() {
            Err(Error::Config { field, reason }) => (field, reason),
            other => panic!("{:?} gave {other:?}", config.discovery_endpoints),
        }
    }

    #[test]
    fn a_udp_endpoint_alone_does_not_make_a_silent_client() {
        let (field, reason) = refused(&config(&[], &["udp://0.0.0.0:9001"]));
        assert_eq!(field, "discovery_endpoints");
        let suggested = if cfg!(feature = "quic") { "quic://0.0.0.0:0" } else { "tls://0.0.0.0:0" };
        for part in ["udp://0.0.0.0:9001", suggested, "`listen_endpoints`"] {
            assert!(reason.contains(part), "{part} is missing: {reason}");
        }
        config(&["tls://0.0.0.0:9000"], &["udp://0.0.0.0:9001"]).validate().unwrap();
        config(&[], &["tls://0.0.0.0:9000", "udp://0.0.0.0:9001"]).validate().unwrap();
        config(&[], &["tls://0.0.0.0:9000"]).validate().unwrap();
        config(&[], &[]).validate().unwrap();
    }

    #[test]
    fn a_port_wanted_twice_is_named_before_anything_is_bound() {
        for (listen, discovery) in [
            (&["tls://0.0.0.0:9000"][..], &["tcp://0.0.0.0:9000"][..]),
            (&["tls://0.0.0.0:9000"], &["udp://0.0.0.0:9000", "udp://0.0.0.0:9000"]),
        ] {
            assert_eq!(refused(&config(listen, discovery)).0, "discovery_endpoints", "{listen:?} {discovery:?}");
        }
        // TCP's ports are not UDP's, other addresses are other sockets, and 0 is whichever port is free.
        for discovery in [&["udp://0.0.0.0:9000"][..], &["tcp://[::]:9000"], &["udp://0.0.0.0:0", "udp://0.0.0.0:0"]] {
            config(&["tls://0.0.0.0:9000"], discovery).validate().unwrap();
        }
    }

    #[cfg(feature = "quic")]
    #[test]
    fn pings_on_the_port_of_quic_are_told_to_take_another() {
        let (field, reason) = refused(&config(&["quic://0.0.0.0:9000"], &["udp://0.0.0.0:9000"]));
        assert_eq!(field, "discovery_endpoints");
        assert!(reason.contains("quic://0.0.0.0:9000") && reason.contains("use the next one"), "{reason}");
        let (_, reason) = refused(&config(&["quic://0.0.0.0:9000"], &["quic://0.0.0.0:9000"]));
        assert!(reason.contains("leave it out"), "{reason}");
    }

    #[test]
    fn a_public_address_of_a_family_nobody_listens_on_is_refused() {
        let with =
            |public: &str, listen: &[&str]| Config { public_ip: Some(public.parse().unwrap()), ..config(listen, &[]) };
        let (field, reason) = refused(&with("8.8.8.8", &["tls://[::]:9000"]));
        assert_eq!(field, "public_ip");
        assert!(reason.contains("0.0.0.0"), "{reason}");
        assert_eq!(refused(&with("2606:4700::1", &["tls://10.0.0.1:9000"])).0, "public_ip");
        with("8.8.8.8", &["tls://[::]:9000", "tls://0.0.0.0:9000"]).validate().unwrap();
        with("::ffff:8.8.8.8", &["tls://0.0.0.0:9000"]).validate().unwrap();
        with("8.8.8.8", &["tls://my.host:9000"]).validate().unwrap();
        with("8.8.8.8", &[]).validate().unwrap();
    }
}
