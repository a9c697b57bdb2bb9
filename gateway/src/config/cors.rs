//! Options of cross-origin resource sharing: which web sites may call the API from a browser.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use serde::{Serialize, Serializer};
use url::Url;

/// Cross-origin resource sharing (CORS).
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "CORS")]
pub struct Cors {
    /// Origins whose pages may call the API from a browser, such as `https://shop.example.org`, separated
    /// by commas; `*` for any. Callers still need a token. Without it, browsers refuse such calls
    #[arg(long, env = "CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origins: Vec<Origin>,
    /// Origins whose pages may record page views from a browser, separated by commas; `*` for any, then
    /// without credentials. Without it, browsers refuse such calls
    #[arg(long, env = "PAGE_VIEWS_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub page_views_cors_origins: Vec<Origin>,
}

/// The origin of a web site, scheme, host and port, as browsers send it in `Origin`; or all origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Every origin: `*`.
    Any,
    /// One origin, serialized as in `Origin`.
    Of(String),
}

impl Origin {
    /// Returns whether `origin`, the value of a header `Origin`, is this origin.
    pub fn is(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Of(this) => this.as_bytes() == origin,
        }
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let url = Url::parse(text).map_err(|_not_a_url| InvalidOrigin)?;
        let origin = url.origin().ascii_serialization();
        // A path, a query or a user would be ignored, so they are refused.
        if url.origin().is_tuple() && Url::parse(&origin).is_ok_and(|plain| plain == url) {
            Ok(Self::Of(origin))
        } else {
            Err(InvalidOrigin)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Of(origin) => f.write_str(origin),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an origin: scheme, host and, if it is not the default one, port, such as https://shop.example.org; or `*`"
)]
pub struct InvalidOrigin;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_a_host_and_a_port_and_nothing_else() {
        for (text, sent) in [
            ("https://shop.example.org", "https://shop.example.org"),
            ("https://shop.example.org/", "https://shop.example.org"),
            ("https://Shop.Example.org:443", "https://shop.example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert!(origin.is(sent.as_bytes()), "{text}");
            for other in
                ["null", "https://shop.example.org.evil.net", "http://shop.example.org", ""]
            {
                assert!(!origin.is(other.as_bytes()), "{text} is not {other}");
            }
        }
        for text in [
            "",
            "shop.example.org",
            "null",
            "https://a/b",
            "https://u@a",
            "https://a?b",
            "file:///a",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin), "{text}");
        }
        assert!("*".parse::<Origin>().unwrap().is(b"https://anything.example"));
    }
}
