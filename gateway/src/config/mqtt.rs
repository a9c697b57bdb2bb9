//! Options of the MQTT broker and of the bridge.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Secret, ServerUrl, Span};
use crate::bridge::{FILTERS, Mappings, narrows};
use ::mqtt::{Options, Version};

/// The MQTT broker, and the account on it.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "MQTT")]
pub struct Broker {
    /// URL of the broker; `mqtts://` for TLS
    #[arg(
        long,
        env = "MQTT_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "mqtt://127.0.0.1:1883"
    )]
    pub mqtt_url: ServerUrl,
    /// Name of the account on the broker
    #[arg(long, env = "MQTT_USERNAME", value_name = "NAME")]
    pub mqtt_username: Option<String>,
    /// Password of the account
    #[arg(long, env = "MQTT_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub mqtt_password: Option<Secret>,
    /// File with the certificates (PEM) to trust instead of the system's
    #[arg(long, env = "MQTT_CA_FILE", value_name = "FILE")]
    pub mqtt_ca_file: Option<PathBuf>,
    /// Version of the protocol
    #[arg(long, env = "MQTT_VERSION", value_name = "VERSION", default_value = "auto")]
    pub mqtt_version: MqttVersion,
}

/// Version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub enum MqttVersion {
    /// MQTT 5, or 3.1.1 if the broker does not support 5
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

impl Broker {
    /// Returns a message if the account is incomplete.
    pub fn mistake(&self) -> Option<String> {
        let incomplete = self.mqtt_username.is_some() != self.mqtt_password.is_some();
        incomplete.then(|| "--mqtt-username and --mqtt-password must be set together".into())
    }

    /// Returns the options of a connection as `client_id`.
    pub fn options(&self, client_id: &str) -> Options {
        let secret = self.mqtt_password.as_ref();
        Options {
            username: self.mqtt_username.clone(),
            password: secret.map(|secret| secret.expose().to_owned()),
            ca_file: self.mqtt_ca_file.clone(),
            version: self.mqtt_version.into(),
            ..Options::new(self.mqtt_url.expose(), client_id)
        }
    }
}

/// Topic mappings.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "MQTT")]
pub struct TopicMappings {
    /// File (JSON) that says how messages on topics of others become readings, see docs/mqtt.md; at most
    /// 256 KiB and 100 mappings
    #[arg(long, env = "MQTT_TOPIC_MAPPINGS", value_name = "FILE", default_value = "",
          hide_default_value = true, value_parser = Mappings::load)]
    pub mqtt_topic_mappings: Mappings,
}

/// The MQTT bridge.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "MQTT")]
pub struct Mqtt {
    /// The broker.
    #[command(flatten)]
    #[serde(flatten)]
    pub broker: Broker,
    /// Client id of the bridge; each bridge needs its own, and must keep it
    #[arg(long, env = "MQTT_CLIENT_ID", value_name = "NAME", default_value = "tributary")]
    pub mqtt_client_id: String,
    /// How readings on topics of others are recorded, see docs/mqtt.md
    #[command(flatten)]
    #[serde(flatten)]
    pub topic_mappings: TopicMappings,
    /// Subscribe only to these topic filters, separated by commas: the known ones and those of topic
    /// mappings, with names in place of wildcards; without it, to all of them
    #[arg(long, env = "MQTT_FILTER", value_name = "FILTER", value_delimiter = ',')]
    pub mqtt_filter: Vec<String>,
    /// Share the subscriptions with the other bridges of GROUP: each message goes to one of them. The
    /// order of a device's readings is lost: alert rules do not judge a reading that comes after a
    /// newer one. With alert rules, give each bridge an --mqtt-filter of its own instead
    #[arg(long, env = "MQTT_SHARE", value_name = "GROUP")]
    pub mqtt_share: Option<String>,
    /// Messages received and not yet acknowledged, at most; 1 to 65535
    #[arg(long, env = "MQTT_RECEIVE_MAXIMUM", value_name = "COUNT", default_value_t = Options::RECEIVE_MAXIMUM,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub mqtt_receive_maximum: u16,
    /// Time for which the broker keeps the session and its messages while the bridge is
    /// disconnected, with a unit
    #[arg(long, env = "MQTT_SESSION_EXPIRY", value_name = "TIME", default_value = "7d")]
    pub mqtt_session_expiry: Span,
    /// Connect without an account; for development
    #[arg(long, env = "MQTT_ALLOW_ANONYMOUS", value_parser = FalseyValueParser::new())]
    pub mqtt_allow_anonymous: bool,
}

impl Mqtt {
    /// Returns the topic filters that are set. An empty environment variable sets none.
    pub fn filters(&self) -> Vec<String> {
        self.mqtt_filter.iter().filter(|filter| !filter.is_empty()).cloned().collect()
    }

    /// Returns the group that is set. An empty environment variable sets none.
    pub fn group(&self) -> Option<&str> {
        self.mqtt_share.as_deref().filter(|group| !group.is_empty())
    }

    /// Returns one message for each value that is invalid.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let filters = self.filters();
        let mappings = &self.topic_mappings.mqtt_topic_mappings;
        let unknown = filters.iter().filter(|filter| !narrows(filter, mappings));
        let known: Vec<_> = FILTERS.iter().copied().chain(mappings.filters()).collect();
        let mut mistakes: Vec<String> = unknown
            .map(|filter| format!("--mqtt-filter: `{filter}` is not within {}", known.join(", ")))
            .collect();
        if self.group().is_some_and(|group| group.contains(['/', '+', '#'])) {
            mistakes.push("--mqtt-share: a group must not contain `/`, `+` or `#`".into());
        }
        mistakes.extend(self.broker.mistake());
        mistakes
    }
}
