//! The topics the bridge subscribes to, and the meaning of each.

use domain::host::{HostName, InvalidHostName};
use domain::telemetry::{DeviceId, InvalidId, UserId};

/// The topic filters of the bridge. `Topic::parse` decodes what they match.
pub const FILTERS: &[&str] = &[
    "users/+/devices/+/telemetry",
    "users/+/devices/+/status",
    "users/+/config",
    "hosts/+/metrics",
];

/// A decoded topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topic {
    /// A device's reading.
    Telemetry(UserId, DeviceId),
    /// A device's birth or will message.
    Status(UserId, DeviceId),
    /// A user's alert rules.
    Config(UserId),
    /// A sample of a host.
    Host(HostName),
}

impl Topic {
    pub(super) fn parse(topic: &str) -> Result<Self, InvalidTopic> {
        let mut levels = topic.split('/');
        // One level more than the longest topic has, so that a longer one does not match.
        let levels: [Option<&str>; 6] = std::array::from_fn(|_| levels.next());
        match levels {
            [Some("users"), Some(user), Some("devices"), Some(device), Some(kind), None] => {
                let device = || Ok((UserId::parse(user)?, DeviceId::parse(device)?));
                match kind {
                    "telemetry" => device().map(|(user, device)| Self::Telemetry(user, device)),
                    "status" => device().map(|(user, device)| Self::Status(user, device)),
                    _ => Err(InvalidTopic::Unknown),
                }
            }
            [Some("users"), Some(user), Some("config"), None, ..] => {
                Ok(Self::Config(UserId::parse(user)?))
            }
            [Some("hosts"), Some(host), Some("metrics"), None, ..] => Ok(Self::Host(host.parse()?)),
            _ => Err(InvalidTopic::Unknown),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidTopic {
    #[error("unknown topic")]
    Unknown,
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error(transparent)]
    Host(#[from] InvalidHostName),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_contains_its_device() {
        let (user, device) = (UserId::parse("u1").unwrap(), DeviceId::parse("d:2").unwrap());
        assert_eq!(
            Topic::parse("users/u1/devices/d:2/telemetry"),
            Ok(Topic::Telemetry(user.clone(), device.clone()))
        );
        assert_eq!(Topic::parse("users/u1/devices/d:2/status"), Ok(Topic::Status(user, device)));
    }

    #[test]
    fn any_other_topic_is_refused() {
        for topic in [
            "",
            "/",
            "users",
            "users/u/devices/d",
            "users/u/devices/d/alerts",
            "users/u/devices/d/telemetry/x",
            "users/u/devices/d/telemetry/",
            "/users/u/devices/d/telemetry",
            "USERS/u/devices/d/telemetry",
            "hosts/h",
            "hosts/h/metrics/",
            "hosts/h/metrics/x",
            "hosts/h/status",
        ] {
            assert_eq!(Topic::parse(topic), Err(InvalidTopic::Unknown), "{topic}");
        }
        for topic in [
            "users//devices/d/telemetry",
            "users/u/devices/a b/telemetry",
            "users/../devices/d/telemetry",
            "users/u/devices/./status",
            "users/../config",
        ] {
            assert_eq!(Topic::parse(topic), Err(InvalidTopic::Id(InvalidId)), "{topic}");
        }
    }

    #[test]
    fn a_topic_contains_its_host() {
        let host = "web-1.example.org".parse().unwrap();
        assert_eq!(Topic::parse("hosts/web-1.example.org/metrics"), Ok(Topic::Host(host)));
        for topic in ["hosts//metrics", "hosts/a b/metrics", "hosts/../metrics"] {
            assert_eq!(Topic::parse(topic), Err(InvalidTopic::Host(InvalidHostName)), "{topic}");
        }
    }

    #[test]
    fn every_filter_matches_a_known_topic() {
        for filter in FILTERS {
            assert!(rumqttc::valid_filter(filter), "{filter}");
            assert!(Topic::parse(&filter.replace('+', "x")).is_ok(), "{filter}");
        }
    }
}
