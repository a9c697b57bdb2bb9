//! The broker's address, with the account.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::error::OptionsError;

/// Where the broker is, and the account. `Display` omits the password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl Broker {
    /// Parses `url`. A user name or password given here replaces the one in the URL.
    pub(crate) fn parse(
        url: &str,
        username: Option<&str>,
        password: Option<&str>,
    ) -> Result<Self, OptionsError> {
        let url = Url::parse(url).map_err(|_may_hold_a_password| OptionsError::Address)?;
        let (tls, default_port) = match url.scheme() {
            "mqtt" | "tcp" => (false, 1883),
            "mqtts" | "ssl" => (true, 8883),
            _ => return Err(OptionsError::Address),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        Ok(Self {
            // An IPv6 address is bracketed in a URL only.
            host: host.ok_or(OptionsError::Address)?.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(default_port),
            tls,
            username: match username {
                Some(username) => Some(username.to_owned()),
                None => decoded(url.username())?,
            },
            password: match password {
                Some(password) => Some(password.to_owned()),
                None => decoded(url.password().unwrap_or_default())?,
            },
        })
    }
}

fn decoded(text: &str) -> Result<Option<String>, OptionsError> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_may_be_a_password| OptionsError::Address)?;
    Ok((!decoded.is_empty()).then(|| decoded.into_owned()))
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "mqtts://" } else { "mqtt://" })?;
        if let Some(username) = &self.username {
            write!(f, "{username}@")?;
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;

    #[test]
    fn an_address_holds_host_port_and_account() {
        let broker = Options::new("mqtts://us%40er:p%C3%A4ss@[::1]:1234", "c").check().unwrap();
        assert_eq!((broker.host.as_str(), broker.port, broker.tls), ("::1", 1234, true));
        assert_eq!(broker.username.as_deref(), Some("us@er"));
        assert_eq!(broker.password.as_deref(), Some("päss"));
        let broker = Options::new("mqtt://broker", "c").check().unwrap();
        assert_eq!((broker.port, broker.tls, broker.username), (1883, false, None));
    }

    #[test]
    fn explicit_options_take_precedence_over_the_address() {
        let mut options = Options::new("mqtt://a:b@broker", "c");
        options.username = Some("x".into());
        options.password = Some("y".into());
        let broker = options.check().unwrap();
        assert_eq!(broker.username.as_deref(), Some("x"));
        assert_eq!(broker.password.as_deref(), Some("y"));
    }

    #[test]
    fn no_password_is_ever_shown() {
        let mut options = Options::new("mqtt://user:hunter2@broker", "c");
        assert!(!format!("{options:?}").contains("hunter2"));
        options.password = Some("hunter3".into());
        assert!(!format!("{options:?}").contains("hunter"));
        assert!(!options.check().unwrap().to_string().contains("hunter"));
        options.url = "hunter4 is not an address".into();
        let error = options.check().err().unwrap();
        assert!(!format!("{options:?} {error:?} {error}").contains("hunter"));
    }
}
