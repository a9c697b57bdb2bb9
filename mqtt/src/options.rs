//! The options of a connection, and what can be wrong with them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::address::Broker;
use super::error::OptionsError;
use super::version::Version;

/// The options of a client's connections.
#[derive(Clone)]
pub struct Options {
    /// `mqtt://[user:password@]host[:1883]`, or `mqtts://[user:password@]host[:8883]` for TLS.
    pub url: String,
    /// Names the session on the broker, 1 to 65,535 bytes. Of two clients with one id, each
    /// connection ends the other's.
    pub client_id: String,
    /// Messages that the broker may have sent and we not yet acknowledged, at least 1.
    pub receive_maximum: u16,
    /// Received messages that may be unacknowledged before nothing more is read from the socket; `None`
    /// is [`Options::receive_maximum`]. A client that acknowledges a message only once the broker has
    /// acknowledged one of its own sets a higher limit: a broker that exceeds the Receive Maximum, as
    /// Mosquitto 2.0.11 may until the first PUBACK, would send that acknowledgement behind a message
    /// that is not read.
    pub unacknowledged_limit: Option<u16>,
    /// Messages that we may have published and the broker not yet acknowledged, at least 1. The
    /// broker's own Receive Maximum applies as well.
    pub publish_window: u16,
    /// What to subscribe to, at `QoS` 1. Empty for a client that only publishes.
    pub topic_filters: Vec<String>,
    /// Subscriptions of earlier connections to remove from the session.
    pub unsubscribe_filters: Vec<String>,
    /// The protocol version. `None`: MQTT 5, or 3.1.1 if the broker does not support it.
    pub version: Option<Version>,
    /// Whether the broker withholds messages that this client published itself [MQTT-3.8.3-3].
    /// MQTT 5 only.
    pub no_local: bool,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Account name. Takes precedence over the one in `url`.
    pub username: Option<String>,
    /// Password. Takes precedence over the one in `url`.
    pub password: Option<String>,
    /// Longest time without a packet from us; a ping is sent after half of it. A broker that sends
    /// nothing for 1.5 times as long is considered gone. The broker may set another value.
    pub keep_alive: Duration,
    /// How long the broker keeps subscriptions and queued messages after a connection. MQTT 5 only.
    pub session_expiry: Duration,
    /// Most bytes held of one received packet. A larger one is still received, truncated. It is not
    /// announced as Maximum Packet Size: brokers then drop larger messages silently [MQTT-3.1.2-25].
    pub max_packet_bytes: u32,
}

impl Options {
    /// Default Receive Maximum. Messages a second, measured on two busy cores with a consumer that
    /// commits in batches: 24,000 with 1,024, 34,000 with 2,048, 44,000 with 4,096, 52,000 with
    /// 8,192, little more with 16,384.
    pub const RECEIVE_MAXIMUM: u16 = 8192;
    /// Default publish window.
    pub const PUBLISH_WINDOW: u16 = 256;
    /// Default keep-alive.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
    /// Default session expiry.
    pub const SESSION_EXPIRY: Duration = Duration::from_hours(7 * 24);
    /// Default limit for received packets.
    pub const MAX_PACKET_BYTES: u32 = 4 * 1024 * 1024;

    /// Options for the broker at `url`: no topic filters, and defaults for everything else.
    pub fn new(url: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            client_id: client_id.into(),
            receive_maximum: Self::RECEIVE_MAXIMUM,
            unacknowledged_limit: None,
            publish_window: Self::PUBLISH_WINDOW,
            topic_filters: Vec::new(),
            unsubscribe_filters: Vec::new(),
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

    fn broker(&self) -> Result<Broker, OptionsError> {
        Broker::parse(&self.url, self.username.as_deref(), self.password.as_deref())
    }

    pub(crate) fn check(&self) -> Result<Broker, OptionsError> {
        if self.client_id.is_empty() || self.client_id.len() > usize::from(u16::MAX) {
            return Err(OptionsError::ClientId);
        }
        if self.receive_maximum == 0 || self.publish_window == 0 {
            return Err(OptionsError::Window);
        }
        let invalid = |filter: &&String| !rumqttc::valid_filter(filter);
        if let Some(filter) = self.topic_filters.iter().find(invalid) {
            return Err(OptionsError::TopicFilter(filter.clone()));
        }
        self.broker()
    }
}

/// Everything but the password, which may also be part of the address.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("broker", &self.broker().map(|broker| broker.to_string()))
            .field("client_id", &self.client_id)
            .field("receive_maximum", &self.receive_maximum)
            .field("unacknowledged_limit", &self.unacknowledged_limit)
            .field("publish_window", &self.publish_window)
            .field("topic_filters", &self.topic_filters)
            .field("unsubscribe_filters", &self.unsubscribe_filters)
            .field("version", &self.version)
            .field("no_local", &self.no_local)
            .field("ca_file", &self.ca_file)
            .field("keep_alive", &self.keep_alive)
            .field("session_expiry", &self.session_expiry)
            .field("max_packet_bytes", &self.max_packet_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_options_are_refused() {
        for url in ["", "broker:1883", "http://broker", "mqtt://", "mqtt://a%ff@b"] {
            assert!(matches!(Options::new(url, "c").check(), Err(OptionsError::Address)), "{url}");
        }
        assert!(matches!(Options::new("mqtt://b", "").check(), Err(OptionsError::ClientId)));
        let mut options = Options::new("mqtt://b", "c");
        options.topic_filters = vec!["a/#/b".into()];
        assert!(matches!(options.check(), Err(OptionsError::TopicFilter(_))));
    }
}
