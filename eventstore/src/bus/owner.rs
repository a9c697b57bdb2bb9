//! The owner of a stream: the deployment that may use it. A stream carries its owner in its
//! configuration, which a program that may only publish messages cannot change.

use std::fmt;

use async_nats::jetstream::stream::Config;
use uuid::Uuid;

/// Keys in a stream's metadata and, for servers before 2.10, which drop metadata silently, in its
/// description.
const DEPLOYMENT: &str = "tributary-deployment";
const EPOCH: &str = "tributary-epoch";

/// A deployment at an epoch of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Id of the deployment: of its log.
    pub deployment: Uuid,
    /// Epoch of the log.
    pub epoch: i64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deployment {}, epoch {}", self.deployment, self.epoch)
    }
}

impl Owner {
    /// Returns the owner that a stream's configuration names.
    pub fn of(config: &Config) -> Option<Self> {
        let description = config.description.as_deref().unwrap_or_default();
        let value = |key: &str| {
            let described = || {
                let mut words = description.split([' ', ';', ',']);
                words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            };
            config.metadata.get(key).map(String::as_str).or_else(described)
        };
        Some(Self {
            deployment: value(DEPLOYMENT)?.parse().ok()?,
            epoch: value(EPOCH)?.parse().ok()?,
        })
    }

    /// Returns `config` with this owner, and a description that begins with `purpose`.
    #[must_use]
    pub fn mark(self, mut config: Config, purpose: &str) -> Config {
        let Self { deployment, epoch } = self;
        config.description = Some(format!("{purpose}; {DEPLOYMENT}={deployment} {EPOCH}={epoch}"));
        config.metadata.insert(DEPLOYMENT.to_owned(), deployment.to_string());
        config.metadata.insert(EPOCH.to_owned(), epoch.to_string());
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(deployment: u128, epoch: i64) -> Owner {
        Owner { deployment: Uuid::from_u128(deployment), epoch }
    }

    #[test]
    fn a_stream_names_its_owner_also_on_a_server_that_drops_metadata() {
        let mut config = owner(7, 3).mark(Config::default(), "The log of Tributary");
        assert_eq!(Owner::of(&config), Some(owner(7, 3)));
        config.metadata.clear();
        assert_eq!(Owner::of(&config), Some(owner(7, 3)));
        assert_eq!(Owner::of(&Config::default()), None);
    }
}
