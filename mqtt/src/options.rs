//! What the bridge must be told, and what can be wrong with it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::tls::TlsError;
use super::version::Version;

/// The settings of one bridge.
#[derive(Clone)]
pub struct Options {
    /// `mqtt://[user:password@]host[:1883]` or `mqtts://[user:password@]host[:8883]`.
    pub url: String,
    /// Names the session the broker keeps for us. Two bridges with one id drive each other out.
    pub client_id: String,
    /// How many messages the broker may have sent and we not yet acknowledged.
    pub receive_maximum: u16,
    /// Who only publishes listens to nothing.
    pub topic_filters: Vec<String>,
    /// What the session may have been subscribed to in earlier times, and is not to be any more.
    pub left_filters: Vec<String>,
    /// What is spoken. None: MQTT 5, or 3.1.1 if the broker knows no other.
    pub version: Option<Version>,
    /// Whether what we publish ourselves is kept from us [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Goes before the one in `url`.
    pub username: Option<String>,
    /// Goes before the one in `url`.
    pub password: Option<String>,
    pub keep_alive: Duration,
    /// How long the broker keeps our subscriptions and queue while we are away.
    pub session_expiry: Duration,
    /// Most bytes of one packet that are ever held. A larger one is still taken off the wire, and
    /// recorded as rejected. It is not announced to the broker as Maximum Packet Size: brokers
    /// then drop larger messages without a word to anyone [MQTT-3.1.2-25].
    pub max_packet_bytes: u32,
}

impl Options {
    /// Two full batches of the log: one commits while the next gathers. Measured in one session on
    /// two busy cores with the bridge alone, in thousands of messages a second:
    /// 1,024 gives 24, 2,048 gives 34, 4,096 gives 44, 8,192 gives 52, and 16,384 little more.
    pub const RECEIVE_MAXIMUM: u16 = 8192;
    pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
    pub const SESSION_EXPIRY: Duration = Duration::from_hours(7 * 24);
    pub const MAX_PACKET_BYTES: u32 = 4 * 1024 * 1024;

    /// Options for the broker at `url`: no topic filters, and defaults for everything else.
    pub fn new(url: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            client_id: client_id.into(),
            receive_maximum: Self::RECEIVE_MAXIMUM,
            topic_filters: Vec::new(),
            left_filters: Vec::new(),
            version: None,
            no_local: false,
            ca_file: None,
            username: None,
            password: None,
            keep_alive: Self::KEEP_ALIVE,
            session_expiry: Self::SESSION_EXPIRY,
            max_packet_bytes: Self::MAX_PACKET_BYTES,
        }
    }

    pub(crate) fn check(&self) -> Result<Broker, Error> {
        if self.client_id.is_empty() || self.client_id.len() > usize::from(u16::MAX) {
            return Err(Error::ClientId);
        }
        if self.receive_maximum == 0 {
            return Err(Error::ReceiveMaximum);
        }
        let invalid = |filter: &&String| !rumqttc::valid_filter(filter);
        if let Some(filter) = self.topic_filters.iter().find(invalid) {
            return Err(Error::TopicFilter(filter.clone()));
        }
        Broker::parse(self)
    }
}

/// Says everything but the password, which also hides in the address.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("broker", &Broker::parse(self).map(|broker| broker.to_string()))
            .field("client_id", &self.client_id)
            .field("receive_maximum", &self.receive_maximum)
            .field("topic_filters", &self.topic_filters)
            .field("left_filters", &self.left_filters)
            .field("version", &self.version)
            .field("no_local", &self.no_local)
            .field("ca_file", &self.ca_file)
            .field("keep_alive", &self.keep_alive)
            .field("session_expiry", &self.session_expiry)
            .field("max_packet_bytes", &self.max_packet_bytes)
            .finish_non_exhaustive()
    }
}

/// Where the broker is and who we are to it. Displays without the password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl Broker {
    fn parse(options: &Options) -> Result<Self, Error> {
        let url = Url::parse(&options.url).map_err(|_unshown| Error::Address)?;
        let (tls, default_port) = match url.scheme() {
            "mqtt" | "tcp" => (false, 1883),
            "mqtts" | "ssl" => (true, 8883),
            _ => return Err(Error::Address),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let named = |text: &str| (!text.is_empty()).then(|| percent_decoded(text));
        Ok(Self {
            // An IPv6 address is bracketed in an address and bare everywhere else.
            host: host.ok_or(Error::Address)?.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(default_port),
            tls,
            username: match &options.username {
                Some(username) => Some(username.clone()),
                None => named(url.username()).transpose()?,
            },
            password: match &options.password {
                Some(password) => Some(password.clone()),
                None => url.password().and_then(named).transpose()?,
            },
        })
    }
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

/// Passwords in addresses are percent-encoded; the broker wants them as they are.
fn percent_decoded(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                rest = tail;
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let value = digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low);
                value.and_then(|value| u8::try_from(value).ok()).ok_or(Error::Address)?
            }
            (byte, _) => *byte,
        });
    }
    String::from_utf8(bytes).map_err(|_unshown| Error::Address)
}

/// Why a bridge does not run: its settings make no sense. Everything else it meets, it outlives.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not shown: it may hold a password.
    #[error("the broker's address is not mqtt://[user:password@]host[:port], or mqtts://")]
    Address,
    #[error("an MQTT client id is 1 to 65535 bytes")]
    ClientId,
    #[error("the receive maximum is at least 1")]
    ReceiveMaximum,
    #[error("`{0}` is not a valid topic filter")]
    TopicFilter(String),
    #[error("no topic filter is given")]
    NoTopicFilter,
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// A defect of ours.
    #[error("the bridge's appends have panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_and_who() {
        let broker = Options::new("mqtts://us%40er:p%C3%A4ss@[::1]:1234", "c").check().unwrap();
        assert_eq!((broker.host.as_str(), broker.port, broker.tls), ("::1", 1234, true));
        assert_eq!(broker.username.as_deref(), Some("us@er"));
        assert_eq!(broker.password.as_deref(), Some("päss"));
        let broker = Options::new("mqtt://broker", "c").check().unwrap();
        assert_eq!((broker.port, broker.tls, broker.username), (1883, false, None));
    }

    #[test]
    fn what_is_given_apart_goes_before_the_address() {
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

    #[test]
    fn bad_settings_are_refused() {
        for url in ["", "broker:1883", "http://broker", "mqtt://", "mqtt://a%zz@b"] {
            assert!(matches!(Options::new(url, "c").check(), Err(Error::Address)), "{url}");
        }
        assert!(matches!(Options::new("mqtt://b", "").check(), Err(Error::ClientId)));
        let mut options = Options::new("mqtt://b", "c");
        options.topic_filters = vec!["a/#/b".into()];
        assert!(matches!(options.check(), Err(Error::TopicFilter(_))));
    }
}
