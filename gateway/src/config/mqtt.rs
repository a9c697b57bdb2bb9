//! The broker, and the bridge to it.

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;
use serde::Serialize;

use super::{MqttVersion, Secret, ServerUrl, Span};
use crate::bridge::{FILTERS, narrows};
use ::mqtt::Options;

/// Where the broker is that devices talk to, and who we are to it.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "MQTT")]
pub struct Broker {
    /// The broker; `mqtts://` for TLS
    #[arg(
        long,
        env = "MQTT_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "mqtt://127.0.0.1:1883"
    )]
    pub mqtt_url: ServerUrl,
    /// Who we are to the broker
    #[arg(long, env = "MQTT_USERNAME", value_name = "NAME")]
    pub mqtt_username: Option<String>,
    /// The password that goes with it
    #[arg(long, env = "MQTT_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub mqtt_password: Option<Secret>,
    /// Certificates (PEM) to trust instead of the system's
    #[arg(long, env = "MQTT_CA_FILE", value_name = "FILE")]
    pub mqtt_ca_file: Option<PathBuf>,
    /// What to speak; by itself MQTT 5, or 3.1.1 with a broker that knows no other
    #[arg(long, env = "MQTT_VERSION", value_name = "VERSION", default_value = "auto")]
    pub mqtt_version: MqttVersion,
}

impl Broker {
    /// What does not fit together.
    pub fn mistake(&self) -> Option<String> {
        let apart = self.mqtt_username.is_some() != self.mqtt_password.is_some();
        apart.then(|| "--mqtt-username and --mqtt-password belong together".into())
    }

    /// How to connect as `client_id`.
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

/// The bridge to that broker.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "MQTT")]
pub struct Mqtt {
    #[command(flatten)]
    #[serde(flatten)]
    pub broker: Broker,
    /// Name of the bridge's session on the broker; each bridge needs one of its own, and keeps it
    #[arg(long, env = "MQTT_CLIENT_ID", value_name = "NAME", default_value = "tributary")]
    pub mqtt_client_id: String,
    /// Topics to listen to, of those we know, wildcards replaced by names or not; all if left out
    #[arg(long, env = "MQTT_FILTER", value_name = "FILTER", value_delimiter = ',')]
    pub mqtt_filter: Vec<String>,
    /// Share the topics with the other bridges of this group: each message goes to one of them
    #[arg(long, env = "MQTT_SHARE", value_name = "GROUP")]
    pub mqtt_share: Option<String>,
    /// Messages taken but not yet committed, at most; the broker holds back the others
    #[arg(long, env = "MQTT_RECEIVE_MAXIMUM", value_name = "COUNT", default_value_t = Options::RECEIVE_MAXIMUM,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub mqtt_receive_maximum: u16,
    /// How long the broker keeps the session, and what arrives for it, while the bridge is away
    #[arg(long, env = "MQTT_SESSION_EXPIRY", value_name = "TIME", default_value = "7d")]
    pub mqtt_session_expiry: Span,
    /// Accept a broker that lets anybody in; for development
    #[arg(long, env = "MQTT_ALLOW_ANONYMOUS", value_parser = FalseyValueParser::new())]
    pub mqtt_allow_anonymous: bool,
}

impl Mqtt {
    /// The topics asked for. An empty variable asks for none.
    pub fn filters(&self) -> Vec<String> {
        self.mqtt_filter.iter().filter(|filter| !filter.is_empty()).cloned().collect()
    }

    /// The group to share them with. An empty variable names none.
    pub fn group(&self) -> Option<&str> {
        self.mqtt_share.as_deref().filter(|group| !group.is_empty())
    }

    /// What does not fit together.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let filters = self.filters();
        let strange = filters.iter().filter(|filter| !narrows(filter));
        let mut mistakes: Vec<String> = strange
            .map(|filter| format!("--mqtt-filter: `{filter}` is not within {}", FILTERS.join(", ")))
            .collect();
        if self.group().is_some_and(|group| group.contains(['/', '+', '#'])) {
            mistakes.push("--mqtt-share: a group is a name without `/`, `+` and `#`".into());
        }
        mistakes.extend(self.broker.mistake());
        mistakes
    }
}
