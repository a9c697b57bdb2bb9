//! Where a replay sends its events: stdout, subjects on NATS, or nowhere.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use eventstore::{BusOptions, replay_message};
use tokio::sync::watch;
use uuid::Uuid;

use crate::events::LogEvent;
use crate::outcome::Failure;
use crate::output::Stdout;
use gateway::config;
use gateway::http::event_view;

/// Timeout of the connection to NATS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// First tokens of subjects whose messages have an effect: a replay must not publish there.
const RESERVED: [&str; 3] = ["events", "commands", "log"];

/// Subject prefix of a replay.
#[derive(Debug, Clone)]
pub(super) struct Prefix(String);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |token: &str| {
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"*>".contains(&byte);
            !token.is_empty() && token.bytes().all(plain)
        };
        let first = text.split('.').next().unwrap_or_default();
        if !text.split('.').all(fits) || first.starts_with(['$', '_']) {
            return Err("not a valid subject: tokens without `*`, `>` and spaces, not starting with `$` or `_`".into());
        }
        if RESERVED.contains(&first) {
            return Err(format!(
                "`{first}` is reserved: messages published there have effects; choose another prefix"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The target of a replay.
pub(super) enum Target {
    /// Discards events, for `--dry-run`.
    Nowhere,
    /// Writes lines of JSON.
    Stdout(Stdout),
    /// Publishes on NATS.
    Subject(Box<Subject>),
}

/// A connection to NATS, and what the messages of the run have in common.
pub(super) struct Subject {
    bus: eventstore::Bus,
    connected: watch::Receiver<bool>,
    prefix: String,
    run: String,
    deployment: Uuid,
}

impl Target {
    /// Connects to NATS, to publish under `prefix` in the run `run`.
    pub(super) async fn subject(
        bus: &config::Bus,
        Prefix(prefix): &Prefix,
        run: &str,
        deployment: Uuid,
    ) -> Result<Self, Failure> {
        let bus = eventstore::Bus::open(&bus.access()?, BusOptions::default()).await;
        let bus = bus.map_err(anyhow::Error::from)?;
        let mut connected = bus.connected();
        // Marks the connection as seen: any later change of the receiver is a lost connection.
        let connecting = async { connected.wait_for(|up| *up).await.is_ok() };
        let up = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(false);
        if !up {
            return Err(Failure::not_reachable(anyhow!(
                "cannot reach NATS within 5 s: the log says why; check --nats-url"
            )));
        }
        let (prefix, run) = (prefix.clone(), run.to_owned());
        Ok(Self::Subject(Box::new(Subject { bus, connected, prefix, run, deployment })))
    }

    /// Sends `event`.
    pub(super) async fn publish(&mut self, event: LogEvent) -> Result<(), Failure> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout(out) => event.json().map_or(Ok(()), |json| out.json(&json)),
            Self::Subject(subject) => {
                let LogEvent::Stored(event) = event else {
                    return Ok(()); // Only the database is replayed on NATS.
                };
                let event = Arc::unwrap_or_clone(event);
                let context = domain::context_of(event.stream.category());
                let context = context.map_or("unknown", |context| context.name);
                let Some(event) = event_view::shown(event) else {
                    return Ok(());
                };
                let client = subject.bus.client();
                let most = client.max_payload();
                let message = replay_message(
                    event,
                    context,
                    &subject.prefix,
                    &subject.run,
                    subject.deployment,
                    most,
                );
                let sent = client
                    .publish_with_headers(message.subject, message.headers, message.body)
                    .await;
                sent.map_err(Failure::not_reachable)
            }
        }
    }

    /// Waits until all events sent have arrived.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout(out) => out.flush(),
            Self::Subject(subject) => {
                subject.bus.client().flush().await.map_err(Failure::not_reachable)?;
                // Even if NATS is connected again: messages in flight may be lost.
                if subject.connected.has_changed().unwrap_or(true) {
                    let lost = anyhow!(
                        "the connection to NATS was lost; run the command again from the position below"
                    );
                    return Err(Failure::not_reachable(lost));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_and_invalid_subjects_are_refused() {
        assert!("again.monday".parse::<Prefix>().is_ok());
        for text in ["events", "events.x", "commands.works", "log", "$JS.API", "a..b", "", "a.>"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
