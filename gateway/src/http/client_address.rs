//! The address of the client that sent a request: of the peer, or behind trusted proxies, of the
//! client that these name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::Request;
use axum::http::HeaderMap;

use crate::config::Network;

/// The peer of a connection; an extension of its requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Returns the key under which a client without a token is limited: its IPv4 address, or the /64
/// network of its IPv6 address, because one host has all of these addresses.
pub(super) fn of(request: &Request, trusted: &[Network]) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |Peer(peer)| peer.ip());
    grouped(behind_proxies(peer, request.headers(), trusted))
}

/// The rightmost address of `X-Forwarded-For` that is not a trusted proxy's. Each proxy appends the
/// address it was connected from, so what stands further to the left may be invented.
fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let lines = headers.get_all("x-forwarded-for").iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(address) = address(hop.trim()) else { break };
        client = address.to_canonical();
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// Whether the client sent the request over TLS, which ended at a trusted proxy. With several proxies, the
/// first value of `X-Forwarded-Proto` is that of the client's connection.
pub(super) fn over_tls(request: &Request, trusted: &[Network]) -> bool {
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| peer.ip().to_canonical());
    let from_proxy = peer.is_some_and(|peer| trusted.iter().any(|proxy| proxy.contains(peer)));
    let scheme = request.headers().get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let scheme = scheme.and_then(|schemes| schemes.split(',').next());
    from_proxy && scheme.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// Parses an address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port)
}

fn grouped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<_> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        grouped(behind_proxies(peer.parse().unwrap(), &headers, &trusted)).to_string()
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        let proxies = &["10.0.0.0/8"];
        assert_eq!(client("1.1.1.1", &["2.2.2.2"], &[]), "1.1.1.1", "no proxy is trusted");
        assert_eq!(client("1.1.1.1", &["2.2.2.2"], proxies), "1.1.1.1", "the peer is no proxy");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 2.2.2.2"], proxies), "2.2.2.2");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "2.2.2.2, 10.0.0.2"], proxies), "2.2.2.2");
        assert_eq!(client("10.0.0.1", &["10.0.0.3"], proxies), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &[], proxies), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, nonsense"], proxies), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["2.2.2.2:1234"], proxies), "2.2.2.2");
        assert_eq!(client("::ffff:10.0.0.1", &["2.2.2.2"], proxies), "2.2.2.2");
    }

    #[test]
    fn whether_the_client_uses_tls_is_read_from_a_trusted_proxy() {
        let over_tls = |peer: &str, scheme: &str| {
            let mut request = Request::new(axum::body::Body::empty());
            request.extensions_mut().insert(Peer(peer.parse().unwrap()));
            request.headers_mut().insert("x-forwarded-proto", scheme.parse().unwrap());
            over_tls(&request, &["10.0.0.0/8".parse().unwrap()])
        };
        assert!(over_tls("10.0.0.1:1", "https") && over_tls("10.0.0.1:1", "HTTPS, http"));
        assert!(over_tls("[::ffff:10.0.0.1]:1", "https"));
        assert!(!over_tls("10.0.0.1:1", "http") && !over_tls("1.1.1.1:1", "https"));
    }

    #[test]
    fn ipv6_addresses_of_one_network_are_one_client() {
        assert_eq!(client("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        let behind = client("10.0.0.1", &["[2001:db8:1:2:ffff::1]:443"], &["10.0.0.1"]);
        assert_eq!(behind, "2001:db8:1:2::");
    }
}
