//! Options that limit what one client may do: rates, and what page views may create.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::Span;

/// Limits on clients of the HTTP API. Each process counts for itself.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Limits on HTTP clients")]
pub struct ClientLimits {
    /// Networks of the proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted, as CIDR,
    /// separated by commas; the client is the rightmost address that is in none of them. Without it,
    /// the client is the peer, and no request counts as sent over TLS
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    /// Requests per minute of one principal (the subject of a token), 1 to 100,000,000
    #[arg(long, env = "RATE_LIMIT_PRINCIPAL", value_name = "COUNT", default_value_t = 600_000,
          value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub rate_limit_principal: u32,
    /// Requests per minute without a valid token of one address, 1 to 100,000,000. An IPv6 address
    /// counts as its /64 network, here and in the other limits
    #[arg(long, env = "RATE_LIMIT_ADDRESS", value_name = "COUNT", default_value_t = 6_000,
          value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub rate_limit_address: u32,
    /// Registrations per minute from one address, 1 to 100,000,000
    #[arg(long, env = "RATE_LIMIT_REGISTRATIONS", value_name = "COUNT", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub rate_limit_registrations: u32,
    /// Attempts to sign in per minute from one address, 1 to 100,000,000
    #[arg(long, env = "RATE_LIMIT_SIGN_INS_ADDRESS", value_name = "COUNT", default_value_t = 120,
          value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub rate_limit_sign_ins_address: u32,
    /// Attempts to sign in per minute as one account, from all addresses together, 1 to 100,000,000
    #[arg(long, env = "RATE_LIMIT_SIGN_INS_ACCOUNT", value_name = "COUNT", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub rate_limit_sign_ins_account: u32,
    /// Tickets for event streams per minute of one principal, 1 to 100,000,000
    #[arg(long, env = "RATE_LIMIT_EVENT_TICKETS", value_name = "COUNT", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub rate_limit_event_tickets: u32,
    /// Page views per minute from one address, 1,000 (one full request) to 100,000,000
    #[arg(long, env = "RATE_LIMIT_PAGE_VIEWS", value_name = "COUNT", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1_000..=MOST))]
    pub rate_limit_page_views: u32,
    /// Distinct paths of page views per hour, 1 to 1,000,000
    #[arg(long, env = "PAGE_VIEW_PATHS", value_name = "COUNT", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub page_view_paths: u32,
    /// Distinct sessions of page views per hour, 1 to 10,000,000
    #[arg(long, env = "PAGE_VIEW_SESSIONS", value_name = "COUNT", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub page_view_sessions: u32,
    /// Time that a page view may lie before its receipt, with a unit
    #[arg(long, env = "PAGE_VIEW_MAX_AGE", value_name = "TIME", default_value = "7d")]
    pub page_view_max_age: Span,
}

/// Highest rate, per minute.
const MOST: i64 = 100_000_000;

/// A network of addresses, as CIDR. A single address is a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Returns whether `address` is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse()
            .or_else(|_not_a_network| address())
            .map(Self)
            .map_err(|_not_an_address| InvalidNetwork)
    }
}

/// The text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address with a prefix length, such as 10.0.0.0/8 or fd00::/8")]
pub struct InvalidNetwork;

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_cidr_or_one_address() {
        let inside = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(inside("10.0.0.0/8", "10.1.2.3") && !inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("127.0.0.1", "127.0.0.1") && !inside("127.0.0.1", "127.0.0.2"));
        assert!(inside("fd00::/8", "fd12::1"));
        assert!("10.0.0.0/33".parse::<Network>().is_err() && "proxy".parse::<Network>().is_err());
    }
}
