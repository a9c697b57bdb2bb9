//! The kinds of values options take, and how each is read and shown. What may hold a secret cannot
//! show it: not in `{:?}`, not in `{}`, not in JSON.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Serialize, Serializer};
use url::Url;

use mqtt::Version;

/// What stands where a secret would.
pub const REDACTED: &str = "***";

/// A password. Only [`Secret::expose`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = UnsafeSecret;

    fn from_str(text: &str) -> Result<Self, UnsafeSecret> {
        check_secret(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// Refuses what nobody chose as a secret.
fn check_secret(text: &str) -> Result<(), UnsafeSecret> {
    if text.trim().is_empty() {
        Err(UnsafeSecret::Empty)
    } else if text.eq_ignore_ascii_case("changeme") {
        Err(UnsafeSecret::Changeme)
    } else {
        Ok(())
    }
}

/// Why a secret is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeSecret {
    #[error("a secret must not be empty")]
    Empty,
    #[error("a secret must not be left at `changeme`")]
    Changeme,
}

/// The address of a server, with the password it may contain. Several, comma-separated, name the
/// members of one cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    redacted: String,
}

impl ServerUrl {
    /// The address with everything in it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether it says who we are.
    pub fn names_user(&self) -> bool {
        Url::parse(&self.text).is_ok_and(|url| !url.username().is_empty())
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let redacted = text.split(',').map(redact).collect::<Result<Vec<_>, _>>()?.join(",");
        Ok(Self { text: text.to_owned(), redacted })
    }
}

fn redact(text: &str) -> Result<String, InvalidUrl> {
    let mut url = Url::parse(text).map_err(|error| InvalidUrl::Syntax(error.to_string()))?;
    if let Some(password) = url.password() {
        check_secret(password)?;
        url.set_password(Some(REDACTED))
            .map_err(|()| InvalidUrl::Syntax("it cannot hold a password".into()))?;
    }
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        url.query_pairs_mut().clear();
        for (name, value) in pairs {
            let secret = name.to_ascii_lowercase().contains("password");
            if secret {
                check_secret(&value)?;
            }
            let shown = if secret { REDACTED } else { value.as_str() };
            url.query_pairs_mut().append_pair(&name, shown);
        }
    }
    Ok(url.to_string())
}

/// Why a text is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("not a URL: {0}")]
    Syntax(String),
    #[error(transparent)]
    Secret(#[from] UnsafeSecret),
}

/// What to speak with an MQTT broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub enum MqttVersion {
    /// What the broker knows
    #[serde(rename = "auto")]
    Auto,
    /// MQTT 5
    #[value(name = "5")]
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1
    #[value(name = "3.1.1")]
    #[serde(rename = "3.1.1")]
    V3,
}

impl From<MqttVersion> for Option<Version> {
    fn from(version: MqttVersion) -> Self {
        match version {
            MqttVersion::Auto => None,
            MqttVersion::V5 => Some(Version::V5),
            MqttVersion::V3 => Some(Version::V3),
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted)
    }
}

macro_rules! shown_as_displayed {
    ($($name:ty),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
shown_as_displayed!(Secret, ServerUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_never_show() {
        let secret: Secret = "hunter2".parse().unwrap();
        let url: ServerUrl =
            "postgres://app:hunter2@db/tributary?sslpassword=hunter2&x=1".parse().unwrap();
        let shown = format!(
            "{secret} {secret:?} {url} {url:?} {}",
            serde_json::to_string(&(&secret, &url)).unwrap()
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("app:***@db/tributary"), "{shown}");
        assert!(url.expose().contains("hunter2"));
    }

    #[test]
    fn secrets_nobody_chose_are_refused() {
        for text in ["", "  ", "changeme", "ChangeMe"] {
            assert!(text.parse::<Secret>().is_err(), "{text}");
        }
        for text in [
            "postgres://app:changeme@db/x",
            "postgres://db/x?password=changeme",
            "nats://a:b@one,nats://a:changeme@two",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }
}
