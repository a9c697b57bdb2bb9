//! Types of option values that may hold a secret. They redact it in `{:?}`, in `{}`, in JSON, and in
//! the errors of the command line.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Command};
use serde::{Serialize, Serializer};
use url::Url;

/// What the name of a variable ends with if its value is a file with a secret.
pub(super) const FILE_SUFFIX: &str = "_FILE";

/// Text shown in place of a secret.
pub const REDACTED: &str = "***";

/// A password or a token. Only [`Secret::expose`] returns it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the secret itself.
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

/// Refuses secrets that were left at a placeholder.
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
    /// It is empty or blank.
    #[error("a secret must not be empty")]
    Empty,
    /// It is the placeholder `changeme`, in any case.
    #[error("a secret must not be `changeme`")]
    Changeme,
}

/// URL of a server, which may contain a password. Several URLs, separated by commas, name the
/// members of one cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    redacted: String,
}

impl ServerUrl {
    /// Returns the URL with its password.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Returns host and port as the URL has them: `localhost:8080`.
    pub fn authority(&self) -> String {
        let Ok(url) = Url::parse(&self.text) else { return String::new() };
        let host = url.host_str().unwrap_or_default();
        url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Returns whether one of the URLs names a user.
    pub fn names_user(&self) -> bool {
        let mut urls = self.text.split(',').map(|url| Url::parse(url.trim()));
        urls.any(|url| url.is_ok_and(|url| !url.username().is_empty()))
    }

    /// Returns the password in the URL, if there is one.
    pub(super) fn password(&self) -> anyhow::Result<Option<String>> {
        let url = Url::parse(&self.text)?;
        let in_query = url.query_pairs().find(|(name, _)| name == "password");
        let in_query = in_query.map(|(_, value)| value.into_owned());
        let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8();
        let decoded = url.password().map(decode).transpose()?.map(String::from);
        Ok(decoded.or(in_query))
    }

    /// Returns whether the query of the URL has one of these parameters.
    pub(super) fn has_parameter(&self, names: &[&str]) -> bool {
        Url::parse(&self.text)
            .is_ok_and(|url| url.query_pairs().any(|(name, _)| names.contains(&&*name)))
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
    if url.password().is_none()
        && !url.username().is_empty()
        && ["nats", "tls"].contains(&url.scheme())
    {
        check_secret(url.username())?;
        url.set_username(REDACTED) // A user without a password is a token.
            .map_err(|()| InvalidUrl::Syntax("it cannot hold a token".into()))?;
    }
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

/// Why a text is not the URL of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It is not a URL; the text says where.
    #[error("not a URL: {0}")]
    Syntax(String),
    /// Its password is refused.
    #[error(transparent)]
    Secret(#[from] UnsafeSecret),
}

/// Parses an option that may hold a secret. Unlike clap's own parsers, its error does not repeat the
/// value. If the option has the variable of a file (`NAME_FILE`), the value is in that file.
#[derive(Debug, Clone)]
pub struct SecretParser<T>(fn(&str) -> Result<T, String>);

impl<T> SecretParser<T> {
    /// Returns a parser for what `parse` accepts. Its error must not contain the value.
    pub const fn new(parse: fn(&str) -> Result<T, String>) -> Self {
        Self(parse)
    }

    fn parse(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        text: Result<&str, String>,
    ) -> Result<T, clap::Error> {
        text.and_then(self.0).map_err(|reason| {
            let name = arg.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{name}': {reason}");
            command.clone().error(ErrorKind::ValueValidation, message)
        })
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for SecretParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let text = value.to_str().ok_or_else(|| "not UTF-8".to_owned());
        Self::parse(self, command, arg, text)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<T, clap::Error> {
        match file_variable(arg).filter(|_| source == ValueSource::EnvVariable) {
            Some(variable) => {
                let line = first_line(variable, value);
                let text = line.as_ref().map(String::as_str).map_err(String::clone);
                Self::parse(self, command, arg, text)
            }
            None => self.parse_ref(command, arg, value),
        }
    }
}

/// Returns the variable of `arg` if its value is a file with a secret.
fn file_variable(arg: Option<&Arg>) -> Option<&str> {
    arg.and_then(Arg::get_env).and_then(OsStr::to_str).filter(|name| name.ends_with(FILE_SUFFIX))
}

/// Returns the first line of a file with a secret. The error names the variable and the file.
fn first_line(variable: &str, file: &OsStr) -> Result<String, String> {
    let file = Path::new(file);
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{variable}: cannot read {}: {error}", file.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn parse<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
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

macro_rules! redacted {
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

        impl ValueParserFactory for $name {
            type Parser = SecretParser<Self>;

            fn value_parser() -> SecretParser<Self> {
                SecretParser::new(parse)
            }
        }
    )*};
}
redacted!(Secret, ServerUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_holds_no_secret() {
        let secret: Secret = "hunter2".parse().unwrap();
        let url: ServerUrl =
            "postgres://app:hunter2@db/tributary?sslpassword=hunter2&x=1".parse().unwrap();
        let token: ServerUrl = "nats://hunter2@one,tls://hunter2@two".parse().unwrap();
        assert_eq!(token.to_string(), "nats://***@one,tls://***@two");
        let shown = format!(
            "{secret} {secret:?} {url} {url:?} {}",
            serde_json::to_string(&(&secret, &url)).unwrap()
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("app:***@db/tributary"), "{shown}");
        assert!(url.expose().contains("hunter2"));
    }

    #[test]
    fn placeholders_are_not_secrets() {
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
